//! A few columns of float weights: rows are read one after the other, in the order of the file, with
//! sixteen weights of a row across lanes. Each weight is widened once and multiplied with every
//! column of a panel.
//!
//! With one column that stays in the first-level cache, rows are read as a whole and nothing is asked
//! for ahead: they are one sequential stream, which the hardware follows by itself, better than if it
//! were also asked for. A longer column would have to come from the second-level cache for each row,
//! and with more columns arithmetic takes as long as reading: then some rows are multiplied with as
//! much of the columns at a time as the first-level cache holds; meanwhile the rows behind them are
//! asked for. So it is with weights of four bytes, however long their rows.

use super::Widen;
use crate::activations::Panels;
use crate::aligned::LINE;
use crate::formats::SUPER;
use crate::isa::{Floats, Lanes, Simd, WIDTH};
use crate::matmul::tiled::{OfWidth, by_width};
use crate::matmul::{ROWS_MULTIPLE, Rows};
use std::marker::PhantomData;
use std::ops::Range;

/// Vectors of a block.
const VECTORS: usize = SUPER / WIDTH;

/// Rows that several columns are multiplied with before the next rows.
const STRIP: usize = ROWS_MULTIPLE;

/// Blocks of activations that stay in the first-level cache: 16 KB.
const NEAR: usize = 16;

/// The same, where whole rows are read between two uses: 12 KB.
const NEAR_ROWS: usize = 12;

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
pub(super) fn few_columns<S: Simd, B: Widen>(simd: S, rows: &Rows<'_>) {
    let panels = Panels::new(rows.x.columns(), side_by_side::<S>().min(S::COLUMNS));
    let matrix = rows.weights;
    let short = B::BYTES < 4 && matrix.cols <= NEAR_ROWS * SUPER;
    let in_order = rows.x.columns() == 1 && short;
    let mut start = rows.rows.start;
    while start < rows.rows.end {
        let end = match in_order {
            true => rows.rows.end,
            false => rows.rows.end.min(start + STRIP),
        };
        let next = match end == rows.rows.end {
            true => rows.then,
            false => end,
        };
        let mut ahead = matrix
            .bytes()
            .as_ptr()
            .wrapping_add(next * matrix.row_bytes);
        for panel in 0..panels.count() {
            let task = Columns::<B> {
                rows,
                strip: start..end,
                columns: panels.get(panel),
                panel: (panel, panels.count()),
                in_order,
                ahead: &mut ahead,
                format: PhantomData,
            };
            by_width(simd, task.columns.len(), task);
        }
        start = end;
    }
}

/// Rows to multiply with the columns of one panel.
struct Columns<'r, 'a, B> {
    rows: &'r Rows<'a>,
    strip: Range<usize>,
    columns: Range<usize>,
    /// Its number, and how many there are.
    panel: (usize, usize),
    /// Whether each row is read as a whole and nothing is asked for.
    in_order: bool,
    /// What is to be asked for next.
    ahead: &'r mut *const u8,
    format: PhantomData<B>,
}

impl<S: Simd, B: Widen> OfWidth<S> for Columns<'_, '_, B> {
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
        } else if 2 * W <= side_by_side::<S>() {
            self.strip::<S, 2, W>(simd);
        } else if W <= side_by_side::<S>() {
            self.strip::<S, 1, W>(simd);
        }
    }
}

impl<B: Widen> Columns<'_, '_, B> {
    /// Multiplies the rows with the columns, `R` rows side by side.
    #[inline(always)]
    fn strip<S: Simd, const R: usize, const W: usize>(&mut self, simd: S) {
        let Range { start, end } = self.strip;
        let left_over = start + (end - start) / R * R;
        // Of every `R` rows, and at the end of each row that is left over.
        let mut sums = [simd.zero(); STRIP];
        let blocks = self.rows.weights.cols().div_ceil(SUPER);
        for block in (0..blocks).step_by(NEAR / W) {
            let blocks = block..blocks.min(block + NEAR / W);
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
    ) -> S::Vector {
        let matrix = self.rows.weights;
        let cols = matrix.cols();
        let bytes = &matrix.bytes()[row * matrix.row_bytes..(row + R) * matrix.row_bytes];
        let mut x = [[].as_slice(); W];
        for (c, x) in x.iter_mut().enumerate() {
            *x = self.rows.x.column_floats(self.columns.start + c);
        }
        let whole = blocks.end.min(cols / SUPER);
        for block in blocks.start..whole {
            let mut of_block = [&[[0.0; WIDTH]; VECTORS]; W];
            for c in 0..W {
                let Some(vectors) = x[c][block * VECTORS..].first_chunk() else {
                    unreachable!("a column is as long as a row");
                };
                of_block[c] = vectors;
            }
            // Every panel asks for its share.
            let asks = !self.in_order && block % self.panel.1 == self.panel.0;
            let mut sums = [[simd.zero(); W]; R];
            for i in 0..VECTORS {
                if asks && (R * WIDTH * B::BYTES >= LINE || i % 2 == 0) {
                    for line in (0..R * WIDTH * B::BYTES).step_by(LINE) {
                        Lanes::prefetch(simd, self.ahead.wrapping_add(line));
                    }
                    let asked = (R * WIDTH * B::BYTES).max(LINE);
                    *self.ahead = self.ahead.wrapping_add(asked);
                }
                let mut weights = [simd.zero(); R];
                for r in 0..R {
                    let offset = r * matrix.row_bytes + (block * VECTORS + i) * WIDTH * B::BYTES;
                    debug_assert!(offset + WIDTH * B::BYTES <= bytes.len());
                    // SAFETY: the block lies within the row.
                    weights[r] = unsafe { B::load(simd, bytes.as_ptr().add(offset)) };
                }
                for c in 0..W {
                    let x = simd.load(&of_block[c][i]);
                    for r in 0..R {
                        sums[r][c] = simd.multiply_add(weights[r], x, sums[r][c]);
                    }
                }
            }
            y = simd.add(simd.sums(&sums), y);
        }
        if whole < blocks.end {
            let mut sums = [[simd.zero(); W]; R];
            for k in (whole * SUPER..cols).step_by(WIDTH) {
                for r in 0..R {
                    let rest = &bytes[r * matrix.row_bytes..][..matrix.row_bytes][k * B::BYTES..];
                    let mut copy = [0; WIDTH * size_of::<f32>()];
                    let len = rest.len().min(WIDTH * B::BYTES);
                    // SAFETY: both have as many bytes.
                    unsafe {
                        std::ptr::copy_nonoverlapping(rest.as_ptr(), copy.as_mut_ptr(), len);
                    }
                    // SAFETY: the copy is as many bytes as sixteen of the widest weights.
                    let weights = unsafe { B::load(simd, copy.as_ptr()) };
                    for c in 0..W {
                        let x = simd.load(&x[c][k / WIDTH]);
                        sums[r][c] = simd.multiply_add(weights, x, sums[r][c]);
                    }
                }
            }
            y = simd.add(simd.sums(&sums), y);
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
