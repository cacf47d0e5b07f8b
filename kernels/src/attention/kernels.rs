//! The two products of attention and the softmax between them, for the rows of one task and the
//! positions of one chunk.
//!
//! Each loop holds a block of results in registers. However it is blocked, a score is the sum over
//! dimensions in their order and an output the sum over positions in theirs, each by fused
//! multiply-adds, so blocks may differ between instruction sets and the bits do not.

use super::CHUNK;
use crate::isa::{Floats, WIDTH, exp};
use std::array::from_fn;
use std::ops::Range;

/// With so many rows the multiply-adds take long enough that asking for values meanwhile hides
/// the time to bring them; with fewer, the loop is limited by memory itself and asking delays it.
const FEW_ROWS: usize = 4;

/// Keys to score.
#[derive(Clone)]
pub(super) struct Tiles<'a> {
    /// The tiles of a chunk, `(tiles, key_dim, 16)`.
    pub(super) keys: &'a [u16],
    /// Those to score.
    pub(super) range: Range<usize>,
    /// The values of the chunk, which are wanted next and brought near meanwhile; empty if there
    /// is no need.
    pub(super) ahead: &'a [u16],
}

/// How many of `left` rows the loops below take at once.
#[inline(always)]
pub(super) fn rows_at_once<S: Floats>(left: usize) -> usize {
    match left {
        8.. if S::ACCUMULATORS >= 16 => 8,
        6.. if S::ACCUMULATORS < 16 => 6,
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}

/// Sets the weights of the rows in the tiles of the chunk to the scores.
///
/// - `queries`: `(key_dim, rows)`.
/// - `weights`: `(rows, CHUNK)`.
#[inline(always)]
pub(super) fn scores<S: Floats>(
    simd: S,
    rows: usize,
    tiles: Tiles<'_>,
    queries: &[f32],
    weights: &mut [f32],
) {
    match rows {
        8 if S::ACCUMULATORS >= 16 => score_rows::<S, 8, 1>(simd, tiles, queries, weights),
        6 if S::ACCUMULATORS < 16 => score_rows::<S, 6, 1>(simd, tiles, queries, weights),
        4 => score_rows::<S, 4, 1>(simd, tiles, queries, weights),
        2 => score_rows::<S, 2, 2>(simd, tiles, queries, weights),
        _ => score_rows::<S, 1, 4>(simd, tiles, queries, weights),
    }
}

#[inline(always)]
fn score_rows<S: Floats, const R: usize, const T: usize>(
    simd: S,
    tiles: Tiles<'_>,
    queries: &[f32],
    weights: &mut [f32],
) {
    let queries = queries.as_chunks::<R>().0;
    let Range { start, end } = tiles.range;
    let mut tile = start;
    while tile + T <= end {
        score_tiles::<S, R, T>(simd, &tiles, tile, queries, weights);
        tile += T;
    }
    while tile < end {
        score_tiles::<S, R, 1>(simd, &tiles, tile, queries, weights);
        tile += 1;
    }
}

/// The scores of `R` rows for `T` tiles, from number `first` on.
#[inline(always)]
fn score_tiles<S: Floats, const R: usize, const T: usize>(
    simd: S,
    tiles: &Tiles<'_>,
    first: usize,
    queries: &[[f32; R]],
    weights: &mut [f32],
) {
    let dims = queries.len();
    let keys = &tiles.keys.as_chunks::<WIDTH>().0[first * dims..];
    let tile: [&[[u16; WIDTH]]; T] = from_fn(|t| &keys[t * dims..(t + 1) * dims]);
    let mut sums = [[simd.zero(); R]; T];
    let near = tiles.ahead.as_ptr().wrapping_add(first * dims * WIDTH);
    for (dim, query) in queries.iter().enumerate() {
        for t in 0..T {
            if R >= FEW_ROWS && !tiles.ahead.is_empty() && dim % 2 == 0 {
                // A line is two vectors of sixteen bits per lane.
                simd.prefetch(near.wrapping_add((t * dims + dim) * WIDTH));
            }
            let key = simd.load_f16(&tile[t][dim]);
            for r in 0..R {
                sums[t][r] = simd.multiply_add(key, simd.splat(query[r]), sums[t][r]);
            }
        }
    }
    let weights = weights.as_chunks_mut::<WIDTH>().0;
    for (t, sums) in sums.iter().enumerate() {
        for (r, sum) in sums.iter().enumerate() {
            simd.store(*sum, &mut weights[r * (CHUNK / WIDTH) + first + t]);
        }
    }
}

/// Adds the values of `count` positions, times their weights, to the sums of `rows` rows.
///
/// - `values`: `(count, stride)`, perhaps longer.
/// - `weights`: `(rows, CHUNK)`, beginning with that of the first of the positions.
/// - `sums`: `(rows, stride)`.
#[inline(always)]
pub(super) fn weigh<S: Floats>(
    simd: S,
    rows: usize,
    (values, count): (&[u16], usize),
    weights: &[f32],
    (sums, stride): (&mut [f32], usize),
) {
    let sums = (sums, stride);
    match rows {
        8 if S::ACCUMULATORS >= 16 => {
            weigh_rows::<S, 8, 2>(simd, (values, count), weights, sums);
        }
        6 if S::ACCUMULATORS < 16 => weigh_rows::<S, 6, 1>(simd, (values, count), weights, sums),
        4 if S::ACCUMULATORS >= 16 => {
            weigh_rows::<S, 4, 4>(simd, (values, count), weights, sums);
        }
        4 => weigh_rows::<S, 4, 1>(simd, (values, count), weights, sums),
        2 if S::ACCUMULATORS >= 16 => {
            weigh_rows::<S, 2, 8>(simd, (values, count), weights, sums);
        }
        2 => weigh_rows::<S, 2, 2>(simd, (values, count), weights, sums),
        _ if S::ACCUMULATORS >= 16 => {
            weigh_rows::<S, 1, 8>(simd, (values, count), weights, sums);
        }
        _ => weigh_rows::<S, 1, 4>(simd, (values, count), weights, sums),
    }
}

#[inline(always)]
fn weigh_rows<S: Floats, const R: usize, const V: usize>(
    simd: S,
    (values, count): (&[u16], usize),
    weights: &[f32],
    (sums, stride): (&mut [f32], usize),
) {
    let vectors = stride / WIDTH;
    let values = &values.as_chunks::<WIDTH>().0[..count * vectors];
    let sums = sums.as_chunks_mut::<WIDTH>().0;
    let mut column = 0;
    while column + V <= vectors {
        weigh_columns::<S, R, V>(simd, (values, column), weights, (sums, vectors));
        column += V;
    }
    while column < vectors {
        weigh_columns::<S, R, 1>(simd, (values, column), weights, (sums, vectors));
        column += 1;
    }
}

/// [`weigh`] for `R` rows and the `V` vectors from number `column` of each value on, of `vectors`.
#[inline(always)]
fn weigh_columns<S: Floats, const R: usize, const V: usize>(
    simd: S,
    (values, column): (&[[u16; WIDTH]], usize),
    weights: &[f32],
    (sums, vectors): (&mut [[f32; WIDTH]], usize),
) {
    let count = values.len() / vectors;
    let weights: [&[f32]; R] = from_fn(|r| &weights[r * CHUNK..r * CHUNK + count]);
    let mut block = [[simd.zero(); V]; R];
    for r in 0..R {
        for v in 0..V {
            block[r][v] = simd.load(&sums[r * vectors + column + v]);
        }
    }
    for (position, row) in values.chunks_exact(vectors).enumerate() {
        let row = &row[column..column + V];
        let mut value = [simd.zero(); V];
        for v in 0..V {
            value[v] = simd.load_f16(&row[v]);
        }
        for r in 0..R {
            let weight = simd.splat(weights[r][position]);
            for v in 0..V {
                block[r][v] = simd.multiply_add(value[v], weight, block[r][v]);
            }
        }
    }
    for r in 0..R {
        for v in 0..V {
            simd.store(block[r][v], &mut sums[r * vectors + column + v]);
        }
    }
}

/// Replaces the scores of a row, whole vectors of them, by their exponentials relative to the
/// largest; returns the largest (at least `f32::MIN`, so that a row without any has weights of
/// zero) and the sum of the exponentials.
#[inline(always)]
pub(super) fn exponentials<S: Floats>(simd: S, row: &mut [[f32; WIDTH]]) -> (f32, f32) {
    let mut most = simd.splat(f32::MIN);
    for scores in row.iter() {
        most = simd.max(simd.load(scores), most);
    }
    let most = simd.maximum(most);
    let largest = simd.splat(most);
    let mut sum = simd.zero();
    for scores in row {
        let weight = exp(simd, simd.sub(simd.load(scores), largest));
        simd.store(weight, scores);
        sum = simd.add(sum, weight);
    }
    (most, simd.sum(sum))
}
