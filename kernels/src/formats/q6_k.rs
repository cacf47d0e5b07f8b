//! Q6_K: 256 weights of 6 bits in sixteen groups, each with an 8-bit scale;
//! weight = scale × group scale × (code − 32).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Block, Half, SUPER, block_size};

/// 210 bytes, 6.5625 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q6K {
    /// Byte 64 h + i: high nibble = bits 0–3 of code 128 h + 64 + i | low nibble = those of code
    /// 128 h + i.
    pub(crate) low: [u8; SUPER / 2],
    /// Byte 32 h + i: bits 2 k and 2 k + 1 = bits 4 and 5 of code 128 h + 32 k + i.
    pub(crate) high: [u8; SUPER / 4],
    /// The group scales.
    pub(crate) groups: [i8; SUPER / 16],
    /// Scale of the group scales.
    pub(crate) scale: Half,
}

block_size!(Q6K, 210);

impl Block for Q6K {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        for (g, (out, &group)) in out.chunks_exact_mut(16).zip(&self.groups).enumerate() {
            let scale = self.scale.to_f32() * f32::from(group);
            let (half, k, start) = (g / 8, g % 8 / 2, g % 2 * 16);
            for (i, out) in out.iter_mut().enumerate() {
                let low = self.low[64 * half + 32 * (k % 2) + start + i] >> (4 * (k / 2)) & 15;
                let high = self.high[32 * half + start + i] >> (2 * k) & 3;
                *out = scale * f32::from((low | high << 4) as i8 - 32);
            }
        }
    }
}
