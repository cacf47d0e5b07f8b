//! IQ3_S: 256 weights in eight groups of eight points of a codebook of four-weight points, with a
//! 4-bit scale per group and all signs free;
//! weight = scale × (1 + 2 × group scale) × sign × point's weight.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{BlockRows, Order, Sink, Small32, Unpack, joined, unrolled};

use super::grids::{self, signed};
use super::points::{self, Stepped};
use super::search::codebook::PointFormat;
use super::search::signs::{self, Split};
use super::tables::{self, Levels, Points};
use super::{Block, Half, SUPER, block_size, pack};

/// 110 bytes, 3.4375 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Iq3S {
    /// Scale of the group scales.
    pub(crate) scale: Half,
    /// Bits 0–7 of the index of each point.
    pub(crate) points_low: [u8; SUPER / 4],
    /// Byte i: bit k = bit 8 of the index of point 8 i + k.
    pub(crate) points_high: [u8; SUPER / 32],
    /// Bit i of byte p: set if weight 8 p + i is negative.
    pub(crate) signs: [u8; SUPER / 8],
    /// Byte i: high nibble = scale of group 2 i + 1 | low nibble = scale of group 2 i.
    pub(crate) groups: [u8; SUPER / 64],
}

block_size!(Iq3S, 110);

impl Iq3S {
    /// Index of point `p`.
    pub(crate) fn point(&self, p: usize) -> usize {
        let high = self.points_high[p / 8] >> (p % 8) & 1;
        usize::from(self.points_low[p]) | usize::from(high) << 8
    }
}

/// How blocks are found.
static SEARCH: PointFormat<512, 4, 8, 64> =
    PointFormat::new(&grids::IQ3_S, &grids::IQ3_S_LEVELS, 2.0, (0.7, 1.2));

impl Block for Iq3S {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        for (p, out) in out.chunks_exact_mut(4).enumerate() {
            let group = self.groups[p / 16] >> (4 * (p / 8 % 2)) & 15;
            let scale = self.scale.to_f32() * f32::from(1 + 2 * group);
            let signs = self.signs[p / 2] >> (4 * (p % 2));
            signed(scale, &grids::IQ3_S[self.point(p)], signs, out);
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let Split { magnitudes, signs } = signs::free(weights);
        let found = SEARCH.encode::<8, 64>(&magnitudes, importance);
        Iq3S {
            scale: found.scale,
            points_low: found.points.map(|point| point as u8),
            points_high: std::array::from_fn(|i| {
                (0..8).fold(0, |byte, k| {
                    byte | ((found.points[8 * i + k] >> 8) as u8) << k
                })
            }),
            signs,
            groups: pack::neighbours(&found.steps),
        }
    }
}

static POINTS: [u32; grids::IQ3_S.len()] = points::fours(&grids::IQ3_S, &grids::IQ3_S_LEVELS);
static SIGNED: [i8; 16] = points::with_signs(&grids::IQ3_S_LEVELS);

static POINT_BYTES: Points<512> = tables::fours(&grids::IQ3_S, &grids::IQ3_S_LEVELS);
static LEVELS: Levels = tables::levels(&grids::IQ3_S_LEVELS);

/// Unpacks as [`Unpack::unpack`] does, where there are byte tables.
#[inline(always)]
fn unpack_bytes<S: Lanes>(simd: S, blocks: BlockRows<'_, Iq3S>, sink: &mut impl Sink<S>) {
    let scale = simd.half_to_float(blocks.half(simd, offset_of!(Iq3S, scale)));
    let scales = Stepped::new(simd, scale, 2.0);
    // What is behind the lower bits: two words of upper bits, eight of signs, and one of steps.
    let first = blocks.words4(simd, offset_of!(Iq3S, points_high));
    let middle = blocks.words4(simd, offset_of!(Iq3S, points_high) + 16);
    let last = blocks.words4(simd, offset_of!(Iq3S, groups) - 12);
    let steps = points::lane_nibbles(simd, last[3]);
    let signs = [
        [first[2], first[3], middle[0], middle[1]],
        [middle[2], last[0], last[1], last[2]],
    ];
    for half in 0..2 {
        let signs = signs[half];
        let low = blocks.words8(simd, offset_of!(Iq3S, points_low) + 32 * half);
        let word = first[half];
        let mut high = low;
        for (i, high) in high.iter_mut().enumerate() {
            *high = simd.fields(word, tables::steps(4 * i, 1));
        }
        let points = simd.lookup_bytes(&POINT_BYTES, low, high);
        unrolled!(I in 4, {
            let points = [points[2 * I], points[2 * I + 1]];
            let codes = tables::places_of_fours(simd, &LEVELS, points);
            let codes = tables::signed(simd, Order::Fours, codes, signs[I]);
            let scale = scales.scale(simd, steps[4 * half + I]);
            sink.ordered32(4 * half + I, codes, scale);
        });
    }
}

impl Unpack for Iq3S {
    type Layout = Small32;
    const BYTE_TABLES: bool = true;
    const ORDER: Order = Order::Fours;

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        if const { S::BYTE_TABLES } {
            return unpack_bytes(simd, blocks, sink);
        }
        let scale = simd.half_to_float(blocks.half(simd, offset_of!(Iq3S, scale)));
        let scales = Stepped::new(simd, scale, 2.0);
        let steps = points::lane_nibbles(simd, blocks.word(simd, offset_of!(Iq3S, groups)));
        for half in 0..2 {
            let signs = blocks.words4(simd, offset_of!(Iq3S, signs) + 16 * half);
            let low = blocks.words8(simd, offset_of!(Iq3S, points_low) + 32 * half);
            let high = blocks.word(simd, offset_of!(Iq3S, points_high) + 4 * half);
            let high = points::byte_shifts(simd, high);
            for i in 0..4 {
                let signs = points::byte_shifts(simd, signs[i]);
                let first = points::byte_shifts(simd, low[2 * i]);
                let second = points::byte_shifts(simd, low[2 * i + 1]);
                let low = joined(first, second);
                // Bit 8 of each index in its place.
                let high = [
                    simd.shift_left::<8>(high[i]),
                    simd.shift_left::<7>(high[i]),
                    simd.shift_left::<6>(high[i]),
                    simd.shift_left::<5>(high[i]),
                    simd.shift_left::<4>(high[i]),
                    simd.shift_left::<3>(high[i]),
                    simd.shift_left::<2>(high[i]),
                    simd.shift_left::<1>(high[i]),
                ];
                let mut points = low;
                for p in 0..8 {
                    let index = simd.or(
                        simd.and(low[p], simd.splat_int(0xff)),
                        simd.and(high[p], simd.splat_int(0x100)),
                    );
                    points[p] = simd.lookup(&POINTS, index);
                }
                let mut codes = low;
                for p in 0..4 {
                    let eight = simd.or(points[2 * p], simd.shift_left::<4>(points[2 * p + 1]));
                    let eight = simd.or(eight, points::signs(simd, signs[p]));
                    [codes[2 * p], codes[2 * p + 1]] = points::codes(simd, &SIGNED, eight);
                }
                let scale = scales.scale(simd, steps[4 * half + i]);
                sink.group32(4 * half + i, codes, scale);
            }
        }
    }
}
