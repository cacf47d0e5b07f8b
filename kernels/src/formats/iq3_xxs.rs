//! IQ3_XXS: 256 weights in eight groups of eight points of a codebook of four-weight points, with
//! a 4-bit scale per group;
//! weight = scale × (½ + group scale) / 2 × sign × point's weight.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{BlockRows, Medium32, Order, Sink, Unpack, joined};

use super::grids::{self, even_signs, signed};
use super::points::{self, Stepped};
use super::search::codebook::PointFormat;
use super::search::signs::{self, Split};
use super::tables::{self, Levels, Points};
use super::{Block, Half, SUPER, block_size};

/// 98 bytes, 3.0625 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Iq3Xxs {
    /// Scale of the group scales.
    pub(crate) scale: Half,
    /// Index of each point.
    pub(crate) points: [u8; SUPER / 4],
    /// Of each group: bits 28–31 = group scale | bits 7 p to 7 p + 6 = signs of the group's points
    /// 2 p and 2 p + 1, a set bit for minus, the eighth making the number of minuses even.
    pub(crate) signs_and_scales: [U32; SUPER / 32],
}

block_size!(Iq3Xxs, 98);

/// How blocks are found.
static SEARCH: PointFormat<256, 4, 8, 64> =
    PointFormat::new(&grids::IQ3_XXS, &grids::IQ3_XXS_LEVELS, 0.5, (0.7, 1.2));

impl Block for Iq3Xxs {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        for (pair, out) in out.chunks_exact_mut(8).enumerate() {
            let word = self.signs_and_scales[pair / 4].get();
            let scale = self.scale.to_f32() * (0.5 + (word >> 28) as f32) * 0.5;
            let signs = even_signs((word >> (7 * (pair % 4))) as u8);
            let (first, second) = out.split_at_mut(4);
            let point = |p: usize| &grids::IQ3_XXS[usize::from(self.points[p])];
            signed(scale, point(2 * pair), signs, first);
            signed(scale, point(2 * pair + 1), signs >> 4, second);
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let Split { magnitudes, signs } = signs::even(weights, importance);
        let found = SEARCH.encode::<8, 64>(&magnitudes, importance);
        Iq3Xxs {
            scale: found.scale,
            points: found.points.map(|point| point as u8),
            signs_and_scales: std::array::from_fn(|g| {
                signs::word(&signs[4 * g..], found.steps[g]).into()
            }),
        }
    }
}

static POINTS: [u32; grids::IQ3_XXS.len()] = points::fours(&grids::IQ3_XXS, &grids::IQ3_XXS_LEVELS);
static SIGNED: [i8; 16] = points::with_signs(&grids::IQ3_XXS_LEVELS);

static POINT_BYTES: Points<256> = tables::fours(&grids::IQ3_XXS, &grids::IQ3_XXS_LEVELS);
static LEVELS: Levels = tables::levels(&grids::IQ3_XXS_LEVELS);

/// Unpacks as [`Unpack::unpack`] does, where there are byte tables.
#[inline(always)]
fn unpack_bytes<S: Lanes>(simd: S, blocks: BlockRows<'_, Iq3Xxs>, sink: &mut impl Sink<S>) {
    let scale = simd.half_to_float(blocks.half(simd, offset_of!(Iq3Xxs, scale)));
    let scales = Stepped::new(simd, scale, 0.5);
    for half in 0..2 {
        let words = blocks.words4(simd, offset_of!(Iq3Xxs, signs_and_scales) + 16 * half);
        let indices = blocks.words8(simd, offset_of!(Iq3Xxs, points) + 32 * half);
        let points = simd.lookup_bytes(&POINT_BYTES, indices, indices);
        let signs = tables::even_signs_of_runs(simd, words);
        for i in 0..4 {
            let points = [points[2 * i], points[2 * i + 1]];
            let codes = tables::places_of_fours(simd, &LEVELS, points);
            let codes = tables::signed(simd, Order::Fours, codes, signs[i]);
            let step = simd.shift_right::<28>(words[i]);
            sink.ordered32(4 * half + i, codes, scales.scale(simd, step));
        }
    }
}

impl Unpack for Iq3Xxs {
    type Layout = Medium32;
    const BYTE_TABLES: bool = true;
    const ORDER: Order = Order::Fours;

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        if const { S::BYTE_TABLES } {
            return unpack_bytes(simd, blocks, sink);
        }
        let scale = simd.half_to_float(blocks.half(simd, offset_of!(Iq3Xxs, scale)));
        let scales = Stepped::new(simd, scale, 0.5);
        for half in 0..2 {
            let words = blocks.words4(simd, offset_of!(Iq3Xxs, signs_and_scales) + 16 * half);
            let indices = blocks.words8(simd, offset_of!(Iq3Xxs, points) + 32 * half);
            for i in 0..4 {
                let signs = points::seven_bit_shifts(simd, words[i]);
                let first = points::byte_shifts(simd, indices[2 * i]);
                let second = points::byte_shifts(simd, indices[2 * i + 1]);
                let indices = joined(first, second);
                let mut codes = indices;
                for p in 0..4 {
                    let low = simd.lookup(&POINTS, indices[2 * p]);
                    let high = simd.lookup(&POINTS, indices[2 * p + 1]);
                    let eight = simd.or(low, simd.shift_left::<4>(high));
                    let eight = simd.or(eight, points::even_signs(simd, signs[p]));
                    [codes[2 * p], codes[2 * p + 1]] = points::codes(simd, &SIGNED, eight);
                }
                let step = simd.shift_right::<28>(words[i]);
                sink.group32(4 * half + i, codes, scales.scale(simd, step));
            }
        }
    }
}
