//! How many rows of a block the products take at once, and how many vectors of a value.
//!
//! Each number of rows is compiled as a function of its own: together, inlined, they take the compiler a
//! minute, and calls are so few that they cost nothing.

use crate::isa::{Floats, Simd, Task};

/// The most: as many as have their sums in registers beside what is multiplied.
const fn most<S: Floats>() -> usize {
    if S::ACCUMULATORS >= 16 { 8 } else { 6 }
}

/// How many of `left` rows are taken at once.
#[inline(always)]
pub(super) fn at_once<S: Floats>(left: usize) -> usize {
    match left {
        _ if left >= most::<S>() => most::<S>(),
        4.. => 4,
        2.. => 2,
        _ => 1,
    }
}

/// Whether scores of so many rows are computed for two tiles of keys at once, so that a query is read
/// once for both: where the sums have registers, and rows are so many that arithmetic is the limit.
pub(super) const fn two_tiles<S: Floats>(rows: usize) -> bool {
    rows >= 8 && 2 * rows <= S::ACCUMULATORS
}

/// Something to do with `R` rows.
pub(super) trait OfRows<S: Simd> {
    /// Implementations are `#[inline(always)]`.
    fn run<const R: usize>(self, simd: S);
}

/// Runs `task` for `rows` rows, a number that [`at_once`] gives.
#[inline(always)]
pub(super) fn by_rows<S: Simd>(simd: S, rows: usize, task: impl OfRows<S>) {
    struct Of<T, const R: usize>(T);
    impl<S: Simd, T: OfRows<S>, const R: usize> Task<S> for Of<T, R> {
        #[inline(always)]
        fn run(self, simd: S) {
            if const { R <= 4 || R == most::<S>() } {
                self.0.run::<R>(simd);
            }
        }
    }
    match rows {
        8 => simd.call(Of::<_, 8>(task)),
        6 => simd.call(Of::<_, 6>(task)),
        4 => simd.call(Of::<_, 4>(task)),
        2 => simd.call(Of::<_, 2>(task)),
        1 => simd.call(Of::<_, 1>(task)),
        rows => unreachable!("{rows} rows at once"),
    }
}

/// What values weighed by some rows are computed with, as [`by_vectors`] divides it.
pub(super) trait OfVectors {
    /// For `R` rows from number `row` on, `V` vectors of each value at once. Implementations are
    /// `#[inline(always)]`.
    fn rows<S: Floats, const R: usize, const V: usize>(&mut self, simd: S, row: usize);
}

/// Runs `task` for the `R` rows from number `row` on, with as many vectors of a value at once as have
/// their sums in registers.
#[inline(always)]
pub(super) fn by_vectors<S: Floats, const R: usize>(simd: S, row: usize, mut task: impl OfVectors) {
    if const { R == 8 } {
        task.rows::<S, 4, 4>(simd, row);
        task.rows::<S, 4, 4>(simd, row + 4);
    } else if const { S::ACCUMULATORS >= 16 && R == 4 } {
        task.rows::<S, R, 4>(simd, row);
    } else if const { S::ACCUMULATORS >= 16 } {
        task.rows::<S, R, 8>(simd, row);
    } else if const { R == 1 } {
        task.rows::<S, R, 4>(simd, row);
    } else if const { R == 2 } {
        task.rows::<S, R, 2>(simd, row);
    } else {
        task.rows::<S, R, 1>(simd, row);
    }
}

/// What belongs to the `R` rows from number `row` on.
#[inline(always)]
pub(super) fn some_rows<T, const R: usize>(all: &[T], row: usize) -> &[T; R] {
    match all[row..].first_chunk() {
        Some(rows) => rows,
        None => unreachable!("{R} rows from {row} on"),
    }
}

/// The same, to be changed.
#[inline(always)]
pub(super) fn some_rows_mut<T, const R: usize>(all: &mut [T], row: usize) -> &mut [T; R] {
    match all[row..].first_chunk_mut() {
        Some(rows) => rows,
        None => unreachable!("{R} rows from {row} on"),
    }
}
