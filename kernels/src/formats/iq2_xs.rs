//! IQ2_XS: 256 weights in sixteen groups of two points of a codebook of eight-weight points, with
//! a 4-bit scale per group;
//! weight = scale × (½ + group scale) / 4 × sign × point's weight.

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{BlockRows, Medium16, Order, Sink, Unpack, shift_right_each};

use super::grids::{self, even_signs, signed};
use super::points::{self, Stepped};
use super::search::codebook::PointFormat;
use super::search::signs::{self, Split};
use super::tables::{self, Levels, Points};
use super::{Block, Half, SUPER, block_size, pack};

/// 74 bytes, 2.3125 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Iq2Xs {
    /// Scale of the group scales.
    pub(crate) scale: Half,
    /// Bits 9–15 = signs, a set bit for minus, the eighth making the number of minuses even |
    /// bits 0–8 = index of the point.
    pub(crate) points: [U16; SUPER / 8],
    /// Byte i: high nibble = scale of group 2 i + 1 | low nibble = scale of group 2 i.
    pub(crate) groups: [u8; SUPER / 32],
}

block_size!(Iq2Xs, 74);

/// How blocks are found.
static SEARCH: PointFormat<512, 8, 3, 81> =
    PointFormat::new(&grids::IQ2_XS, &grids::IQ2_LEVELS, 0.25, (0.6, 1.3));

impl Block for Iq2Xs {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        for (p, (out, point)) in out.chunks_exact_mut(8).zip(&self.points).enumerate() {
            let group = self.groups[p / 4] >> (4 * (p / 2 % 2)) & 15;
            let scale = self.scale.to_f32() * (0.5 + f32::from(group)) * 0.25;
            let point = point.get();
            let weights = &grids::IQ2_XS[usize::from(point & 511)];
            signed(scale, weights, even_signs((point >> 9) as u8), out);
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let Split { magnitudes, signs } = signs::even(weights, importance);
        let found = SEARCH.encode::<16, 32>(&magnitudes, importance);
        Iq2Xs {
            scale: found.scale,
            points: std::array::from_fn(|p| {
                (found.points[p] | u16::from(signs[p] & 0x7f) << 9).into()
            }),
            groups: pack::neighbours(&found.steps),
        }
    }
}

static POINTS: [u32; grids::IQ2_XS.len()] = points::eights(&grids::IQ2_XS, &grids::IQ2_LEVELS);
static SIGNED: [i8; 16] = points::with_signs(&grids::IQ2_LEVELS);

static POINT_BYTES: Points<512> = tables::eights(&grids::IQ2_XS, &grids::IQ2_LEVELS);
static LEVELS: Levels = tables::levels(&grids::IQ2_LEVELS);

/// The points of four groups, in two bytes each, and their signs, where there are byte tables.
#[inline(always)]
fn half<S: Lanes>(
    simd: S,
    blocks: BlockRows<'_, Iq2Xs>,
    half: usize,
) -> ([[S::Int; 2]; 4], [S::Int; 4]) {
    let words = blocks.words8(simd, offset_of!(Iq2Xs, points) + 32 * half);
    // A word holds two points: their lower bytes and their upper bytes, four together.
    let mut low = [words[0]; 4];
    let mut high = low;
    for i in 0..4 {
        let both = [words[2 * i], words[2 * i + 1]];
        low[i] = simd.pick(both, [0, 2, 4, 6]);
        high[i] = simd.pick(both, [1, 3, 5, 7]);
    }
    let points = simd.lookup_bytes(&POINT_BYTES, low, high);
    let signs = shift_right_each::<1, S, 4>(simd, high);
    (points, tables::even_signs(simd, signs))
}

/// Unpacks as [`Unpack::unpack`] does, where there are byte tables.
#[inline(always)]
fn unpack_bytes<S: Lanes>(simd: S, blocks: BlockRows<'_, Iq2Xs>, sink: &mut impl Sink<S>) {
    let scale = simd.half_to_float(blocks.half(simd, offset_of!(Iq2Xs, scale)));
    let scales = Stepped::new(simd, scale, 0.25);
    // The steps, behind the last points.
    let last = blocks.words4(simd, offset_of!(Iq2Xs, groups) - 8);
    let halves = [half(simd, blocks, 0), half(simd, blocks, 1)];
    for (half, (points, signs)) in halves.into_iter().enumerate() {
        let steps = points::lane_nibbles(simd, last[2 + half]);
        for i in 0..4 {
            let codes = tables::places_of_halves(simd, &LEVELS, points[i]);
            let codes = tables::signed(simd, Order::Halves, codes, signs[i]);
            let pair = scales.pair(simd, &steps, i);
            sink.ordered16(4 * half + i, codes, pair);
        }
    }
}

impl Unpack for Iq2Xs {
    type Layout = Medium16;
    const BYTE_TABLES: bool = true;
    const ORDER: Order = Order::Halves;

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        if const { S::BYTE_TABLES } {
            return unpack_bytes(simd, blocks, sink);
        }
        let scale = simd.half_to_float(blocks.half(simd, offset_of!(Iq2Xs, scale)));
        let scales = Stepped::new(simd, scale, 0.25);
        for half in 0..2 {
            let steps = blocks.word(simd, offset_of!(Iq2Xs, groups) + 4 * half);
            let steps = points::lane_nibbles(simd, steps);
            for i in 0..2 {
                // A word holds two points.
                let at = offset_of!(Iq2Xs, points) + 32 * half + 16 * i;
                let words = blocks.words4(simd, at);
                for j in 0..2 {
                    let mut codes = [words[0]; 8];
                    for p in 0..2 {
                        let word = words[2 * j + p];
                        let both = [word, simd.shift_right::<16>(word)];
                        for (q, word) in both.into_iter().enumerate() {
                            let signs = points::even_signs(simd, simd.shift_right::<9>(word));
                            let eight = simd.or(simd.lookup(&POINTS, word), signs);
                            let at = 4 * p + 2 * q;
                            [codes[at], codes[at + 1]] = points::codes(simd, &SIGNED, eight);
                        }
                    }
                    let pair = scales.pair(simd, &steps, 2 * i + j);
                    sink.group16(4 * half + 2 * i + j, codes, pair);
                }
            }
        }
    }
}
