//! Q5_0: 32 weights of 5 bits with one scale; weight = scale × (code − 16).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{BlockRows, Five32, Sink, Unpack, joined, nibbles};

use super::search::levels::{self, Whole};
use super::{Block, Half, block_size, pack};

/// Weights in a block.
const WEIGHTS: usize = 32;

/// 22 bytes, 5.5 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q5_0 {
    /// The scale.
    pub(crate) scale: Half,
    /// Bit i: bit 4 of code i.
    pub(crate) high: U32,
    /// Byte i: high nibble = bits 0–3 of code i + 16 | low nibble = those of code i.
    pub(crate) low: [u8; WEIGHTS / 2],
}

block_size!(Q5_0, 22);

impl Block for Q5_0 {
    const WEIGHTS: usize = WEIGHTS;

    fn decode(&self, out: &mut [f32]) {
        let scale = self.scale.to_f32();
        let high = self.high.get();
        for (i, byte) in self.low.iter().enumerate() {
            let first = (byte & 15) | ((high >> i) as u8 & 1) << 4;
            let second = (byte >> 4) | ((high >> (i + 16)) as u8 & 1) << 4;
            out[i] = scale * f32::from(first as i8 - 16);
            out[i + 16] = scale * f32::from(second as i8 - 16);
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let scale = Half::scale(levels::scale::<Whole<16>>(weights, importance));
        let mut codes = [0; WEIGHTS];
        levels::quantize::<Whole<16>>(weights, scale.to_f32(), &mut codes);
        let codes = codes.map(|code| (code + 16) as u8);
        Q5_0 {
            scale,
            high: pack::fifth_bits(&codes).into(),
            low: pack::nibbles(&codes),
        }
    }
}

/// Sets bit 4 of code i to bit i of `fifth`.
#[inline(always)]
pub(crate) fn with_fifth_bits<S: Lanes>(
    simd: S,
    mut codes: [S::Int; 8],
    fifth: S::Int,
) -> [S::Int; 8] {
    let fours = [
        fifth,
        simd.shift_right::<4>(fifth),
        simd.shift_right::<8>(fifth),
        simd.shift_right::<12>(fifth),
        simd.shift_right::<16>(fifth),
        simd.shift_right::<20>(fifth),
        simd.shift_right::<24>(fifth),
        simd.shift_right::<28>(fifth),
    ];
    // Copies of four bits moved by 4, 11, 18 and 25 do not overlap; of copy k, bit k is at
    // 8 k + 4.
    let copies = simd.splat_int(1 << 4 | 1 << 11 | 1 << 18 | 1 << 25);
    let (four, places) = (simd.splat_int(15), simd.splat_int(0x1010_1010));
    for (codes, bits) in codes.iter_mut().zip(fours) {
        let spread = simd.multiply_int(simd.and(bits, four), copies);
        *codes = simd.or(*codes, simd.and(spread, places));
    }
    codes
}

impl Unpack for Q5_0 {
    type Layout = Five32;

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        let scale = simd.half_to_float(blocks.half(simd, offset_of!(Q5_0, scale)));
        let [low, high] = nibbles(simd, blocks.words4(simd, offset_of!(Q5_0, low)));
        let fifth = blocks.word(simd, offset_of!(Q5_0, high));
        sink.group32(0, with_fifth_bits(simd, joined(low, high), fifth), scale);
    }
}
