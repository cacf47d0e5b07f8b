//! The two products of attention with a cache of 16-bit floats.
//!
//! Each loop holds a block of results in registers. However it is blocked, a score is the sum over
//! dimensions in their order and an output the sum over positions in theirs, each by fused
//! multiply-adds, so blocks may differ between instruction sets and the bits do not.
//!
//! The innermost loops see arrays of known length at constant distances: one address for all rows,
//! and no bound to check.

use super::by_rows::{OfRows, OfVectors, by_vectors, some_rows, some_rows_mut, two_tiles};
use super::{CHUNK, ROWS};
use crate::isa::{Floats, Simd, WIDTH};
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

/// Sets the weights of some rows to their scores.
pub(super) struct Scores<'s, 'k> {
    /// The first row of the block, and the tiles of the chunk.
    pub(super) at: (usize, Range<usize>),
    /// Of how many dimensions they are.
    pub(super) keys: (Stream<'k>, usize),
    pub(super) queries: &'s [Queries],          // (key_dim / 16)
    pub(super) weights: &'s mut [[f32; CHUNK]], // (ROWS)
}

impl<S: Simd> OfRows<S> for Scores<'_, '_> {
    #[inline(always)]
    fn run<const R: usize>(self, simd: S) {
        let (row, Range { start, end }) = self.at;
        let weights: &mut [_; R] = some_rows_mut(self.weights, row);
        let mut tile = start;
        if const { two_tiles::<S>(R) } {
            while tile + 2 <= end {
                score_tiles::<S, R, 2>(simd, (row, tile), self.keys, self.queries, weights);
                tile += 2;
            }
        }
        while tile < end {
            score_tiles::<S, R, 1>(simd, (row, tile), self.keys, self.queries, weights);
            tile += 1;
        }
    }
}

/// The scores of `R` rows for `T` tiles, the first of which is number `tile`.
#[inline(always)]
fn score_tiles<S: Floats, const R: usize, const T: usize>(
    simd: S,
    (row, tile): (usize, usize),
    (keys, dims): (Stream<'_>, usize),
    queries: &[Queries],
    weights: &mut [[f32; CHUNK]; R],
) {
    let numbers = keys.numbers.as_chunks::<WIDTH>().0;
    let mut of_tiles = [&numbers[..0]; T];
    for (t, of_tile) in of_tiles.iter_mut().enumerate() {
        *of_tile = &numbers[(tile + t) * dims..(tile + t + 1) * dims];
    }
    let mut sums = [[simd.zero(); R]; T];
    for (group, queries) in queries.iter().enumerate() {
        let queries: &[_; R] = some_rows(queries, row);
        let dim = group * WIDTH;
        if !keys.ahead.is_empty() {
            for tile in tile..tile + T {
                let near = keys
                    .ahead
                    .as_ptr()
                    .wrapping_add((tile * dims + dim) * WIDTH);
                for line in 0..WIDTH * WIDTH / LINE {
                    simd.prefetch(near.wrapping_add(line * LINE));
                }
            }
        }
        // With a constant count the loop has no bound to check and is unrolled.
        let mut whole = [&[[0; WIDTH]; WIDTH]; T];
        let mut all_whole = true;
        for (whole, keys) in whole.iter_mut().zip(of_tiles) {
            match keys[dim..].first_chunk() {
                Some(keys) => *whole = keys,
                None => all_whole = false,
            }
        }
        if all_whole {
            for i in 0..WIDTH {
                let mut keys = [&whole[0][i]; T];
                for t in 1..T {
                    keys[t] = &whole[t][i];
                }
                add_products(simd, keys, (queries, i), &mut sums);
            }
        } else {
            for i in 0..dims - dim {
                let mut keys = [&of_tiles[0][dim + i]; T];
                for t in 1..T {
                    keys[t] = &of_tiles[t][dim + i];
                }
                add_products(simd, keys, (queries, i), &mut sums);
            }
        }
    }
    for (t, sums) in sums.into_iter().enumerate() {
        for r in 0..R {
            simd.store(
                sums[r],
                &mut weights[r].as_chunks_mut::<WIDTH>().0[tile + t],
            );
        }
    }
}

/// Adds the products of a dimension of each tile's keys with number `i` of each row's.
#[inline(always)]
fn add_products<S: Floats, const R: usize, const T: usize>(
    simd: S,
    keys: [&[u16; WIDTH]; T],
    (queries, i): (&[[f32; WIDTH]; R], usize),
    sums: &mut [[S::Vector; R]; T],
) {
    let mut wide = [simd.load_f16(keys[0]); T];
    for t in 1..T {
        wide[t] = simd.load_f16(keys[t]);
    }
    for r in 0..R {
        let query = simd.splat(queries[r][i]);
        for t in 0..T {
            sums[t][r] = simd.multiply_add(wide[t], query, sums[t][r]);
        }
    }
}

/// Sets the sums of some rows to the values of a chunk times their weights.
pub(super) struct Weigh<'s, 'v> {
    /// The first row of the block, and the positions of the chunk.
    pub(super) at: (usize, Range<usize>),
    pub(super) values: Stream<'v>,
    pub(super) weights: &'s [[f32; CHUNK]], // (ROWS)
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
        let (values, (sums, stride)) = (self.values, (&mut *self.sums.0, self.sums.1));
        let vectors = stride / WIDTH;
        let weights: &[_; R] = some_rows(self.weights, row);
        let sums = &mut sums.as_chunks_mut::<WIDTH>().0[row * vectors..(row + R) * vectors];
        let Range { start, end } = self.at.1;
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
}

/// [`Weigh`] for `R` rows and the `V` vectors from number `column` of each value on, of `vectors`.
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
