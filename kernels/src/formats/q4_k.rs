//! Q4_K: 256 weights of 4 bits in eight groups, each with a 6-bit scale and a 6-bit offset;
//! weight = scale × group scale × code − offset scale × group offset.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::isa::{Bytes, Lanes, OneRow};
use crate::unpack::{BlockRows, InOrder, NibbleIntegerMin32, Sink, Sixteens, Unpack, nibbles};
use std::mem::offset_of;

use super::scales::SixBit;
use super::search::affine::Groups;
use super::{Block, Half, SUPER, block_size, pack};

/// 144 bytes, 4.5 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q4K {
    /// Scale of the group scales.
    pub(crate) scale: Half,
    /// Scale of the group offsets.
    pub(crate) offset_scale: Half,
    /// Scales and offsets of the groups.
    pub(crate) groups: SixBit,
    /// Byte 32 p + i: high nibble = code 64 p + 32 + i | low nibble = code 64 p + i.
    pub(crate) codes: [u8; SUPER / 2],
}

block_size!(Q4K, 144);

impl Block for Q4K {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        let (scales, offsets) = (self.groups.scales(), self.groups.offsets());
        for (g, out) in out.chunks_exact_mut(32).enumerate() {
            let scale = self.scale.to_f32() * f32::from(scales[g]);
            let offset = self.offset_scale.to_f32() * f32::from(offsets[g]);
            for (i, out) in out.iter_mut().enumerate() {
                let code = self.codes[32 * (g / 2) + i] >> (4 * (g % 2)) & 15;
                *out = scale * f32::from(code) - offset;
            }
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let groups = Groups::<8>::search(weights, importance, 15.0, 63.0);
        let codes = groups.codes(weights, 15.0);
        Q4K {
            scale: groups.scale,
            offset_scale: groups.offset_scale,
            groups: SixBit::new(groups.scales, groups.offsets),
            codes: pack::nibble_runs::<32>(&codes),
        }
    }
}

impl Unpack for Q4K {
    type Layout = NibbleIntegerMin32;

    const IN_ORDER: Option<InOrder> = Some(InOrder::AcrossRows);
    const SIXTEENS: Sixteens = [[0, 1, 4, 5], [2, 3, 6, 7]];

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        let header = blocks.words4(simd, offset_of!(Q4K, scale));
        let header = SixBit::unpack(simd, header);
        sink.minimums32(header.offset_pairs, header.offset_factor);
        for pair in 0..4 {
            let bytes = blocks.words8(simd, offset_of!(Q4K, codes) + 32 * pair);
            let [low, high] = nibbles(simd, bytes);
            sink.group32(2 * pair, low, header.scales[2 * pair]);
            sink.group32(2 * pair + 1, high, header.scales[2 * pair + 1]);
        }
    }

    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn codes<S: OneRow, const NUMBER: usize>(
        simd: S,
        blocks: *const Self,
        _bytes: &Bytes<S>,
    ) -> [S::Int; 2] {
        // SAFETY: half of the codes of one of the two blocks.
        let bytes = unsafe {
            let codes = &raw const (*blocks.add(NUMBER / 2)).codes;
            simd.load_int(codes.cast::<i32>().add(16 * (NUMBER % 2)))
        };
        let [low, high] = nibbles(simd, [bytes]);
        [low[0], high[0]]
    }
}
