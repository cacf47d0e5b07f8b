//! A few columns of float weights: rows are read one after the other, in the order of the file, with
//! sixteen weights of a row, or pairs of them, across lanes. Each weight is widened once, if at all,
//! and multiplied with every column of a panel.
//!
//! With one column that stays in the first-level cache, rows are read as a whole and nothing is asked
//! for ahead: they are one sequential stream, which the hardware follows by itself, better than if it
//! were also asked for. A longer column would have to come from the second-level cache for each row,
//! and with more columns arithmetic takes as long as reading: then some rows are multiplied with as
//! much of the columns at a time as the first-level cache holds; meanwhile the rows behind them are
//! asked for. So it is with weights of four bytes, however long their rows.

use crate::activations::{Activations, Panels};
use crate::aligned::LINE;
use crate::formats::SUPER;
use crate::isa::{Floats, Lanes, Simd, Task, WIDTH};
use crate::matmul::tiled::{OfWidth, by_width};
use crate::matmul::{ROOMY, ROWS_MULTIPLE, Rows};
use std::marker::PhantomData;
use std::ops::Range;

/// How vectors of a row's weights are multiplied with those of a column.
pub(super) trait Along<S: Simd> {
    /// Bytes of a weight.
    const BYTES: usize;

    /// Weights that are read together, in one or two vectors. Rows end with zeros, up to a whole
    /// number of so many.
    const UNIT: usize;

    /// Vectors of a block.
    const VECTORS: usize;

    /// Whether [`Along::watch`] must look at weights.
    const WATCHES: bool = false;

    /// A vector of activations in memory.
    type Numbers: 'static;

    /// A vector of weights or of activations.
    type Operand: Copy;

    /// Sixteen sums.
    type Sum: Copy;

    /// The activations of a column.
    fn column(x: &Activations, column: usize) -> &[Self::Numbers];

    /// Vector number `i` of the weights from `block` on.
    ///
    /// # Safety
    ///
    /// The bytes of the unit of weights that it belongs to are readable where it lies behind `block`.
    unsafe fn weights(simd: S, block: *const u8, i: usize) -> Self::Operand;

    /// A vector of activations.
    fn activations(simd: S, x: &Self::Numbers) -> Self::Operand;

    /// Sums of nothing.
    fn nothing(simd: S) -> Self::Sum;

    /// `sum` with the products of two vectors.
    fn multiply_add(simd: S, weights: Self::Operand, x: Self::Operand, sum: Self::Sum)
    -> Self::Sum;

    /// The same, with weights of any size.
    #[inline(always)]
    fn multiply_add_exactly(
        simd: S,
        weights: Self::Operand,
        x: Self::Operand,
        sum: Self::Sum,
    ) -> Self::Sum {
        Self::multiply_add(simd, weights, x, sum)
    }

    /// What is known of weights before any was looked at.
    #[inline(always)]
    fn unseen(_: S) -> Option<Self::Operand> {
        None
    }

    /// What is known after some more.
    #[inline(always)]
    fn watch(_: S, seen: Option<Self::Operand>, _weights: Self::Operand) -> Option<Self::Operand> {
        seen
    }

    /// Whether there was a weight that [`Along::multiply_add`] is not exact with.
    #[inline(always)]
    fn any_too_small(_: S, _seen: Option<Self::Operand>) -> bool {
        false
    }

    /// The sums as a vector of floats.
    fn vector(simd: S, sum: Self::Sum) -> S::Vector;
}

/// Vectors of a unit of weights: what is read once and used twice takes another register.
const fn vectors<S: Simd, T: Along<S>>() -> usize {
    T::UNIT * T::VECTORS / SUPER
}

/// Bytes of the vectors of a block of activations.
const fn block_bytes<S: Simd, T: Along<S>>() -> usize {
    T::VECTORS * size_of::<T::Numbers>()
}

/// Rows that several columns are multiplied with before the next rows.
const STRIP: usize = ROWS_MULTIPLE;

/// Bytes of activations that stay in the first-level cache.
const NEAR: usize = 16 << 10;

/// Bytes of the first-level cache that whole rows take beside one column.
const ROWS_BESIDE: usize = 20 << 10;

/// Rows that one column which is longer is multiplied with side by side.
const SIDE_BY_SIDE: usize = 4;

/// Sums of vectors that are made side by side.
const fn side_by_side<S: Floats>() -> usize {
    if S::ACCUMULATORS < WIDTH {
        S::ACCUMULATORS
    } else {
        WIDTH
    }
}

/// The product of the rows with all columns.
#[inline(always)]
pub(super) fn few_columns<S: Simd, T: Along<S>>(simd: S, rows: &Rows<'_>) {
    let width = side_by_side::<S>().min(S::COLUMNS);
    let panels = Panels::new(rows.x.columns(), width, width);
    let matrix = rows.weights;
    let near = rows.near.saturating_sub(ROWS_BESIDE) / block_bytes::<S, T>() * SUPER;
    let short = T::BYTES < 4 && matrix.cols <= near;
    let in_order = rows.x.columns() == 1 && short;
    let mut start = rows.rows.start;
    while start < rows.rows.end {
        let end = match in_order {
            true => rows.rows.end,
            false => rows.rows.end.min(start + STRIP),
        };
        let mut ahead = match end == rows.rows.end {
            true => rows.then,
            false => matrix.start_of(end),
        };
        for panel in 0..panels.count() {
            let task = Columns::<T> {
                rows,
                strip: start..end,
                columns: panels.get(panel),
                panel: (panel, panels.count()),
                in_order,
                requests: in_order && rows.near >= ROOMY,
                ahead: &mut ahead,
                weights: PhantomData,
            };
            by_width(simd, task.columns.len(), task);
        }
        start = end;
    }
}

/// Bytes from what is multiplied to what is asked for, with one column.
const AHEAD: usize = 8 << 10;

/// Rows to multiply with the columns of one panel.
struct Columns<'r, 'a, T> {
    rows: &'r Rows<'a>,
    strip: Range<usize>,
    columns: Range<usize>,
    /// Its number, and how many there are.
    panel: (usize, usize),
    /// Whether each row is read as a whole and nothing is asked for.
    in_order: bool,
    /// Whether it is asked for all the same, a little ahead.
    requests: bool,
    /// What is to be asked for next.
    ahead: &'r mut *const u8,
    weights: PhantomData<T>,
}

impl<S: Simd, T: Along<S>> OfWidth<S> for Columns<'_, '_, T> {
    #[inline(always)]
    fn run<const W: usize>(mut self, simd: S) {
        if W == 1 && self.in_order {
            let blocks = 0..self.rows.weights.cols().div_ceil(SUPER);
            for row in self.strip.clone() {
                let y = self.add::<S, 1, W>(simd, row, blocks.clone(), simd.zero());
                self.write::<S, 1, W>(simd, row, y);
            }
        } else if W == 1 && self.rows.x.columns() == 1 {
            self.strip::<S, SIDE_BY_SIDE, W>(simd);
        } else if 2 * W <= side_by_side::<S>() && 2 * W + vectors::<S, T>() <= S::ACCUMULATORS + 1 {
            self.strip::<S, 2, W>(simd);
        } else if W <= side_by_side::<S>() {
            self.strip::<S, 1, W>(simd);
        }
    }
}

impl<T> Columns<'_, '_, T> {
    /// Multiplies the rows with the columns, `R` rows side by side.
    #[inline(always)]
    fn strip<S: Simd, const R: usize, const W: usize>(&mut self, simd: S)
    where
        T: Along<S>,
    {
        let Range { start, end } = self.strip;
        let left_over = start + (end - start) / R * R;
        // Of every `R` rows, and at the end of each row that is left over.
        let mut sums = [simd.zero(); STRIP];
        let blocks = self.rows.weights.cols().div_ceil(SUPER);
        let near = NEAR / block_bytes::<S, T>() / W;
        for block in (0..blocks).step_by(near) {
            let blocks = block..blocks.min(block + near);
            for (row, y) in (start..left_over).step_by(R).zip(&mut sums) {
                *y = self.add::<S, R, W>(simd, row, blocks.clone(), *y);
            }
            for (row, y) in (left_over..end).zip(&mut sums[STRIP - R + 1..]) {
                *y = self.add::<S, 1, W>(simd, row, blocks.clone(), *y);
            }
        }
        for (row, &y) in (start..left_over).step_by(R).zip(&sums) {
            self.write::<S, R, W>(simd, row, y);
        }
        for (row, &y) in (left_over..end).zip(&sums[STRIP - R + 1..]) {
            self.write::<S, 1, W>(simd, row, y);
        }
    }

    /// Adds the products of some blocks of `R` rows, from number `row` on, with the columns to `y`:
    /// that of row `r` with column `c` in lane `r W + c`.
    #[inline(always)]
    fn add<S: Simd, const R: usize, const W: usize>(
        &mut self,
        simd: S,
        row: usize,
        blocks: Range<usize>,
        mut y: S::Vector,
    ) -> S::Vector
    where
        T: Along<S>,
    {
        let matrix = self.rows.weights;
        let cols = matrix.cols();
        let bytes = &matrix.bytes()[row * matrix.row_bytes..(row + R) * matrix.row_bytes];
        let mut x = [[].as_slice(); W];
        for (c, x) in x.iter_mut().enumerate() {
            *x = T::column(self.rows.x, self.columns.start + c);
        }
        let vectors = vectors::<S, T>();
        // Bytes of a vector of weights, in the mean.
        let step = SUPER * T::BYTES / T::VECTORS;
        let whole = blocks.end.min(cols / SUPER);
        for block in blocks.start..whole {
            let mut of_block = x;
            for x in &mut of_block {
                *x = &x[block * T::VECTORS..][..T::VECTORS];
            }
            // Every panel asks for its share.
            let asks = !self.in_order && block % self.panel.1 == self.panel.0;
            let mut sums = [[T::nothing(simd); W]; R];
            let mut seen = T::unseen(simd);
            let mut starts = [bytes.as_ptr(); R];
            for (r, start) in starts.iter_mut().enumerate() {
                let offset = r * matrix.row_bytes + block * SUPER * T::BYTES;
                debug_assert!(offset + SUPER * T::BYTES <= bytes.len());
                // SAFETY: the block lies within the row.
                *start = unsafe { start.add(offset) };
            }
            for unit in 0..T::VECTORS / vectors {
                for part in 0..vectors {
                    let i = unit * vectors + part;
                    if asks && (R * step >= LINE || i.is_multiple_of(2)) {
                        for line in (0..R * step).step_by(LINE) {
                            Lanes::prefetch(simd, self.ahead.wrapping_add(line));
                        }
                        *self.ahead = self.ahead.wrapping_add((R * step).max(LINE));
                    }
                    if W == 1 && R == 1 && self.requests && (step >= LINE || i.is_multiple_of(2)) {
                        Lanes::prefetch_near(simd, starts[0].wrapping_add(i * step + AHEAD));
                    }
                    let mut weights = [T::activations(simd, &of_block[0][i]); R];
                    for r in 0..R {
                        // SAFETY: there are as many vectors in the block.
                        weights[r] = unsafe { T::weights(simd, starts[r], i) };
                        seen = T::watch(simd, seen, weights[r]);
                    }
                    for c in 0..W {
                        let x = T::activations(simd, &of_block[c][i]);
                        for r in 0..R {
                            sums[r][c] = T::multiply_add(simd, weights[r], x, sums[r][c]);
                        }
                    }
                }
            }
            if T::WATCHES && T::any_too_small(simd, seen) {
                // Copies, so that all of these can stay in registers elsewhere.
                let (again, rows, columns) = (&mut { sums }, { starts }, { of_block });
                simd.call(Exactly::<S, T, R, W> {
                    starts: &rows,
                    x: &columns,
                    sums: again,
                });
                sums = *again;
            }
            y = simd.add(sums_of::<S, T, R, W>(simd, &sums), y);
        }
        if whole < blocks.end {
            let mut sums = [[T::nothing(simd); W]; R];
            for k in (whole * SUPER..cols).step_by(T::UNIT) {
                let mut copies = [[0; LINE]; R];
                for (r, copy) in copies.iter_mut().enumerate() {
                    let rest = &bytes[r * matrix.row_bytes..][..matrix.row_bytes][k * T::BYTES..];
                    let len = rest.len().min(T::UNIT * T::BYTES);
                    // SAFETY: both have as many bytes.
                    unsafe {
                        std::ptr::copy_nonoverlapping(rest.as_ptr(), copy.as_mut_ptr(), len);
                    }
                }
                for i in 0..vectors {
                    for (r, copy) in copies.iter().enumerate() {
                        // SAFETY: the copy is as many bytes as a unit of any weights.
                        let weights = unsafe { T::weights(simd, copy.as_ptr(), i) };
                        for c in 0..W {
                            let x = T::activations(simd, &x[c][k / T::UNIT * vectors + i]);
                            sums[r][c] = T::multiply_add_exactly(simd, weights, x, sums[r][c]);
                        }
                    }
                }
            }
            y = simd.add(sums_of::<S, T, R, W>(simd, &sums), y);
        }
        y
    }

    /// Writes the results of `R` rows.
    #[inline(always)]
    fn write<S: Simd, const R: usize, const W: usize>(&self, simd: S, row: usize, y: S::Vector) {
        let mut results = [0.0; WIDTH];
        simd.store(y, &mut results);
        for c in 0..W {
            let mut column = [0.0; R];
            for r in 0..R {
                column[r] = results[r * W + c];
            }
            self.rows.write(self.columns.start + c, row, &column);
        }
    }
}

/// The sum of each vector of sums: that of `sums[r][c]` in lane `r W + c`.
#[inline(always)]
fn sums_of<S: Simd, T: Along<S>, const R: usize, const W: usize>(
    simd: S,
    sums: &[[T::Sum; W]; R],
) -> S::Vector {
    let mut vectors = [[simd.zero(); W]; R];
    for r in 0..R {
        for c in 0..W {
            vectors[r][c] = T::vector(simd, sums[r][c]);
        }
    }
    simd.sums(&vectors)
}

/// A block to multiply once more, because there is a weight in it that needs it.
struct Exactly<'b, S: Simd, T: Along<S>, const R: usize, const W: usize> {
    /// The block's first weight in each row, all of which are readable.
    starts: &'b [*const u8; R],
    x: &'b [&'b [T::Numbers]; W],
    sums: &'b mut [[T::Sum; W]; R],
}

impl<S: Simd, T: Along<S>, const R: usize, const W: usize> Task<S> for Exactly<'_, S, T, R, W> {
    #[inline(always)]
    fn run(self, simd: S) {
        *self.sums = [[T::nothing(simd); W]; R];
        for i in 0..T::VECTORS {
            for r in 0..R {
                // SAFETY: there are as many vectors in the block.
                let weights = unsafe { T::weights(simd, self.starts[r], i) };
                for c in 0..W {
                    let x = T::activations(simd, &self.x[c][i]);
                    let sum = &mut self.sums[r][c];
                    *sum = T::multiply_add_exactly(simd, weights, x, *sum);
                }
            }
        }
    }
}
