//! MXFP4: 32 weights of 4 bits, each a float of 1 sign, 2 exponent and 1 mantissa bits, with a
//! power of two as scale; weight = scale / 2 × level. It is the OCP microscaling format of the
//! same name.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{BlockRows, Sink, Small32, Unpack, joined, nibbles};

use super::iq4_nl::Table;
use super::{Block, block_size, pack, search};

/// Weights in a block.
const WEIGHTS: usize = 32;

/// What the codes stand for, doubled to be whole.
pub(crate) const LEVELS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// 17 bytes, 4.25 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Mxfp4 {
    /// The scale is two to the power of this minus 127.
    pub(crate) exponent: u8,
    /// Byte i: high nibble = code i + 16 | low nibble = code i.
    pub(crate) codes: [u8; WEIGHTS / 2],
}

block_size!(Mxfp4, 17);

/// 2^(`exponent` − 128), half of the scale because the levels are doubled. The two smallest are
/// subnormal floats.
pub(crate) fn half_scale(exponent: u8) -> f32 {
    f32::from_bits(match exponent {
        0 | 1 => 0x0020_0000 << exponent,
        _ => u32::from(exponent - 1) << 23,
    })
}

/// The code of the level nearest to `v`.
fn nearest(v: f64) -> u8 {
    let magnitudes = LEVELS[..8].windows(2);
    let code = magnitudes
        .filter(|pair| 2.0 * v.abs() > f64::from(pair[0] + pair[1]))
        .count() as u8;
    if code > 0 && v < 0.0 { code + 8 } else { code }
}

impl Block for Mxfp4 {
    const WEIGHTS: usize = WEIGHTS;

    fn decode(&self, out: &mut [f32]) {
        let scale = half_scale(self.exponent);
        for (i, byte) in self.codes.iter().enumerate() {
            out[i] = scale * f32::from(LEVELS[usize::from(byte & 15)]);
            out[i + 16] = scale * f32::from(LEVELS[usize::from(byte >> 4)]);
        }
    }

    const LIMIT: f32 = 3e38;

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let largest = search::extreme(weights).abs();
        // With this exponent the largest weight is at least 4 and below 8 scales; the largest
        // level is 6, so one more may be better, and with importances one less.
        let exponent = (largest.to_bits() >> 23).saturating_sub(2);
        let mut best = (
            f64::INFINITY,
            Mxfp4 {
                exponent: 0,
                codes: [0; WEIGHTS / 2],
            },
        );
        for exponent in exponent.saturating_sub(1)..=exponent + 1 {
            // The largest exponent whose weights are all finite is 252.
            let exponent = exponent.min(252) as u8;
            // In 64 bits neither tiny nor huge scales lose anything.
            let scale = f64::from(half_scale(exponent));
            let mut codes = [0; WEIGHTS];
            let mut error = 0.0;
            for (code, (&x, &w)) in codes.iter_mut().zip(weights.iter().zip(importance)) {
                *code = nearest(f64::from(x) / scale);
                let difference = f64::from(x) - scale * f64::from(LEVELS[usize::from(*code)]);
                error += f64::from(w) * difference * difference;
            }
            if error < best.0 {
                let codes = pack::nibbles(&codes);
                best = (error, Mxfp4 { exponent, codes });
            }
        }
        best.1
    }
}

/// [`half_scale`] of the number in every lane.
#[inline(always)]
fn half_scales<S: Lanes>(simd: S, exponent: S::Int) -> S::Float {
    // As the product of two powers whose exponents add up to it: both are ordinary floats, and
    // the product is exact where it is subnormal too.
    let half = simd.shift_right::<1>(exponent);
    let rest = simd.subtract_int(exponent, half);
    let bias = simd.splat_int(127 - 64);
    let first = simd.shift_left::<23>(simd.add_int(half, bias));
    let second = simd.shift_left::<23>(simd.add_int(rest, bias));
    simd.multiply_float(simd.bits_to_float(first), simd.bits_to_float(second))
}

/// [`LEVELS`] to look up.
static TABLE: Table = Table::new(&LEVELS);

impl Unpack for Mxfp4 {
    type Layout = Small32;

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        // With the codes that follow it: words are gathered without a detour through memory.
        let word = blocks.word(simd, offset_of!(Mxfp4, exponent));
        let exponent = simd.and(word, simd.splat_int(0xff));
        let scale = half_scales(simd, exponent);
        let [low, high] = nibbles(simd, blocks.words4(simd, offset_of!(Mxfp4, codes)));
        sink.raised32(0, TABLE.raised(simd, joined(low, high)), scale);
    }
}
