//! Q2_K: 256 weights of 2 bits in sixteen groups, each with a 4-bit scale and a 4-bit offset;
//! weight = scale × group scale × code − offset scale × group offset.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{
    BlockRows, Sink, TwoIntegerMin16, Unpack, and_each, byte_pairs, nibbles, shift_right_each,
    unrolled,
};

use super::search::affine::Groups;
use super::{Block, Half, SUPER, block_size, pack};

/// 84 bytes, 2.625 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q2K {
    /// Byte g: high nibble = offset of group g | low nibble = scale of group g.
    pub(crate) groups: [u8; SUPER / 16],
    /// Byte 32 h + i: bits 2 k and 2 k + 1 = code 128 h + 32 k + i.
    pub(crate) codes: [u8; SUPER / 4],
    /// Scale of the group scales.
    pub(crate) scale: Half,
    /// Scale of the group offsets.
    pub(crate) offset_scale: Half,
}

block_size!(Q2K, 84);

impl Block for Q2K {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        let (scale, offset_scale) = (self.scale.to_f32(), self.offset_scale.to_f32());
        for (g, (out, group)) in out.chunks_exact_mut(16).zip(&self.groups).enumerate() {
            let scale = scale * f32::from(group & 15);
            let offset = offset_scale * f32::from(group >> 4);
            let (half, k, start) = (g / 8, g % 8 / 2, g % 2 * 16);
            for (i, out) in out.iter_mut().enumerate() {
                let code = self.codes[32 * half + start + i] >> (2 * k) & 3;
                *out = scale * f32::from(code) - offset;
            }
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let groups = Groups::<16>::search(weights, importance, 3.0, 15.0);
        let codes = groups.codes(weights, 3.0);
        Q2K {
            groups: std::array::from_fn(|g| groups.scales[g] | groups.offsets[g] << 4),
            codes: pack::quarters(&codes, 0),
            scale: groups.scale,
            offset_scale: groups.offset_scale,
        }
    }
}

impl Unpack for Q2K {
    type Layout = TwoIntegerMin16;

    #[inline(always)]
    #[allow(unused_assignments)] // The last shift brings nothing out.
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        let halves = blocks.word(simd, offset_of!(Q2K, scale));
        let scale = simd.half_to_float(halves);
        let groups = blocks.words4(simd, offset_of!(Q2K, groups));
        let [scales, offsets] = nibbles(simd, groups);
        let mut pairs = [scales[0]; 8];
        for (i, offsets) in offsets.into_iter().enumerate() {
            [pairs[2 * i], pairs[2 * i + 1]] = byte_pairs(simd, offsets);
        }
        // Flipping the sign bit of the half negates it.
        let negative = simd.xor(simd.shift_right::<16>(halves), simd.splat_int(0x8000));
        sink.minimums16(pairs, simd.half_to_float(negative));
        let mask = simd.splat_int(0x0303_0303);
        unrolled!(HALF in 2, {
            let mut codes = blocks.words8(simd, offset_of!(Q2K, codes) + 32 * HALF);
            unrolled!(PAIR in 2, {
                let [first, last] = byte_pairs(simd, scales[2 * HALF + PAIR]);
                let group = 4 * HALF + 2 * PAIR;
                sink.whole16(group, and_each(simd, codes, mask), first, scale);
                codes = shift_right_each::<2, S, 8>(simd, codes);
                sink.whole16(group + 1, and_each(simd, codes, mask), last, scale);
                codes = shift_right_each::<2, S, 8>(simd, codes);
            });
        });
    }
}
