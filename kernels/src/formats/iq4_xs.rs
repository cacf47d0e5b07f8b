//! IQ4_XS: 256 weights of 4 bits that name a level of IQ4_NL, in eight groups, each with a 6-bit
//! scale; weight = scale × (group scale − 32) × level.

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{BlockRows, Signed32, Sink, Unpack, bytes, joined, nibbles, scaled};

use super::iq4_nl::{LEVELS, TABLE, Uneven, code};
use super::search::levels;
use super::search::steps::{Chosen, Steps};
use super::{Block, Half, SUPER, block_size, pack};

/// 136 bytes, 4.25 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Iq4Xs {
    /// Scale of the group scales.
    pub(crate) scale: Half,
    /// Bits 2 g and 2 g + 1 = bits 4 and 5 of group scale g.
    pub(crate) groups_high: U16,
    /// Byte i: high nibble = bits 0–3 of group scale 2 i + 1 | low nibble = those of 2 i.
    pub(crate) groups_low: [u8; SUPER / 64],
    /// Byte 16 g + i: high nibble = code 32 g + 16 + i | low nibble = code 32 g + i.
    pub(crate) codes: [u8; SUPER / 2],
}

block_size!(Iq4Xs, 136);

impl Iq4Xs {
    /// The scale of group `g`, without the super-block's scale: −32 to 31.
    pub(crate) fn group_scale(&self, g: usize) -> i8 {
        let low = self.groups_low[g / 2] >> (4 * (g % 2)) & 15;
        let high = (self.groups_high.get() >> (2 * g)) as u8 & 3;
        (low | high << 4) as i8 - 32
    }
}

impl Block for Iq4Xs {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        let groups = out.chunks_exact_mut(32).zip(self.codes.as_chunks::<16>().0);
        for (g, (out, codes)) in groups.enumerate() {
            let scale = self.scale.to_f32() * f32::from(self.group_scale(g));
            for (i, byte) in codes.iter().enumerate() {
                out[i] = scale * f32::from(LEVELS[usize::from(byte & 15)]);
                out[i + 16] = scale * f32::from(LEVELS[usize::from(byte >> 4)]);
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
        let chosen: Chosen<8> = levels::groups::<Uneven, 8>(&STEPS, weights, importance);
        let codes = chosen.codes::<Uneven>(&STEPS, weights).map(code);
        let steps = chosen.steps.map(|step| (step + 32) as u8);
        let high = (0..8).fold(0, |bits, g| bits | u16::from(steps[g] >> 4) << (2 * g));
        Iq4Xs {
            scale: chosen.scale,
            groups_high: high.into(),
            groups_low: std::array::from_fn(|i| steps[2 * i] & 15 | (steps[2 * i + 1] & 15) << 4),
            codes: pack::nibble_runs::<16>(&codes),
        }
    }
}

/// The scales of the eight groups, without the block's.
#[inline(always)]
fn group_steps<S: Lanes>(simd: S, blocks: BlockRows<'_, Iq4Xs>) -> [S::Int; 8] {
    let low = blocks.word(simd, offset_of!(Iq4Xs, groups_low));
    let [[even], [odd]] = nibbles(simd, [low]);
    // Four bits, the upper bits of two groups, to each byte.
    let high = blocks.half(simd, offset_of!(Iq4Xs, groups_high));
    let high = simd.or(high, simd.shift_left::<8>(high));
    let high = simd.and(high, simd.splat_int(0x00ff_00ff));
    let high = simd.or(high, simd.shift_left::<4>(high));
    let even_high = simd.and(simd.shift_left::<4>(high), simd.splat_int(0x3030_3030));
    let odd_high = simd.and(simd.shift_left::<2>(high), simd.splat_int(0x3030_3030));
    let even = bytes(simd, simd.or(even, even_high));
    let odd = bytes(simd, simd.or(odd, odd_high));
    let mut steps = [low; 8];
    for i in 0..4 {
        steps[2 * i] = simd.subtract_int(even[i], simd.splat_int(32));
        steps[2 * i + 1] = simd.subtract_int(odd[i], simd.splat_int(32));
    }
    steps
}

impl Unpack for Iq4Xs {
    type Layout = Signed32;

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        let scale = simd.half_to_float(blocks.half(simd, offset_of!(Iq4Xs, scale)));
        let steps = group_steps(simd, blocks);
        for (group, step) in steps.into_iter().enumerate() {
            let bytes = blocks.words4(simd, offset_of!(Iq4Xs, codes) + 16 * group);
            let [low, high] = nibbles(simd, bytes);
            let [scale] = scaled(simd, [step], scale);
            sink.raised32(group, TABLE.raised(simd, joined(low, high)), scale);
        }
    }
}
