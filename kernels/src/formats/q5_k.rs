//! Q5_K: 256 weights of 5 bits in eight groups, each with a 6-bit scale and a 6-bit offset;
//! weight = scale × group scale × code − offset scale × group offset.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::{Bytes, Lanes, OneRow};
use crate::unpack::{
    BlockRows, FiveIntegerMin32, InOrder, Sink, Sixteens, Unpack, and_each, nibbles, nibbles_below,
    or_each, shift_left_each, shift_right_each, unrolled,
};

use super::scales::SixBit;
use super::search::affine::Groups;
use super::{Block, Half, SUPER, block_size, pack};

/// 176 bytes, 5.5 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q5K {
    /// Scale of the group scales.
    pub(crate) scale: Half,
    /// Scale of the group offsets.
    pub(crate) offset_scale: Half,
    /// Scales and offsets of the groups.
    pub(crate) groups: SixBit,
    /// Byte i: bit g = bit 4 of code 32 g + i.
    pub(crate) high: [u8; SUPER / 8],
    /// Byte 32 p + i: high nibble = bits 0–3 of code 64 p + 32 + i | low nibble = those of code
    /// 64 p + i.
    pub(crate) low: [u8; SUPER / 2],
}

block_size!(Q5K, 176);

impl Block for Q5K {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        let (scales, offsets) = (self.groups.scales(), self.groups.offsets());
        for (g, out) in out.chunks_exact_mut(32).enumerate() {
            let scale = self.scale.to_f32() * f32::from(scales[g]);
            let offset = self.offset_scale.to_f32() * f32::from(offsets[g]);
            for (i, out) in out.iter_mut().enumerate() {
                let low = self.low[32 * (g / 2) + i] >> (4 * (g % 2)) & 15;
                let high = self.high[i] >> g & 1;
                *out = scale * f32::from(low | high << 4) - offset;
            }
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let groups = Groups::<8>::search(weights, importance, 31.0, 63.0);
        let codes = groups.codes(weights, 31.0);
        Q5K {
            scale: groups.scale,
            offset_scale: groups.offset_scale,
            groups: SixBit::new(groups.scales, groups.offsets),
            high: pack::planes(&codes, 4),
            low: pack::nibble_runs::<32>(&codes),
        }
    }
}

impl Unpack for Q5K {
    type Layout = FiveIntegerMin32;

    const IN_ORDER: Option<InOrder> = Some(InOrder::AcrossRows);
    const SIXTEENS: Sixteens = [[0, 1, 4, 5], [2, 3, 6, 7]];

    #[inline(always)]
    #[allow(unused_assignments)] // The last shift brings nothing out.
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        let header = blocks.words4(simd, offset_of!(Q5K, scale));
        let header = SixBit::unpack(simd, header);
        sink.minimums32(header.offset_pairs, header.offset_factor);
        let fifth = simd.splat_int(0x1010_1010);
        let mut high = shift_left_each::<4, S, 8>(simd, blocks.words8(simd, offset_of!(Q5K, high)));
        // What the shift to the left drops: bits 4 to 7 of the last byte of each word.
        let upper = blocks.words8(simd, offset_of!(Q5K, high));
        unrolled!(PAIR in 4, {
            if PAIR == 2 {
                high = upper;
            }
            let bytes = blocks.words8(simd, offset_of!(Q5K, low) + 32 * PAIR);
            let [first, second] = nibbles(simd, bytes);
            let first = or_each(simd, first, and_each(simd, high, fifth));
            high = shift_right_each::<1, S, 8>(simd, high);
            let second = or_each(simd, second, and_each(simd, high, fifth));
            high = shift_right_each::<1, S, 8>(simd, high);
            sink.group32(2 * PAIR, first, header.scales[2 * PAIR]);
            sink.group32(2 * PAIR + 1, second, header.scales[2 * PAIR + 1]);
        });
    }

    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn codes<S: OneRow, const NUMBER: usize>(
        simd: S,
        blocks: *const Self,
        _bytes: &Bytes<S>,
    ) -> [S::Int; 2] {
        // SAFETY: half of the low bits and the high bits of one of the two blocks.
        let (low, high) = unsafe {
            let block = blocks.add(NUMBER / 2);
            let low = (&raw const (*block).low)
                .cast::<u8>()
                .add(64 * (NUMBER % 2));
            let high = (&raw const (*block).high).cast::<u8>();
            (simd.load_int(low.cast()), simd.load_halves([high; 2]))
        };
        // The bits of both groups become bit 4.
        let high = match NUMBER % 2 {
            0 => [
                simd.rotate_halves::<28, 30>(high),
                simd.rotate_halves::<29, 31>(high),
            ],
            _ => [
                simd.rotate_halves::<0, 2>(high),
                simd.rotate_halves::<1, 3>(high),
            ],
        };
        nibbles_below(simd, low, high, 0x1f1f_1f1f)
    }
}
