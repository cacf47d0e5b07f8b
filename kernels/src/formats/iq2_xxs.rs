//! IQ2_XXS: 256 weights in eight groups of four points of a codebook of eight-weight points, with
//! a 4-bit scale per group;
//! weight = scale × (½ + group scale) / 4 × sign × point's weight.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{BlockRows, Medium32, Order, Sink, Unpack};

use super::grids::{self, even_signs, signed};
use super::points::{self, Stepped};
use super::search::codebook::PointFormat;
use super::search::signs::{self, Split};
use super::tables::{self, Levels, Points};
use super::{Block, Half, SUPER, block_size};

/// 66 bytes, 2.0625 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Iq2Xxs {
    /// Scale of the group scales.
    pub(crate) scale: Half,
    /// The eight groups.
    pub(crate) groups: [Group; SUPER / 32],
}

/// 32 weights.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Group {
    /// Index of each point.
    pub(crate) points: [u8; 4],
    /// Bits 28–31 = group scale | bits 7 p to 7 p + 6 = signs of point p, a set bit for minus, the
    /// eighth making the number of minuses even.
    pub(crate) signs_and_scale: U32,
}

block_size!(Iq2Xxs, 66);

/// How blocks are found.
static SEARCH: PointFormat<256, 8, 3, 81> =
    PointFormat::new(&grids::IQ2_XXS, &grids::IQ2_LEVELS, 0.25, (0.6, 1.3));

impl Block for Iq2Xxs {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        for (out, group) in out.chunks_exact_mut(32).zip(&self.groups) {
            let word = group.signs_and_scale.get();
            let scale = self.scale.to_f32() * (0.5 + (word >> 28) as f32) * 0.25;
            for (p, out) in out.chunks_exact_mut(8).enumerate() {
                let point = &grids::IQ2_XXS[usize::from(group.points[p])];
                signed(scale, point, even_signs((word >> (7 * p)) as u8), out);
            }
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let Split { magnitudes, signs } = signs::even(weights, importance);
        let found = SEARCH.encode::<8, 32>(&magnitudes, importance);
        Iq2Xxs {
            scale: found.scale,
            groups: std::array::from_fn(|g| Group {
                points: std::array::from_fn(|p| found.points[4 * g + p] as u8),
                signs_and_scale: signs::word(&signs[4 * g..], found.steps[g]).into(),
            }),
        }
    }
}

static POINTS: [u32; grids::IQ2_XXS.len()] = points::eights(&grids::IQ2_XXS, &grids::IQ2_LEVELS);
static SIGNED: [i8; 16] = points::with_signs(&grids::IQ2_LEVELS);
static POINT_BYTES: Points<256> = tables::eights(&grids::IQ2_XXS, &grids::IQ2_LEVELS);
static LEVELS: Levels = tables::levels(&grids::IQ2_LEVELS);

/// Unpacks as [`Unpack::unpack`] does, where there are byte tables.
#[inline(always)]
fn unpack_bytes<S: Lanes>(simd: S, blocks: BlockRows<'_, Iq2Xxs>, sink: &mut impl Sink<S>) {
    let scale = simd.half_to_float(blocks.half(simd, offset_of!(Iq2Xxs, scale)));
    let scales = Stepped::new(simd, scale, 0.25);
    for half in 0..2 {
        let [a, b, c, d, e, f, g, h] = blocks.words8(simd, offset_of!(Iq2Xxs, groups) + 32 * half);
        let (indices, words) = ([a, c, e, g], [b, d, f, h]);
        let points = simd.lookup_bytes(&POINT_BYTES, indices, indices);
        let signs = tables::even_signs_of_runs(simd, words);
        for i in 0..4 {
            let codes = tables::places_of_eights(simd, &LEVELS, points[i]);
            let codes = tables::signed(simd, Order::Eights, codes, signs[i]);
            let step = simd.shift_right::<28>(words[i]);
            sink.ordered32(4 * half + i, codes, scales.scale(simd, step));
        }
    }
}

impl Unpack for Iq2Xxs {
    type Layout = Medium32;
    const BYTE_TABLES: bool = true;
    const ORDER: Order = Order::Eights;

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        if const { S::BYTE_TABLES } {
            return unpack_bytes(simd, blocks, sink);
        }
        let scale = simd.half_to_float(blocks.half(simd, offset_of!(Iq2Xxs, scale)));
        let scales = Stepped::new(simd, scale, 0.25);
        for pair in 0..4 {
            let words = blocks.words4(simd, offset_of!(Iq2Xxs, groups) + 16 * pair);
            for i in 0..2 {
                let (indices, word) = (words[2 * i], words[2 * i + 1]);
                let indices = points::byte_shifts(simd, indices);
                let signs = points::seven_bit_shifts(simd, word);
                let mut codes = [word; 8];
                for p in 0..4 {
                    let point = simd.lookup(&POINTS, indices[p]);
                    let eight = simd.or(point, points::even_signs(simd, signs[p]));
                    [codes[2 * p], codes[2 * p + 1]] = points::codes(simd, &SIGNED, eight);
                }
                let step = simd.shift_right::<28>(word);
                sink.group32(2 * pair + i, codes, scales.scale(simd, step));
            }
        }
    }
}
