//! Signs kept apart from magnitudes, eight weights at a time.

use super::super::SUPER;

/// Weights apart from their signs.
pub(crate) struct Split {
    /// Each weight times its sign. Negative where the sign kept is not the weight's own.
    pub(crate) magnitudes: [f32; SUPER],
    /// Bit i of byte p: set if the sign of weight 8 p + i is minus.
    pub(crate) signs: [u8; SUPER / 8],
}

/// Splits 256 weights with every sign as it is.
pub(crate) fn free(x: &[f32]) -> Split {
    let mut split = Split {
        magnitudes: [0.0; SUPER],
        signs: [0; SUPER / 8],
    };
    for (i, (magnitude, x)) in split.magnitudes.iter_mut().zip(x).enumerate() {
        *magnitude = x.abs();
        split.signs[i / 8] |= u8::from(*x < 0.0) << (i % 8);
    }
    split
}

/// Splits 256 weights so that each eight have an even number of minuses. Where they have not, the
/// one is turned for which it matters least: the error that a wrong sign adds is proportional to
/// importance times magnitude.
pub(crate) fn even(x: &[f32], w: &[f32]) -> Split {
    let mut split = free(x);
    for (p, signs) in split.signs.iter_mut().enumerate() {
        if signs.count_ones() % 2 == 1 {
            let magnitudes = &mut split.magnitudes[8 * p..][..8];
            let matter = |i: usize| w[8 * p + i] * magnitudes[i];
            let least = (1..8).fold(0, |a, b| if matter(b) < matter(a) { b } else { a });
            *signs ^= 1 << least;
            magnitudes[least] = -magnitudes[least];
        }
    }
    split
}

/// Bits 28–31 = `step` | bits 7 p to 7 p + 6 = signs of eight p, the last left out.
pub(crate) fn word(signs: &[u8], step: i16) -> u32 {
    let signs = signs.iter().take(4).enumerate();
    signs.fold((step as u32 & 15) << 28, |word, (p, &signs)| {
        word | u32::from(signs & 0x7f) << (7 * p)
    })
}
