//! Q5_1: 32 weights of 5 bits with a scale and a minimum; weight = scale × code + minimum.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{BlockRows, FiveMin32, Sink, Unpack, joined, nibbles};

use super::q5_0::with_fifth_bits;
use super::search::affine::{self, Line};
use super::{Block, Half, block_size, pack};

/// Weights in a block.
const WEIGHTS: usize = 32;

/// 24 bytes, 6 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q5_1 {
    /// The scale.
    pub(crate) scale: Half,
    /// What code 0 stands for.
    pub(crate) minimum: Half,
    /// Bit i: bit 4 of code i.
    pub(crate) high: U32,
    /// Byte i: high nibble = bits 0–3 of code i + 16 | low nibble = those of code i.
    pub(crate) low: [u8; WEIGHTS / 2],
}

block_size!(Q5_1, 24);

impl Block for Q5_1 {
    const WEIGHTS: usize = WEIGHTS;

    fn decode(&self, out: &mut [f32]) {
        let (scale, minimum) = (self.scale.to_f32(), self.minimum.to_f32());
        let high = self.high.get();
        for (i, byte) in self.low.iter().enumerate() {
            let first = (byte & 15) | ((high >> i) as u8 & 1) << 4;
            let second = (byte >> 4) | ((high >> (i + 16)) as u8 & 1) << 4;
            out[i] = scale * f32::from(first) + minimum;
            out[i + 16] = scale * f32::from(second) + minimum;
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let line = affine::line(weights, importance, 31.0, f32::MAX);
        let (scale, minimum) = (Half::scale(line.scale), Half::from_f32(line.minimum));
        let mut codes = [0; WEIGHTS];
        Line {
            scale: scale.to_f32(),
            minimum: minimum.to_f32(),
        }
        .quantize(weights, 31.0, &mut codes);
        Q5_1 {
            scale,
            minimum,
            high: pack::fifth_bits(&codes).into(),
            low: pack::nibbles(&codes),
        }
    }
}

impl Unpack for Q5_1 {
    type Layout = FiveMin32;

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        let halves = blocks.word(simd, offset_of!(Q5_1, scale));
        let [low, high] = nibbles(simd, blocks.words4(simd, offset_of!(Q5_1, low)));
        let fifth = blocks.word(simd, offset_of!(Q5_1, high));
        let codes = with_fifth_bits(simd, joined(low, high), fifth);
        sink.group32(0, codes, simd.half_to_float(halves));
        sink.minimum32(0, simd.half_to_float(simd.shift_right::<16>(halves)));
    }
}
