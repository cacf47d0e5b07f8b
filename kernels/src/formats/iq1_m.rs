//! IQ1_M: 256 weights in sixteen groups of two points of IQ1_S's codebook, with a 3-bit scale per
//! group and a shift per point;
//! weight = scale × (2 × group scale + 1) × (point's weight ± ⅛).

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{BlockRows, Order, Sink, Small16, Unpack};

use super::iq1_s::{DOWN, LEVELS, POINT_BYTES, SHIFT, SHIFTED, point, shift_bits};
use super::points::{self, Stepped};
use super::search::shifted;
use super::tables;
use super::{Block, Half, SUPER, block_size, grids};

/// 56 bytes, 1.75 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Iq1M {
    /// Bits 0–7 of the index of each point.
    pub(crate) points_low: [u8; SUPER / 8],
    /// Byte i: high nibble = point 2 i + 1 | low nibble = point 2 i; of each, bit 3 = set if the
    /// shift is negative | bits 0–2 = bits 8–10 of the index.
    pub(crate) points_high: [u8; SUPER / 16],
    /// Of word i: bits 12–15 = bits 4 i to 4 i + 3 of the scale, a half |
    /// bits 3 k to 3 k + 2 = scale of group 4 i + k.
    pub(crate) groups: [U16; SUPER / 64],
}

block_size!(Iq1M, 56);

impl Iq1M {
    /// Scale of the group scales.
    pub(crate) fn scale(&self) -> Half {
        let nibbles = self.groups.iter().enumerate();
        Half::from_bits(nibbles.fold(0, |bits, (i, word)| bits | (word.get() >> 12) << (4 * i)))
    }
}

impl Block for Iq1M {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        let scale = self.scale().to_f32();
        for (p, out) in out.chunks_exact_mut(8).enumerate() {
            let group = self.groups[p / 8].get() >> (3 * (p / 2 % 4)) & 7;
            let scale = scale * f32::from(2 * group + 1);
            let high = self.points_high[p / 2] >> (4 * (p % 2)) & 15;
            let shift = if high & 8 == 0 { SHIFT } else { -SHIFT };
            let index = usize::from(self.points_low[p]) | usize::from(high & 7) << 8;
            for (out, &weight) in out.iter_mut().zip(&grids::IQ1[index]) {
                *out = scale * (f32::from(weight) + shift);
            }
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let found = shifted::encode::<16, 1>(weights, importance);
        let scale = found.scale.to_bits();
        let nibble = |p: usize| {
            let minus = if found.minus[p] { 8 } else { 0 };
            (found.points[p] >> 8) as u8 | minus
        };
        Iq1M {
            points_low: found.points.map(|point| point as u8),
            points_high: std::array::from_fn(|i| nibble(2 * i) | nibble(2 * i + 1) << 4),
            groups: std::array::from_fn(|i| {
                let steps = (0..4).fold(0, |bits, k| {
                    bits | (found.steps[4 * i + k] as u16) << (3 * k)
                });
                ((scale >> (4 * i) & 15) << 12 | steps).into()
            }),
        }
    }
}

/// The bits of the block's scale, from the tops of its four words of 16 bits.
#[inline(always)]
fn gathered_scale<S: Lanes>(simd: S, [low, high]: [S::Int; 2]) -> S::Int {
    let first = simd.and(simd.shift_right::<12>(low), simd.splat_int(0xf));
    let second = simd.and(simd.shift_right::<24>(low), simd.splat_int(0xf0));
    let third = simd.and(simd.shift_right::<4>(high), simd.splat_int(0xf00));
    let fourth = simd.and(simd.shift_right::<16>(high), simd.splat_int(0xf000));
    simd.or(simd.or(first, second), simd.or(third, fourth))
}

/// The steps of the eight groups in two words of 16 bits.
#[inline(always)]
fn steps<S: Lanes>(simd: S, word: S::Int) -> [S::Int; 8] {
    let mut steps = [
        word,
        simd.shift_right::<3>(word),
        simd.shift_right::<6>(word),
        simd.shift_right::<9>(word),
        simd.shift_right::<16>(word),
        simd.shift_right::<19>(word),
        simd.shift_right::<22>(word),
        simd.shift_right::<25>(word),
    ];
    for step in &mut steps {
        *step = simd.and(*step, simd.splat_int(7));
    }
    steps
}

/// Unpacks as [`Unpack::unpack`] does, where there are byte tables.
#[inline(always)]
fn unpack_bytes<S: Lanes>(simd: S, blocks: BlockRows<'_, Iq1M>, sink: &mut impl Sink<S>) {
    // The groups, behind the last of the points.
    let last = blocks.words4(simd, offset_of!(Iq1M, groups) - 8);
    let words = [last[2], last[3]];
    let scale = simd.half_to_float(gathered_scale(simd, words));
    // Codes are eight times the weights.
    let scales = Stepped::new(simd, scale, 2.0 / 8.0);
    let nibbles = blocks.words4(simd, offset_of!(Iq1M, points_high));
    let down = simd.splat_int(DOWN);
    for half in 0..2 {
        let low = blocks.words4(simd, offset_of!(Iq1M, points_low) + 16 * half);
        let steps = steps(simd, words[half]);
        let mut high = low;
        for (i, high) in high.iter_mut().enumerate() {
            *high = simd.fields(nibbles[2 * half + i / 2], tables::steps(16 * (i % 2), 4));
        }
        let points = simd.lookup_bytes(&POINT_BYTES, low, high);
        for i in 0..4 {
            let mut codes = tables::places_of_halves(simd, &LEVELS, points[i]);
            for (n, codes) in codes.iter_mut().enumerate() {
                // Bit 3 of the point's nibble, which now is a byte of `high`.
                let mut bits = [0; 4];
                for (j, bit) in bits.iter_mut().enumerate() {
                    *bit = (Order::Halves.code(n, j) / 8 * 8 + 3) as u8;
                }
                let minus = (high[i], bits);
                *codes = simd.subtract_where(minus, (*codes, down), *codes);
            }
            let both = scales.pair(simd, &steps, i);
            sink.ordered16(4 * half + i, codes, both);
        }
    }
}

impl Unpack for Iq1M {
    type Layout = Small16;
    const BYTE_TABLES: bool = true;
    const ORDER: Order = Order::Halves;

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        if const { S::BYTE_TABLES } {
            return unpack_bytes(simd, blocks, sink);
        }
        let words = [
            blocks.word(simd, offset_of!(Iq1M, groups)),
            blocks.word(simd, offset_of!(Iq1M, groups) + 4),
        ];
        let scale = simd.half_to_float(gathered_scale(simd, words));
        // Codes are eight times the weights.
        let scales = Stepped::new(simd, scale, 2.0 / 8.0);
        for half in 0..2 {
            let low = blocks.words4(simd, offset_of!(Iq1M, points_low) + 16 * half);
            let steps = steps(simd, words[half]);
            for pair in 0..2 {
                let at = offset_of!(Iq1M, points_high) + 8 * half + 4 * pair;
                let high = points::lane_nibbles(simd, blocks.word(simd, at));
                for i in 0..2 {
                    let low = points::byte_shifts(simd, low[2 * pair + i]);
                    let mut codes = [words[0]; 8];
                    for p in 0..4 {
                        let high = high[4 * i + p];
                        let minus = shift_bits(simd, simd.shift_right::<3>(high));
                        let point = point(simd, low[p], simd.shift_left::<8>(high));
                        let eight = simd.or(point, minus);
                        [codes[2 * p], codes[2 * p + 1]] = points::codes(simd, &SHIFTED, eight);
                    }
                    let both = scales.pair(simd, &steps, 2 * pair + i);
                    sink.group16(4 * half + 2 * pair + i, codes, both);
                }
            }
        }
    }
}
