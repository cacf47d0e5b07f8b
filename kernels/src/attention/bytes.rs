//! The two products of attention with a cache of bytes: blocks of 32 whole numbers with a scale.
//!
//! Queries and weights become 16-bit whole numbers too, relative to the largest of a row, so that
//! sums of products are exact in 32 bits: of 32 dimensions with one scale of the key,
//!
//! ```text
//! s = (Σ_blocks scale · Σ_dims query16 · key8) · factor        factor = largest query / 32767
//! ```
//!
//! and, because the scale of a value goes into its weight, of all positions of a chunk:
//!
//! ```text
//! a = (Σ_positions weight16 · value8) · largest / 32767
//! weight16 = (weight · scale) · (32767 / largest)              largest = the largest weight · scale
//! ```
//!
//! A query is off by 1/65534 of its largest element at most and a weighted scale by 1/65534 of the
//! largest of its chunk, a 256th of what the rounding of a key or value to a byte is off by. Whole
//! sums do not depend on their order; the sum over blocks is taken in theirs by fused multiply-adds.

use super::by_rows::{OfRows, some_rows, some_rows_mut, two_tiles};
use super::cache::{KEY_BLOCK, VALUE_BLOCK};
use super::halves::{LINE, Stream};
use super::pairs::{PAIRS, Queries, SHORT_MOST, SMALLEST, Weights, bounded, magnitude};
use super::{CHUNK, ROWS};
use crate::isa::{Floats, Simd, WIDTH};
use std::ops::Range;

/// Makes `query`, a multiple of 32 floats, whole numbers of row `row`; returns what a product with
/// them must be multiplied with.
#[inline(always)]
pub(super) fn round_query<S: Floats>(
    simd: S,
    query: &[f32],
    row: usize,
    queries: &mut [Queries],
) -> f32 {
    let most = magnitude(simd, query);
    let query = query.as_chunks::<WIDTH>().0;
    let inverse = simd.splat(if most > SMALLEST {
        SHORT_MOST / most
    } else {
        0.0
    });
    for (query, to) in query.as_chunks::<2>().0.iter().zip(queries) {
        for (x, to) in query.iter().zip(to[row].as_chunks_mut().0) {
            let x = bounded(simd, simd.mul(simd.load(x), inverse), SHORT_MOST);
            simd.store_pairs(x, to);
        }
    }
    most / SHORT_MOST
}

/// Sets the weights of some rows to their scores.
pub(super) struct Scores<'s, 'k> {
    /// The first row of the block, and the tiles of the chunk.
    pub(super) at: (usize, Range<usize>),
    pub(super) keys: Stream<'k>, // (tiles, key_dim / 32, KEY_BLOCK)
    /// `(key_dim / 32)`, and the factors of the rows.
    pub(super) queries: (&'s [Queries], &'s [f32; ROWS]),
    pub(super) weights: &'s mut [[f32; CHUNK]], // (ROWS)
}

impl<S: Simd> OfRows<S> for Scores<'_, '_> {
    #[inline(always)]
    fn run<const R: usize>(mut self, simd: S) {
        let Range { start, end } = self.at.1;
        let mut tile = start;
        if const { two_tiles::<S>(R) } {
            while tile + 2 <= end {
                self.tiles::<S, R, 2>(simd, tile);
                tile += 2;
            }
        }
        while tile < end {
            self.tiles::<S, R, 1>(simd, tile);
            tile += 1;
        }
    }
}

impl Scores<'_, '_> {
    /// The scores of `R` rows for `T` tiles, the first of which is number `tile`.
    #[inline(always)]
    fn tiles<S: Floats, const R: usize, const T: usize>(&mut self, simd: S, tile: usize) {
        let row = self.at.0;
        let (keys, (queries, factors)) = (self.keys, self.queries);
        let weights: &mut [_; R] = some_rows_mut(self.weights, row);
        let factors: &[_; R] = some_rows(factors, row);
        let blocks = queries.len();
        let numbers = keys.numbers.as_chunks::<KEY_BLOCK>().0;
        let numbers = &numbers[tile * blocks..(tile + T) * blocks];
        let mut sums = [[simd.zero(); R]; T];
        for (index, queries) in queries.iter().enumerate() {
            let queries: &[_; R] = some_rows(queries, row);
            if !keys.ahead.is_empty() {
                for tile in tile..tile + T {
                    let near = keys.ahead.as_ptr();
                    let near = near.wrapping_add((tile * blocks + index) * KEY_BLOCK);
                    for line in 0..KEY_BLOCK.div_ceil(LINE) {
                        Floats::prefetch(simd, near.wrapping_add(line * LINE));
                    }
                }
            }
            let mut of_tiles = [numbers[index].as_chunks::<WIDTH>().0; T];
            for t in 1..T {
                of_tiles[t] = numbers[t * blocks + index].as_chunks().0;
            }
            let mut whole = [[simd.no_products(); R]; T];
            for i in 0..PAIRS {
                let mut pairs = [simd.load_pairs(&of_tiles[0][1 + i]); T];
                for t in 1..T {
                    pairs[t] = simd.load_pairs(&of_tiles[t][1 + i]);
                }
                for r in 0..R {
                    if T == 1 {
                        whole[0][r] = simd.add_products_of(whole[0][r], pairs[0], &queries[r][i]);
                        continue;
                    }
                    let query = simd.splat_pair(queries[r][i]);
                    for t in 0..T {
                        whole[t][r] = simd.add_products(whole[t][r], pairs[t], query);
                    }
                }
            }
            for t in 0..T {
                let scale = simd.load_f16(&of_tiles[t][0]);
                for r in 0..R {
                    let product = simd.whole_to_float(whole[t][r]);
                    sums[t][r] = simd.multiply_add(product, scale, sums[t][r]);
                }
            }
        }
        for (t, sums) in sums.into_iter().enumerate() {
            for r in 0..R {
                let score = simd.mul(sums[r], simd.splat(factors[r]));
                simd.store(score, &mut weights[r].as_chunks_mut::<WIDTH>().0[tile + t]);
            }
        }
    }
}

/// Sets the sums of some rows to the values of a chunk times their weights.
pub(super) struct Weigh<'s, 'v> {
    /// The first row of the block, and the positions of the chunk.
    pub(super) at: (usize, Range<usize>),
    pub(super) values: Stream<'v>, // (value_dim / 32, VALUE_BLOCK)
    pub(super) weights: &'s [[f32; CHUNK]], // (ROWS)
    /// `(ROWS)`, to work in.
    pub(super) rounded: &'s mut [Weights],
    /// `(rows of the block, stride)`, and the stride.
    pub(super) sums: (&'s mut [f32], usize),
}

impl<S: Simd> OfRows<S> for Weigh<'_, '_> {
    #[inline(always)]
    fn run<const R: usize>(self, simd: S) {
        let (row, positions) = self.at;
        let (values, (sums, stride)) = (self.values, self.sums);
        let weights: &[_; R] = some_rows(self.weights, row);
        let rounded: &mut [_; R] = some_rows_mut(self.rounded, row);
        let vectors = stride / WIDTH;
        let sums = &mut sums.as_chunks_mut::<WIDTH>().0[row * vectors..(row + R) * vectors];
        let tiles = positions.start / WIDTH..positions.end.div_ceil(WIDTH);
        let blocks = values.numbers.as_chunks::<VALUE_BLOCK>().0;
        for (index, block) in blocks.iter().enumerate().take(vectors / 2) {
            let (scales, block) = block.as_chunks::<WIDTH>().0.split_at(CHUNK / WIDTH);
            let mut factors = [0.0; R];
            for r in 0..R {
                factors[r] = round(simd, tiles.clone(), scales, (&weights[r], &mut rounded[r]));
            }
            let block = block.as_chunks::<2>().0;
            let near = values.ahead.as_ptr().wrapping_add(index * VALUE_BLOCK);
            let mut whole = [[simd.no_products(); 2]; R];
            let range = tiles.start * WIDTH / 2..(tiles.end * WIDTH / 2).min(CHUNK / 2);
            for (pair, block) in range.clone().zip(&block[range]) {
                if !values.ahead.is_empty() {
                    Floats::prefetch(simd, near.wrapping_add(pair * (VALUE_BLOCK / (CHUNK / 2))));
                }
                let pairs = [simd.load_pairs(&block[0]), simd.load_pairs(&block[1])];
                for r in 0..R {
                    let weight = &rounded[r][pair];
                    whole[r][0] = simd.add_products_of(whole[r][0], pairs[0], weight);
                    whole[r][1] = simd.add_products_of(whole[r][1], pairs[1], weight);
                }
            }
            for r in 0..R {
                let factor = simd.splat(factors[r]);
                for v in 0..2 {
                    let sum = simd.mul(simd.whole_to_float(whole[r][v]), factor);
                    simd.store(sum, &mut sums[r * vectors + 2 * index + v]);
                }
            }
        }
    }
}

/// Makes the weights of a row for the `tiles` of a chunk, times the scales of the values, whole
/// numbers; returns what a product with them must be multiplied with.
#[inline(always)]
fn round<S: Floats>(
    simd: S,
    tiles: Range<usize>,
    scales: &[[u16; WIDTH]],
    (weights, rounded): (&[f32; CHUNK], &mut Weights),
) -> f32 {
    let scales = &scales[tiles.clone()];
    let weights = &weights.as_chunks::<WIDTH>().0[tiles.clone()];
    let rounded = &mut rounded.as_chunks_mut().0[tiles];
    // A product that is not a number, of a scale that is none and no weight, counts as zero.
    let product = |weight: &[f32; WIDTH], scale: &[u16; WIDTH]| {
        let product = simd.mul(simd.load(weight), simd.load_f16(scale));
        simd.max(product, simd.zero())
    };
    let mut most = simd.zero();
    for (weight, scale) in weights.iter().zip(scales) {
        most = simd.max(product(weight, scale), most);
    }
    let most = simd.maximum(most);
    let inverse = simd.splat(if most > SMALLEST {
        SHORT_MOST / most
    } else {
        0.0
    });
    for ((weight, scale), rounded) in weights.iter().zip(scales).zip(rounded) {
        let x = simd.mul(product(weight, scale), inverse);
        simd.store_pairs(simd.min(x, simd.splat(SHORT_MOST)), rounded);
    }
    most / SHORT_MOST
}
