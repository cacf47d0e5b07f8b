//! The two products of attention with a cache of 16-bit whole numbers, a scale for each key and
//! value.
//!
//! Queries and weights become such numbers too, so that products are of whole numbers, two of
//! which processors add at a time, and sums are exact in 32 bits: of all dimensions
//!
//! ```text
//! s = (Σ_dims query16 · key16) · scale of the key · unit of the query
//! ```
//!
//! where the units are such that no sum is too large, see `pairs`, and, because the scale of a
//! value goes into its weight, of all positions of a chunk:
//!
//! ```text
//! a = (Σ_positions weight16 · value14) · unit of the weights
//! ```
//!
//! Values have 13 bits and a sign, the weights of a chunk add up to 2¹⁸ at most, so that a sum is
//! below 2³¹, and each of them is at most 2¹⁵.
//!
//! How exact that is: an element of a query or key is off by half a unit, a 92000th of the length of
//! the vector at most; a 16-bit float is off by up to a 4096th of itself, which is more where a vector
//! has fewer than five hundred elements of one size. An element of a value is off by a 16382nd of
//! the largest of its head, a weight by a 65534th of the largest of its chunk or a 524000th of their
//! sum, whichever is more.
//!
//! Whole sums do not depend on their order, so loops may be blocked in any way, and the bits are
//! the same.

use super::by_rows::{OfRows, OfVectors, by_vectors, some_rows, some_rows_mut, two_tiles};
use super::cache::KEY_SCALES;
use super::halves::{LINE, Stream};
use super::pairs::{PAIRS, Queries, SHORT_MOST, SMALLEST, Weights, shorten, unit};
use super::{CHUNK, ROWS};
use crate::isa::{Floats, Simd, WIDTH, exp2};
use std::ops::Range;

/// The largest whole number of a value.
pub(super) const VALUE_MOST: f32 = 8_191.0;

/// The largest sum of the weights of a chunk: with half a unit more for each of [`CHUNK`], and
/// times [`VALUE_MOST`], below 2³¹.
const WEIGHTS_MOST: f32 = 261_900.0;

/// A pair of keys or values for each of sixteen positions or dimensions, in 16-bit units.
const PAIR_UNITS: usize = 2 * WIDTH;

/// Makes `query` whole numbers of row `row`; returns what a product with them must be multiplied
/// with.
#[inline(always)]
pub(super) fn round_query<S: Floats>(
    simd: S,
    query: &[f32],
    row: usize,
    queries: &mut [Queries],
) -> f32 {
    let (most, unit) = unit(simd, query, f32::MAX);
    for (query, to) in query.chunks(2 * PAIRS).zip(queries) {
        to[row] = [0; PAIRS];
        for (x, to) in query.chunks(WIDTH).zip(to[row].as_chunks_mut().0) {
            *to = shorten(simd, x, (most, unit), SHORT_MOST);
        }
    }
    unit
}

/// Sets the weights of some rows to their scores.
pub(super) struct Scores<'s, 'k> {
    /// The first row of the block, and the tiles of the chunk.
    pub(super) at: (usize, Range<usize>),
    /// Of how many pairs of dimensions they are. What is brought near meanwhile are the values of the
    /// chunk.
    pub(super) keys: (Stream<'k>, usize),
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
        let ((keys, pairs), (queries, factors)) = (self.keys, self.queries);
        let weights: &mut [_; R] = some_rows_mut(self.weights, row);
        let factors: &[_; R] = some_rows(factors, row);
        let tile_units = KEY_SCALES + pairs * PAIR_UNITS;
        let units = &keys.numbers[tile * tile_units..(tile + T) * tile_units];
        let mut of_tiles = [(units, units.as_chunks::<PAIR_UNITS>().0); T];
        for (of_tile, units) in of_tiles.iter_mut().zip(units.chunks_exact(tile_units)) {
            let (scales, units) = units.split_at(KEY_SCALES);
            *of_tile = (scales, units.as_chunks().0);
        }
        let mut sums = [[simd.no_products(); R]; T];
        for (group, queries) in queries.iter().enumerate() {
            let queries: &[_; R] = some_rows(queries, row);
            let first = group * PAIRS;
            if !keys.ahead.is_empty() {
                for tile in tile..tile + T {
                    // The values of as many positions, which take about as much.
                    let near = keys.ahead.as_ptr();
                    let near = near.wrapping_add(CHUNK + (tile * pairs + first) * PAIR_UNITS);
                    for line in 0..PAIRS {
                        Floats::prefetch(simd, near.wrapping_add(line * LINE));
                    }
                }
            }
            // With a constant count the loop has no bound to check and is unrolled.
            let mut whole = [&[[0; PAIR_UNITS]; PAIRS]; T];
            let mut all_whole = true;
            for (whole, (_, words)) in whole.iter_mut().zip(of_tiles) {
                match words[first..].first_chunk() {
                    Some(words) => *whole = words,
                    None => all_whole = false,
                }
            }
            if all_whole {
                for i in 0..PAIRS {
                    let mut words = [&whole[0][i]; T];
                    for t in 1..T {
                        words[t] = &whole[t][i];
                    }
                    add_products(simd, words, (queries, i), &mut sums);
                }
            } else {
                for i in 0..pairs - first {
                    let mut words = [&of_tiles[0].1[first + i]; T];
                    for t in 1..T {
                        words[t] = &of_tiles[t].1[first + i];
                    }
                    add_products(simd, words, (queries, i), &mut sums);
                }
            }
        }
        for (t, sums) in sums.into_iter().enumerate() {
            let scale = match of_tiles[t].0.first_chunk() {
                Some(scales) => simd.load_f16(scales),
                None => unreachable!("a tile of keys has scales"),
            };
            for r in 0..R {
                let score = simd.mul(simd.whole_to_float(sums[r]), scale);
                let score = simd.mul(score, simd.splat(factors[r]));
                simd.store(score, &mut weights[r].as_chunks_mut::<WIDTH>().0[tile + t]);
            }
        }
    }
}

/// Adds the products of a pair of dimensions of each tile's keys with number `i` of each row's.
#[inline(always)]
fn add_products<S: Floats, const R: usize, const T: usize>(
    simd: S,
    words: [&[u16; PAIR_UNITS]; T],
    (queries, i): (&[[i32; PAIRS]; R], usize),
    sums: &mut [[S::Whole; R]; T],
) {
    if T == 1 {
        let key = simd.load_words(words[0]);
        for r in 0..R {
            sums[0][r] = simd.add_products_of(sums[0][r], key, &queries[r][i]);
        }
        return;
    }
    let mut keys = [simd.load_words(words[0]); T];
    for t in 1..T {
        keys[t] = simd.load_words(words[t]);
    }
    for r in 0..R {
        let query = simd.splat_pair(queries[r][i]);
        for t in 0..T {
            sums[t][r] = simd.add_products(sums[t][r], keys[t], query);
        }
    }
}

/// Widens the scales of the values of a chunk, for all its rows at once.
#[inline(always)]
pub(super) fn widen_scales<S: Floats>(
    simd: S,
    tiles: Range<usize>,
    values: &[u16],
    scales: &mut [f32; CHUNK],
) {
    let from = &values[..CHUNK].as_chunks::<WIDTH>().0[tiles.clone()];
    let to = &mut scales.as_chunks_mut::<WIDTH>().0[tiles];
    for (from, to) in from.iter().zip(to) {
        simd.store(simd.load_f16(from), to);
    }
}

/// Makes the scores of some rows in the `tiles` of a chunk weights, powers of two relative to `most`,
/// and those, times the `scales` of the values, whole numbers. Returns for each row the sum of the
/// weights, and what a product with the whole numbers must be multiplied with. `scores` are lost.
///
/// Several rows at a time, because the steps of one wait for each other.
#[inline(always)]
pub(super) fn weights<S: Floats, const R: usize>(
    simd: S,
    tiles: Range<usize>,
    (scores, most): (&mut [[f32; CHUNK]; R], &[f32; R]),
    scales: &[f32; CHUNK],
    rounded: &mut [Weights; R],
) -> ([f32; R], [f32; R]) {
    let scales = &scales.as_chunks::<WIDTH>().0;
    let mut totals = [simd.zero(); R];
    let mut largest = [simd.zero(); R];
    let mut sums = [simd.zero(); R];
    for tile in tiles.clone() {
        let scale = simd.load(&scales[tile]);
        for r in 0..R {
            let score = &mut scores[r].as_chunks_mut::<WIDTH>().0[tile];
            let weight = exp2(simd, simd.sub(simd.load(score), simd.splat(most[r])));
            totals[r] = simd.add(totals[r], weight);
            // A product that is not a number, of a scale that is none and no weight, counts as zero.
            let product = simd.max(simd.mul(weight, scale), simd.zero());
            largest[r] = simd.max(product, largest[r]);
            sums[r] = simd.add(sums[r], product);
            simd.store(product, score);
        }
    }
    let (mut total, mut units, mut inverses) = ([0.0; R], [0.0; R], [0.0; R]);
    for r in 0..R {
        let (largest, sum) = (simd.maximum(largest[r]), simd.sum(sums[r]));
        units[r] = (largest / SHORT_MOST).max(sum / WEIGHTS_MOST);
        inverses[r] = if largest > SMALLEST {
            1.0 / units[r]
        } else {
            0.0
        };
        total[r] = simd.sum(totals[r]);
    }
    for r in 0..R {
        let inverse = simd.splat(inverses[r]);
        let products = &scores[r].as_chunks::<WIDTH>().0[tiles.clone()];
        let rounded = &mut rounded[r].as_chunks_mut().0[tiles.clone()];
        for (product, rounded) in products.iter().zip(rounded) {
            // At most SHORT_MOST and its rounding, the nearest of which is that.
            simd.store_pairs(simd.mul(simd.load(product), inverse), rounded);
        }
    }
    (total, units)
}

/// What values are weighed by.
pub(super) struct Rounded<'a> {
    /// `(ROWS)`
    pub(super) weights: &'a [Weights],
    /// What products with them must be multiplied with.
    pub(super) units: &'a [f32; ROWS],
    /// Sums of all positions before those that are next, `(ROWS, stride)`.
    pub(super) sums: &'a mut [i32],
}

/// Sets the sums of some rows to the values of a chunk times their weights.
pub(super) struct Weigh<'s, 'v> {
    /// The first row of the block, and the positions of the chunk.
    pub(super) at: (usize, Range<usize>),
    /// Those of a chunk. What is brought near meanwhile are the keys of the next, and of how many
    /// pairs of dimensions these are.
    pub(super) values: (Stream<'v>, usize),
    pub(super) rounded: Rounded<'s>,
    /// `(rows of the block, stride)`, and the stride.
    pub(super) sums: (&'s mut [f32], usize),
}

impl<S: Simd> OfRows<S> for Weigh<'_, '_> {
    #[inline(always)]
    fn run<const R: usize>(self, simd: S) {
        by_vectors::<S, R>(simd, self.at.0, self);
    }
}

impl OfVectors for Weigh<'_, '_> {
    #[inline(always)]
    fn rows<S: Floats, const R: usize, const V: usize>(&mut self, simd: S, row: usize) {
        let (values, stride) = (self.values, self.sums.1);
        let weights: &[_; R] = some_rows(self.rounded.weights, row);
        let units: &[_; R] = some_rows(self.rounded.units, row);
        let vectors = stride / WIDTH;
        let range = row * vectors..(row + R) * vectors;
        let sums = &mut self.sums.0.as_chunks_mut::<WIDTH>().0[range.clone()];
        let whole = &mut self.rounded.sums.as_chunks_mut::<WIDTH>().0[range];
        // Whether a block of columns is all of them: then there is nothing to come back for.
        let span = if vectors <= V { CHUNK } else { values.0.span };
        let Range { start, end } = self.at.1;
        // Whole pairs, the first of which may begin with a position of weight zero.
        let start = start / 2 * 2;
        let mut first = start;
        while first < end || first == start {
            let positions = first..end.min(first + span);
            let ends = (first == start, first + span >= end);
            let (weights, mut column) = ((weights, units), 0);
            while column + V <= vectors {
                let at = (column, positions.clone(), ends);
                let to = (&mut *sums, &mut *whole, vectors);
                weigh_columns::<S, R, V>(simd, at, values, weights, to);
                column += V;
            }
            while column < vectors {
                let at = (column, positions.clone(), ends);
                let to = (&mut *sums, &mut *whole, vectors);
                weigh_columns::<S, R, 1>(simd, at, values, weights, to);
                column += 1;
            }
            first += span;
        }
    }
}

/// [`Weigh`] for `R` rows and the `V` vectors from number `column` of each value on, of `vectors`;
/// the positions may be the first and the last of the chunk.
#[inline(always)]
fn weigh_columns<S: Floats, const R: usize, const V: usize>(
    simd: S,
    (column, positions, (new, last)): (usize, Range<usize>, (bool, bool)),
    (values, key_pairs): (Stream<'_>, usize),
    (weights, units): (&[Weights; R], &[f32; R]),
    (sums, whole, vectors): (&mut [[f32; WIDTH]], &mut [[i32; WIDTH]], usize),
) {
    let mut block = [[simd.no_products(); V]; R];
    if !new {
        for r in 0..R {
            for v in 0..V {
                block[r][v] = simd.load_whole(&whole[r * vectors + column + v]);
            }
        }
    }
    let pairs = positions.start / 2..positions.end.div_ceil(2).min(CHUNK / 2);
    // The first columns bring all near: an eighth of a tile of keys for each two positions.
    let ahead = column == 0 && !values.ahead.is_empty();
    let eighth = (KEY_SCALES + key_pairs * PAIR_UNITS) / 8;
    let mut near = values.ahead.as_ptr().wrapping_add(pairs.start * eighth);
    let words = &values.numbers[CHUNK..].as_chunks::<PAIR_UNITS>().0;
    let words = &words[pairs.start * vectors..pairs.end * vectors];
    for (pair, value) in pairs.zip(words.chunks_exact(vectors)) {
        if ahead {
            for line in 0..eighth.div_ceil(LINE) {
                simd.prefetch(near.wrapping_add(line * LINE));
            }
            near = near.wrapping_add(eighth);
        }
        let value = &value[column..column + V];
        // Twelve positions early, see `halves`.
        let soon = value.as_ptr().wrapping_add(vectors * 6);
        for v in 0..V {
            simd.prefetch(soon.wrapping_add(v));
        }
        let mut wide = [simd.load_words(&value[0]); V];
        for v in 1..V {
            wide[v] = simd.load_words(&value[v]);
        }
        for r in 0..R {
            let weight = simd.splat_pair(weights[r][pair]);
            for v in 0..V {
                block[r][v] = simd.add_products(block[r][v], wide[v], weight);
            }
        }
    }
    for r in 0..R {
        for v in 0..V {
            let to = r * vectors + column + v;
            match last {
                true => {
                    let sum = simd.mul(simd.whole_to_float(block[r][v]), simd.splat(units[r]));
                    simd.store(sum, &mut sums[to]);
                }
                false => simd.store_whole(block[r][v], &mut whole[to]),
            }
        }
    }
}
