//! Q3_K: 256 weights of 3 bits in sixteen groups, each with a 6-bit scale;
//! weight = scale × (group scale − 32) × (code − 4).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{
    BlockRows, Sink, Three16, Unpack, and_each, byte_pairs, or_each, shift_left_each,
    shift_right_each, unrolled,
};

use super::search::levels::{self, Whole};
use super::search::steps::{Chosen, Steps};
use super::{Block, Half, SUPER, block_size, pack};

/// 110 bytes, 3.4375 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q3K {
    /// Byte i: bit b = bit 2 of code 32 b + i.
    pub(crate) high: [u8; SUPER / 8],
    /// Byte 32 h + i: bits 2 k and 2 k + 1 = bits 0 and 1 of code 128 h + 32 k + i.
    pub(crate) low: [u8; SUPER / 4],
    /// Byte g < 8: high nibble = bits 0–3 of group scale g + 8 | low nibble = those of group
    /// scale g. Byte 8 + j: bits 2 k and 2 k + 1 = bits 4 and 5 of group scale 4 k + j.
    pub(crate) groups: [u8; 12],
    /// Scale of the group scales.
    pub(crate) scale: Half,
}

block_size!(Q3K, 110);

impl Q3K {
    /// The scale of group `g`, without the super-block's scale: −32 to 31.
    pub(crate) fn group_scale(&self, g: usize) -> i8 {
        let low = self.groups[g % 8] >> (4 * (g / 8)) & 15;
        let high = self.groups[8 + g % 4] >> (2 * (g / 4)) & 3;
        (low | high << 4) as i8 - 32
    }
}

impl Block for Q3K {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        for (g, out) in out.chunks_exact_mut(16).enumerate() {
            let scale = self.scale.to_f32() * f32::from(self.group_scale(g));
            let (half, k, start) = (g / 8, g % 8 / 2, g % 2 * 16);
            for (i, out) in out.iter_mut().enumerate() {
                let low = self.low[32 * half + start + i] >> (2 * k) & 3;
                let high = self.high[start + i] >> (g / 2) & 1;
                *out = scale * f32::from((low | high << 2) as i8 - 4);
            }
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        const STEPS: Steps = Steps {
            low: -32,
            high: 31,
            unit: 1.0,
            shift: 0.0,
        };
        let chosen: Chosen<16> = levels::groups::<Whole<4>, 16>(&STEPS, weights, importance);
        let codes = chosen.codes::<Whole<4>>(&STEPS, weights);
        let codes = codes.map(|code| (code + 4) as u8);
        let steps = chosen.steps.map(|step| (step + 32) as u8);
        Q3K {
            high: pack::planes(&codes, 2),
            low: pack::quarters(&codes, 0),
            groups: std::array::from_fn(|i| match i {
                0..8 => steps[i] & 15 | (steps[i + 8] & 15) << 4,
                _ => (0..4).fold(0, |byte, k| byte | steps[4 * k + i - 8] >> 4 << (2 * k)),
            }),
            scale: chosen.scale,
        }
    }
}

/// The sixteen group scales, in pairs of 16-bit integers.
#[inline(always)]
fn group_scales<S: Lanes>(simd: S, blocks: BlockRows<'_, Q3K>) -> [S::Int; 8] {
    let (four, two) = (simd.splat_int(0x0f0f_0f0f), simd.splat_int(0x3030_3030));
    let first = blocks.word(simd, offset_of!(Q3K, groups));
    let second = blocks.word(simd, offset_of!(Q3K, groups) + 4);
    let high = blocks.word(simd, offset_of!(Q3K, groups) + 8);
    let low = [
        first,
        second,
        simd.shift_right::<4>(first),
        simd.shift_right::<4>(second),
    ];
    let high = [
        simd.shift_left::<4>(high),
        simd.shift_left::<2>(high),
        high,
        simd.shift_right::<2>(high),
    ];
    // Raised so that flipping the sign bit of both halves leaves a scale less 32.
    let (raise, signs) = (
        simd.splat_int(0x7fe0_7fe0),
        simd.splat_int(0x8000_8000_u32 as i32),
    );
    let mut scales = [raise; 8];
    for i in 0..4 {
        let four_scales = simd.or(simd.and(low[i], four), simd.and(high[i], two));
        for (j, pair) in byte_pairs(simd, four_scales).into_iter().enumerate() {
            scales[2 * i + j] = simd.xor(simd.add_int(pair, raise), signs);
        }
    }
    scales
}

impl Unpack for Q3K {
    type Layout = Three16;

    #[inline(always)]
    #[allow(unused_assignments)] // The last shift brings nothing out.
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        let scale = simd.half_to_float(blocks.half(simd, offset_of!(Q3K, scale)));
        let groups = group_scales(simd, blocks);
        let (two, third) = (simd.splat_int(0x0303_0303), simd.splat_int(0x0404_0404));
        // Bit b of `high` is wanted in bit 2 at group b.
        let high = blocks.words8(simd, offset_of!(Q3K, high));
        let mut third_bits = shift_left_each::<2, S, 8>(simd, high);
        unrolled!(HALF in 2, {
            if HALF == 1 {
                third_bits = shift_right_each::<2, S, 8>(simd, high);
            }
            let mut low = blocks.words8(simd, offset_of!(Q3K, low) + 32 * HALF);
            unrolled!(K in 4, {
                let codes = and_each(simd, low, two);
                let codes = or_each(simd, codes, and_each(simd, third_bits, third));
                low = shift_right_each::<2, S, 8>(simd, low);
                third_bits = shift_right_each::<1, S, 8>(simd, third_bits);
                let group = 4 * HALF + K;
                sink.whole16(group, codes, groups[group], scale);
            });
        });
    }
}
