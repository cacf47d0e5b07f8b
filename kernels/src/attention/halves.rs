//! The two products of attention with a cache of 16-bit floats.
//!
//! Each loop holds a block of results in registers. However it is blocked, a score is the sum over
//! dimensions in their order and an output the sum over positions in theirs, each by fused
//! multiply-adds, so blocks may differ between instruction sets and the bits do not.
//!
//! The innermost loops see arrays of known length at constant distances: one address for all rows,
//! and no bound to check.

use super::{CHUNK, ROWS};
use crate::isa::{Floats, WIDTH};
use std::ops::Range;

/// Numbers of 16 bits on a cache line.
pub(super) const LINE: usize = 32;

/// The queries of a block for [`WIDTH`] dimensions.
pub(super) type Queries = [[f32; WIDTH]; ROWS];

/// Keys or values of a chunk.
#[derive(Clone, Copy)]
pub(super) struct Stream<'a> {
    /// Those of 16-bit floats: keys `(tiles, key_dim, 16)`, values `(positions, stride)`.
    pub(super) numbers: &'a [u16],
    /// What is read next, and is brought near meanwhile; empty if there is no need.
    pub(super) ahead: &'a [u16],
    /// Positions whose values are read for all columns before those after them.
    pub(super) span: usize,
}

/// Makes `query` times `scale` that of row `row`.
#[inline(always)]
pub(super) fn scale_query<S: Floats>(
    simd: S,
    (query, scale): (&[f32], f32),
    row: usize,
    queries: &mut [Queries],
) {
    let scale = simd.splat(scale);
    let (query, rest) = query.as_chunks::<WIDTH>();
    for (to, from) in queries.iter_mut().zip(query) {
        simd.store(simd.mul(simd.load(from), scale), &mut to[row]);
    }
    if let Some(to) = queries.get_mut(query.len()) {
        let rest = simd.load_partial(rest, 0.0);
        simd.store(simd.mul(rest, scale), &mut to[row]);
    }
}

/// Sets the weights of `rows` rows, from number `row` of the block on, in the `tiles` of a chunk
/// to their scores.
///
/// - `queries`: `(key_dim / 16, ROWS, 16)`.
/// - `weights`: `(ROWS, CHUNK)`.
#[inline(always)]
pub(super) fn scores<S: Floats>(
    simd: S,
    (row, rows, tiles): (usize, usize, Range<usize>),
    (keys, dims): (Stream<'_>, usize),
    queries: &[Queries],
    weights: &mut [[f32; CHUNK]],
) {
    let keys = (keys, dims);
    let at = (row, tiles);
    match rows {
        8 if S::ACCUMULATORS >= 16 => score_rows::<S, 8, 1>(simd, at, keys, queries, weights),
        6 if S::ACCUMULATORS < 16 => score_rows::<S, 6, 1>(simd, at, keys, queries, weights),
        4 => score_rows::<S, 4, 1>(simd, at, keys, queries, weights),
        2 => score_rows::<S, 2, 1>(simd, at, keys, queries, weights),
        _ => score_rows::<S, 1, 1>(simd, at, keys, queries, weights),
    }
}

#[inline(always)]
fn score_rows<S: Floats, const R: usize, const T: usize>(
    simd: S,
    (row, tiles): (usize, Range<usize>),
    keys: (Stream<'_>, usize),
    queries: &[Queries],
    weights: &mut [[f32; CHUNK]],
) {
    let Some(weights) = weights[row..].first_chunk_mut::<R>() else {
        unreachable!("{R} rows from {row} on");
    };
    let Range { start, end } = tiles;
    let mut tile = start;
    while tile + T <= end {
        score_tiles::<S, R, T>(simd, (row, tile), keys, queries, weights);
        tile += T;
    }
    while tile < end {
        score_tiles::<S, R, 1>(simd, (row, tile), keys, queries, weights);
        tile += 1;
    }
}

/// The scores of `R` rows for `T` tiles, from number `first` on.
#[inline(always)]
fn score_tiles<S: Floats, const R: usize, const T: usize>(
    simd: S,
    (row, first): (usize, usize),
    (keys, dims): (Stream<'_>, usize),
    queries: &[Queries],
    weights: &mut [[f32; CHUNK]; R],
) {
    let tiles = &keys.numbers.as_chunks::<WIDTH>().0[first * dims..(first + T) * dims];
    let near = keys.ahead.as_ptr().wrapping_add(first * dims * WIDTH);
    let mut sums = [[simd.zero(); R]; T];
    for (group, queries) in queries.iter().enumerate() {
        let Some(queries) = queries[row..].first_chunk::<R>() else {
            unreachable!("{R} rows from {row} on");
        };
        let dim = group * WIDTH;
        if !keys.ahead.is_empty() {
            for t in 0..T {
                let near = near.wrapping_add((t * dims + dim) * WIDTH);
                for line in 0..WIDTH * WIDTH / LINE {
                    simd.prefetch(near.wrapping_add(line * LINE));
                }
            }
        }
        // With a constant count the loop has no bound to check and is unrolled.
        match tiles.get(dim..(T - 1) * dims + dim + WIDTH) {
            Some(keys) if dim + WIDTH <= dims => {
                for i in 0..WIDTH {
                    for t in 0..T {
                        let key = simd.load_f16(&keys[t * dims + i]);
                        for r in 0..R {
                            let query = simd.splat(queries[r][i]);
                            sums[t][r] = simd.multiply_add(key, query, sums[t][r]);
                        }
                    }
                }
            }
            _ => {
                for i in 0..dims - dim {
                    for t in 0..T {
                        let key = simd.load_f16(&tiles[t * dims + dim + i]);
                        for r in 0..R {
                            let query = simd.splat(queries[r][i]);
                            sums[t][r] = simd.multiply_add(key, query, sums[t][r]);
                        }
                    }
                }
            }
        }
    }
    for r in 0..R {
        let weights = weights[r].as_chunks_mut::<WIDTH>().0;
        for t in 0..T {
            simd.store(sums[t][r], &mut weights[first + t]);
        }
    }
}

/// Sets the sums of `rows` rows, from number `row` of the block on, to the values of the
/// `positions` of a chunk times their weights.
///
/// - `weights`: `(ROWS, CHUNK)`.
/// - `sums`: `(rows of the block, stride)`.
#[inline(always)]
pub(super) fn weigh<S: Floats>(
    simd: S,
    (row, rows, positions): (usize, usize, Range<usize>),
    values: Stream<'_>,
    weights: &[[f32; CHUNK]],
    (sums, stride): (&mut [f32], usize),
) {
    let sums = (sums, stride);
    let at = (row, positions);
    match rows {
        8 if S::ACCUMULATORS >= 16 => {
            let (row, positions) = at;
            weigh_rows::<S, 4, 4>(
                simd,
                (row, positions.clone()),
                values,
                weights,
                (&mut *sums.0, stride),
            );
            weigh_rows::<S, 4, 4>(simd, (row + 4, positions), values, weights, sums);
        }
        6 if S::ACCUMULATORS < 16 => weigh_rows::<S, 6, 1>(simd, at, values, weights, sums),
        4 if S::ACCUMULATORS >= 16 => weigh_rows::<S, 4, 4>(simd, at, values, weights, sums),
        4 => weigh_rows::<S, 4, 1>(simd, at, values, weights, sums),
        2 if S::ACCUMULATORS >= 16 => weigh_rows::<S, 2, 8>(simd, at, values, weights, sums),
        2 => weigh_rows::<S, 2, 2>(simd, at, values, weights, sums),
        _ if S::ACCUMULATORS >= 16 => weigh_rows::<S, 1, 8>(simd, at, values, weights, sums),
        _ => weigh_rows::<S, 1, 4>(simd, at, values, weights, sums),
    }
}

#[inline(always)]
fn weigh_rows<S: Floats, const R: usize, const V: usize>(
    simd: S,
    (row, positions): (usize, Range<usize>),
    values: Stream<'_>,
    weights: &[[f32; CHUNK]],
    (sums, stride): (&mut [f32], usize),
) {
    let vectors = stride / WIDTH;
    let Some(weights) = weights[row..].first_chunk::<R>() else {
        unreachable!("{R} rows from {row} on");
    };
    let sums = &mut sums.as_chunks_mut::<WIDTH>().0[row * vectors..(row + R) * vectors];
    let Range { start, end } = positions;
    let mut first = start;
    while first < end || first == start {
        let positions = first..end.min(first + values.span);
        let new = first == start;
        let mut column = 0;
        while column + V <= vectors {
            let at = (column, positions.clone(), new);
            weigh_columns::<S, R, V>(simd, at, values, weights, (sums, vectors));
            column += V;
        }
        while column < vectors {
            let at = (column, positions.clone(), new);
            weigh_columns::<S, R, 1>(simd, at, values, weights, (sums, vectors));
            column += 1;
        }
        first += values.span;
    }
}

/// [`weigh`] for `R` rows and the `V` vectors from number `column` of each value on, of `vectors`.
#[inline(always)]
fn weigh_columns<S: Floats, const R: usize, const V: usize>(
    simd: S,
    (column, positions, new): (usize, Range<usize>, bool),
    values: Stream<'_>,
    weights: &[[f32; CHUNK]; R],
    (sums, vectors): (&mut [[f32; WIDTH]], usize),
) {
    let mut block = [[simd.zero(); V]; R];
    if !new {
        for r in 0..R {
            for v in 0..V {
                block[r][v] = simd.load(&sums[r * vectors + column + v]);
            }
        }
    }
    let Range { start, end } = positions;
    // The first columns bring all near.
    let ahead = column == 0 && !values.ahead.is_empty();
    let mut near = values.ahead.as_ptr().wrapping_add(start * vectors * WIDTH);
    let rows = &values.numbers.as_chunks::<WIDTH>().0[start * vectors..end * vectors];
    let rows = rows.chunks_exact(vectors);
    for (position, value) in (start..end.min(CHUNK)).zip(rows) {
        if ahead {
            for line in 0..vectors * WIDTH / LINE {
                simd.prefetch(near.wrapping_add(line * LINE));
            }
            near = near.wrapping_add(vectors * WIDTH);
        }
        let value = &value[column..column + V];
        // Twelve positions early: from the second-level cache a value takes longer than a thread
        // hides. Keys need no such thing, a tile of them is read for all rows of the block.
        let soon = value.as_ptr().wrapping_add(vectors * 12);
        simd.prefetch(soon);
        if V >= 4 {
            simd.prefetch(soon.wrapping_add(2));
        }
        let mut wide = [simd.zero(); V];
        for v in 0..V {
            wide[v] = simd.load_f16(&value[v]);
        }
        for r in 0..R {
            let weight = simd.splat(weights[r][position]);
            for v in 0..V {
                block[r][v] = simd.multiply_add(wide[v], weight, block[r][v]);
            }
        }
    }
    for r in 0..R {
        for v in 0..V {
            simd.store(block[r][v], &mut sums[r * vectors + column + v]);
        }
    }
}
