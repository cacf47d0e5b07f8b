//! IQ2_S: 256 weights in sixteen groups of two points of a codebook of eight-weight points, with
//! a 4-bit scale per group and all signs free;
//! weight = scale × (½ + group scale) / 4 × sign × point's weight.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{BlockRows, Medium16, Order, Sink, Unpack};

use super::grids::{self, signed};
use super::points::{self, Stepped};
use super::search::codebook::PointFormat;
use super::search::signs::{self, Split};
use super::tables::{self, Levels, Points};
use super::{Block, Half, SUPER, block_size, pack};

/// 82 bytes, 2.5625 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Iq2S {
    /// Scale of the group scales.
    pub(crate) scale: Half,
    /// Bits 0–7 of the index of each point.
    pub(crate) points_low: [u8; SUPER / 8],
    /// Bit i of byte p: set if weight i of point p is negative.
    pub(crate) signs: [u8; SUPER / 8],
    /// Byte i: bits 2 k and 2 k + 1 = bits 8 and 9 of the index of point 4 i + k.
    pub(crate) points_high: [u8; SUPER / 32],
    /// Byte i: high nibble = scale of group 2 i + 1 | low nibble = scale of group 2 i.
    pub(crate) groups: [u8; SUPER / 32],
}

block_size!(Iq2S, 82);

impl Iq2S {
    /// Index of point `p`.
    pub(crate) fn point(&self, p: usize) -> usize {
        let high = self.points_high[p / 4] >> (2 * (p % 4)) & 3;
        usize::from(self.points_low[p]) | usize::from(high) << 8
    }
}

/// How blocks are found.
static SEARCH: PointFormat<1024, 8, 3, 81> =
    PointFormat::new(&grids::IQ2_S, &grids::IQ2_LEVELS, 0.25, (0.6, 1.3));

impl Block for Iq2S {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        for (p, out) in out.chunks_exact_mut(8).enumerate() {
            let group = self.groups[p / 4] >> (4 * (p / 2 % 2)) & 15;
            let scale = self.scale.to_f32() * (0.5 + f32::from(group)) * 0.25;
            signed(scale, &grids::IQ2_S[self.point(p)], self.signs[p], out);
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let Split { magnitudes, signs } = signs::free(weights);
        let found = SEARCH.encode::<16, 32>(&magnitudes, importance);
        Iq2S {
            scale: found.scale,
            points_low: found.points.map(|point| point as u8),
            signs,
            points_high: std::array::from_fn(|i| {
                (0..4).fold(0, |byte, k| {
                    byte | ((found.points[4 * i + k] >> 8) as u8) << (2 * k)
                })
            }),
            groups: pack::neighbours(&found.steps),
        }
    }
}

static POINTS: [u32; grids::IQ2_S.len()] = points::eights(&grids::IQ2_S, &grids::IQ2_LEVELS);
static SIGNED: [i8; 16] = points::with_signs(&grids::IQ2_LEVELS);

static POINT_BYTES: Points<1024> = tables::eights(&grids::IQ2_S, &grids::IQ2_LEVELS);
static LEVELS: Levels = tables::levels(&grids::IQ2_LEVELS);

/// Unpacks as [`Unpack::unpack`] does, where there are byte tables.
#[inline(always)]
fn unpack_bytes<S: Lanes>(simd: S, blocks: BlockRows<'_, Iq2S>, sink: &mut impl Sink<S>) {
    let scale = simd.half_to_float(blocks.half(simd, offset_of!(Iq2S, scale)));
    let scales = Stepped::new(simd, scale, 0.25);
    // What else is there of each half, in two words each.
    let rest = blocks.words4(simd, offset_of!(Iq2S, points_high));
    for half in 0..2 {
        let low = blocks.words4(simd, offset_of!(Iq2S, points_low) + 16 * half);
        let signs = blocks.words4(simd, offset_of!(Iq2S, signs) + 16 * half);
        let (word, steps) = (rest[half], rest[2 + half]);
        let mut high = [word; 4];
        for (i, high) in high.iter_mut().enumerate() {
            *high = simd.fields(word, tables::steps(8 * i, 2));
        }
        let steps = points::lane_nibbles(simd, steps);
        let points = simd.lookup_bytes(&POINT_BYTES, low, high);
        for i in 0..4 {
            let codes = tables::places_of_halves(simd, &LEVELS, points[i]);
            let codes = tables::signed(simd, Order::Halves, codes, signs[i]);
            let pair = scales.pair(simd, &steps, i);
            sink.ordered16(4 * half + i, codes, pair);
        }
    }
}

impl Unpack for Iq2S {
    type Layout = Medium16;
    const BYTE_TABLES: bool = true;
    const ORDER: Order = Order::Halves;

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        if const { S::BYTE_TABLES } {
            return unpack_bytes(simd, blocks, sink);
        }
        let scale = simd.half_to_float(blocks.half(simd, offset_of!(Iq2S, scale)));
        let scales = Stepped::new(simd, scale, 0.25);
        for half in 0..2 {
            let low = blocks.words4(simd, offset_of!(Iq2S, points_low) + 16 * half);
            let signs = blocks.words4(simd, offset_of!(Iq2S, signs) + 16 * half);
            let high = blocks.word(simd, offset_of!(Iq2S, points_high) + 4 * half);
            let high = points::byte_shifts(simd, high);
            let steps = blocks.word(simd, offset_of!(Iq2S, groups) + 4 * half);
            let steps = points::lane_nibbles(simd, steps);
            for i in 0..4 {
                let low = points::byte_shifts(simd, low[i]);
                let signs = points::byte_shifts(simd, signs[i]);
                // Bits 8 and 9 of each index in their places.
                let high = [
                    simd.shift_left::<8>(high[i]),
                    simd.shift_left::<6>(high[i]),
                    simd.shift_left::<4>(high[i]),
                    simd.shift_left::<2>(high[i]),
                ];
                let mut codes = [low[0]; 8];
                for p in 0..4 {
                    let index = simd.or(
                        simd.and(low[p], simd.splat_int(0xff)),
                        simd.and(high[p], simd.splat_int(0x300)),
                    );
                    let point = simd.lookup(&POINTS, index);
                    let eight = simd.or(point, points::signs(simd, signs[p]));
                    [codes[2 * p], codes[2 * p + 1]] = points::codes(simd, &SIGNED, eight);
                }
                let pair = scales.pair(simd, &steps, i);
                sink.group16(4 * half + i, codes, pair);
            }
        }
    }
}
