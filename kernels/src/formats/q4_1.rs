//! Q4_1: 32 weights of 4 bits with a scale and a minimum; weight = scale × code + minimum.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{BlockRows, NibbleMin32, Sink, Unpack, joined, nibbles};

use super::search::affine::{self, Line};
use super::{Block, Half, block_size, pack};

/// Weights in a block.
const WEIGHTS: usize = 32;

/// 20 bytes, 5 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q4_1 {
    /// The scale.
    pub(crate) scale: Half,
    /// What code 0 stands for.
    pub(crate) minimum: Half,
    /// Byte i: high nibble = code i + 16 | low nibble = code i.
    pub(crate) codes: [u8; WEIGHTS / 2],
}

block_size!(Q4_1, 20);

impl Block for Q4_1 {
    const WEIGHTS: usize = WEIGHTS;

    fn decode(&self, out: &mut [f32]) {
        let (scale, minimum) = (self.scale.to_f32(), self.minimum.to_f32());
        for (i, byte) in self.codes.iter().enumerate() {
            out[i] = scale * f32::from(byte & 15) + minimum;
            out[i + 16] = scale * f32::from(byte >> 4) + minimum;
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let line = affine::line(weights, importance, 15.0, f32::MAX);
        let (scale, minimum) = (Half::scale(line.scale), Half::from_f32(line.minimum));
        let mut codes = [0; WEIGHTS];
        Line {
            scale: scale.to_f32(),
            minimum: minimum.to_f32(),
        }
        .quantize(weights, 15.0, &mut codes);
        Q4_1 {
            scale,
            minimum,
            codes: pack::nibbles(&codes),
        }
    }
}

impl Unpack for Q4_1 {
    type Layout = NibbleMin32;

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        let halves = blocks.word(simd, offset_of!(Q4_1, scale));
        let [low, high] = nibbles(simd, blocks.words4(simd, offset_of!(Q4_1, codes)));
        sink.group32(0, joined(low, high), simd.half_to_float(halves));
        sink.minimum32(0, simd.half_to_float(simd.shift_right::<16>(halves)));
    }
}
