//! Q4_0: 32 weights of 4 bits with one scale; weight = scale × (code − 8).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::isa::{Bytes, Lanes, OneRow};
use crate::unpack::{BlockRows, InOrder, Nibble32, Sink, Sixteens, Unpack, joined, nibbles};
use std::mem::offset_of;

use super::search::levels::{self, Whole};
use super::{Block, Half, block_size, pack};

/// Weights in a block.
const WEIGHTS: usize = 32;

/// 18 bytes, 4.5 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q4_0 {
    /// The scale.
    pub(crate) scale: Half,
    /// Byte i: high nibble = code i + 16 | low nibble = code i.
    pub(crate) codes: [u8; WEIGHTS / 2],
}

block_size!(Q4_0, 18);

impl Block for Q4_0 {
    const WEIGHTS: usize = WEIGHTS;

    fn decode(&self, out: &mut [f32]) {
        let scale = self.scale.to_f32();
        for (i, byte) in self.codes.iter().enumerate() {
            out[i] = scale * f32::from((byte & 15) as i8 - 8);
            out[i + 16] = scale * f32::from((byte >> 4) as i8 - 8);
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let scale = Half::scale(levels::scale::<Whole<8>>(weights, importance));
        let mut codes = [0; WEIGHTS];
        levels::quantize::<Whole<8>>(weights, scale.to_f32(), &mut codes);
        Q4_0 {
            scale,
            codes: pack::nibbles(&codes.map(|code| (code + 8) as u8)),
        }
    }
}

impl Unpack for Q4_0 {
    type Layout = Nibble32;

    const IN_ORDER: Option<InOrder> = Some(InOrder::Packed);
    const SIXTEENS: Sixteens = [[0, 2, 4, 6], [1, 3, 5, 7]];

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        let scale = simd.half_to_float(blocks.half(simd, offset_of!(Q4_0, scale)));
        let bytes = blocks.words4(simd, offset_of!(Q4_0, codes));
        let [low, high] = nibbles(simd, bytes);
        sink.group32(0, joined(low, high), scale);
    }

    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn bytes<S: OneRow>(simd: S, blocks: *const Self) -> Bytes<S> {
        // SAFETY: the caller's promise.
        unsafe { simd.bytes_of_groups::<{ size_of::<Q4_0>() }>(blocks.cast()) }
    }

    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn codes<S: OneRow, const NUMBER: usize>(
        simd: S,
        _blocks: *const Self,
        bytes: &Bytes<S>,
    ) -> [S::Int; 2] {
        const BYTES: usize = size_of::<Q4_0>();
        const CODES: usize = offset_of!(Q4_0, codes);
        let bytes = simd.sixteens_of_groups::<BYTES, CODES, NUMBER>(bytes);
        let [low, high] = nibbles(simd, [bytes]);
        [low[0], high[0]]
    }

    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn scales<S: OneRow>(simd: S, _blocks: *const Self, bytes: &Bytes<S>) -> S::Int {
        simd.halves_in_bytes::<{ size_of::<Q4_0>() }>(bytes)
    }
}
