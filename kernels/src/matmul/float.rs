//! Products with float weights: F32, F16 and BF16, each weight widened to f32.
#![allow(unsafe_code)]

use super::{ROWS_MULTIPLE, Rows, Weights};
use crate::formats::{Bf16, F16, F32, SUPER};
use crate::isa::{Lanes, Task};

/// A float format, sixteen bytes at a time.
pub(super) trait Widen {
    /// Bytes of a weight.
    const BYTES: usize;

    /// Weights `2 pair` and `2 pair + 1` of the sixteen bytes that `words` holds of each row.
    fn pair<S: Lanes>(simd: S, words: &[S::Int; 4], pair: usize) -> [S::Float; 2];
}

impl Widen for F32 {
    const BYTES: usize = 4;

    #[inline(always)]
    fn pair<S: Lanes>(simd: S, words: &[S::Int; 4], pair: usize) -> [S::Float; 2] {
        [
            simd.bits_to_float(words[2 * pair]),
            simd.bits_to_float(words[2 * pair + 1]),
        ]
    }
}

impl Widen for F16 {
    const BYTES: usize = 2;

    #[inline(always)]
    fn pair<S: Lanes>(simd: S, words: &[S::Int; 4], pair: usize) -> [S::Float; 2] {
        let high = simd.shift_right::<16>(words[pair]);
        [simd.half_to_float(words[pair]), simd.half_to_float(high)]
    }
}

impl Widen for Bf16 {
    const BYTES: usize = 2;

    #[inline(always)]
    fn pair<S: Lanes>(simd: S, words: &[S::Int; 4], pair: usize) -> [S::Float; 2] {
        let high = simd.and(words[pair], simd.splat_int(0xffff_0000_u32 as i32));
        [
            simd.bits_to_float(simd.shift_left::<16>(words[pair])),
            simd.bits_to_float(high),
        ]
    }
}

/// Declares the float formats to be weights; quantized ones are so by unpacking.
macro_rules! float_weights {
    ($($format:ident)*) => {$(
        impl Weights for $format {
            #[inline(always)]
            fn multiply<S: Lanes>(simd: S, rows: &Rows<'_>) {
                if rows.x.columns() == 1 {
                    one_column::<S, $format>(simd, rows);
                } else {
                    many_columns::<S, $format>(simd, rows);
                }
            }
        }
    )*};
}

float_weights! { F32 F16 Bf16 }

/// The rows of a panel; lanes that have no row of their own repeat the last.
struct Panel<'a> {
    rows: &'a Rows<'a>,
    row: usize,
    count: usize,
}

impl Panel<'_> {
    /// Sixteen bytes of every row from byte `offset` on; bytes behind the end of a row are 0.
    #[inline(always)]
    fn words<S: Lanes>(&self, simd: S, offset: usize) -> [S::Int; 4] {
        let weights = &self.rows.weights;
        if self.count >= S::ROWS && offset + 16 <= weights.row_bytes {
            let base = &weights.bytes()[self.row * weights.row_bytes + offset..];
            // SAFETY: there are `S::ROWS` rows of `row_bytes` from `row` on, and the sixteen bytes
            // lie within each.
            return unsafe { simd.gather16(base.as_ptr(), weights.row_bytes) };
        }
        self.copied_words(simd, offset)
    }

    #[inline(always)]
    fn copied_words<S: Lanes>(&self, simd: S, offset: usize) -> [S::Int; 4] {
        let mut copies = [[0u8; 16]; ROWS_MULTIPLE];
        for (r, copy) in copies.iter_mut().enumerate() {
            let row = &self.rows.weights.row(self.row + r.min(self.count - 1))[offset..];
            let len = row.len().min(16);
            copy[..len].copy_from_slice(&row[..len]);
        }
        // SAFETY: `copies` holds sixteen bytes for each of at least `S::ROWS` rows.
        unsafe { simd.gather16(copies.as_ptr().cast(), 16) }
    }
}

#[inline(always)]
fn one_column<S: Lanes, B: Widen>(simd: S, rows: &Rows<'_>) {
    let cols = rows.weights.cols();
    let step = 16 / B::BYTES;
    let x = rows.x.panel_floats(&(0..1));
    for (row, count) in rows.panels(S::ROWS) {
        let panel = Panel { rows, row, count };
        let mut y = simd.splat_float(0.0);
        for block in (0..cols).step_by(SUPER) {
            let mut sums = [simd.splat_float(0.0); 2];
            for k in (block..cols.min(block + SUPER)).step_by(step) {
                let words = panel.words(simd, k * B::BYTES);
                let mut tail = [0.0; 8];
                let x = match x.get(k..k + step) {
                    Some(x) => x,
                    None => {
                        tail[..cols - k].copy_from_slice(&x[k..]);
                        &tail[..step]
                    }
                };
                let (x, _) = x.as_chunks::<2>();
                for (pair, x) in x.iter().enumerate() {
                    let weights = B::pair(simd, &words, pair);
                    for i in 0..2 {
                        sums[i] =
                            simd.multiply_add_float(weights[i], simd.splat_float(x[i]), sums[i]);
                    }
                }
            }
            y = simd.add_float(simd.add_float(sums[0], sums[1]), y);
        }
        rows.store(simd, (row, count), 0, y);
    }
}

#[inline(always)]
fn many_columns<S: Lanes, B: Widen>(simd: S, rows: &Rows<'_>) {
    let cols = rows.weights.cols();
    let step = 16 / B::BYTES;
    let mut tile = [simd.splat_float(0.0); SUPER];
    for start in (0..cols).step_by(SUPER) {
        for (row, count) in rows.panels(S::ROWS) {
            let panel = Panel { rows, row, count };
            let len = (cols - start).min(SUPER);
            for k in (0..len).step_by(step) {
                let words = panel.words(simd, (start + k) * B::BYTES);
                for pair in 0..step / 2 {
                    let weights = B::pair(simd, &words, pair);
                    tile[k + 2 * pair..][..2].copy_from_slice(&weights);
                }
            }
            let product = Product {
                rows,
                tile: &tile[..len],
                start,
                row,
                count,
            };
            product.all_columns(simd);
        }
    }
}

/// A tile to multiply with all columns.
struct Product<'r, 'a, S: Lanes> {
    rows: &'r Rows<'a>,
    tile: &'r [S::Float],
    /// The tile's first weight in a row.
    start: usize,
    row: usize,
    count: usize,
}

impl<S: Lanes> Product<'_, '_, S> {
    #[inline(always)]
    fn all_columns(&self, simd: S) {
        let panels = self.rows.x.panels();
        for panel in 0..panels.count() {
            let columns = panels.get(panel);
            match columns.len() {
                1 => simd.call(Columns::<S, 1> {
                    product: self,
                    column: columns.start,
                }),
                2 => simd.call(Columns::<S, 2> {
                    product: self,
                    column: columns.start,
                }),
                3 => simd.call(Columns::<S, 3> {
                    product: self,
                    column: columns.start,
                }),
                4 => simd.call(Columns::<S, 4> {
                    product: self,
                    column: columns.start,
                }),
                5 => simd.call(Columns::<S, 5> {
                    product: self,
                    column: columns.start,
                }),
                6 => simd.call(Columns::<S, 6> {
                    product: self,
                    column: columns.start,
                }),
                7 => simd.call(Columns::<S, 7> {
                    product: self,
                    column: columns.start,
                }),
                8 => simd.call(Columns::<S, 8> {
                    product: self,
                    column: columns.start,
                }),
                width => unreachable!("panel of {width} columns"),
            }
        }
    }

    /// Multiplies the tile with the `W` columns from `column` on.
    #[inline(always)]
    fn columns<const W: usize>(&self, simd: S, column: usize) {
        if W > S::COLUMNS {
            return;
        }
        let x = &self.rows.x.panel_floats(&(column..column + W))[self.start * W..];
        let (x, _) = x.as_chunks::<W>();
        let x = &x[..self.tile.len()];
        let mut even = [simd.splat_float(0.0); W];
        let mut odd = [simd.splat_float(0.0); W];
        let (pairs, last) = self.tile.as_chunks::<2>();
        let (x_pairs, last_x) = x.as_chunks::<2>();
        for (weights, x) in pairs.iter().zip(x_pairs) {
            for c in 0..W {
                even[c] = simd.multiply_add_float(weights[0], simd.splat_float(x[0][c]), even[c]);
            }
            for c in 0..W {
                odd[c] = simd.multiply_add_float(weights[1], simd.splat_float(x[1][c]), odd[c]);
            }
        }
        for (&weights, x) in last.iter().zip(last_x) {
            for c in 0..W {
                even[c] = simd.multiply_add_float(weights, simd.splat_float(x[c]), even[c]);
            }
        }
        let rows = (self.row, self.count);
        for c in 0..W {
            let sum = simd.add_float(even[c], odd[c]);
            let y = match self.start {
                0 => simd.splat_float(0.0),
                _ => self.rows.load(simd, rows, column + c),
            };
            self.rows
                .store(simd, rows, column + c, simd.add_float(sum, y));
        }
    }
}

/// A tile to multiply with `W` columns: what the float formats share.
struct Columns<'p, 'r, 'a, S: Lanes, const W: usize> {
    product: &'p Product<'r, 'a, S>,
    column: usize,
}

impl<S: Lanes, const W: usize> Task<S> for Columns<'_, '_, '_, S, W> {
    #[inline(always)]
    fn run(self, simd: S) {
        self.product.columns::<W>(simd, self.column);
    }
}
