//! Products with float weights: F32, F16 and BF16, each weight widened to f32.
#![allow(unsafe_code)]

use super::tiled::{OfWidth, Panel, Sums, Tiled, by_width, many_columns};
use super::{ROWS_MULTIPLE, Rows, Weights};
use crate::activations::Precision;
use crate::formats::{Bf16, F16, F32, SUPER};
use crate::isa::Lanes;
use std::marker::PhantomData;
use std::ops::Range;

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
            const PRECISION: Precision = Precision::FLOAT;

            #[inline(always)]
            fn multiply<S: Lanes>(simd: S, rows: &Rows<'_>) {
                if rows.x.columns() == 1 {
                    one_column::<S, $format>(simd, rows);
                } else {
                    simd.call(many_columns::<S, Float<$format>>(rows));
                }
            }
        }
    )*};
}

float_weights! { F32 F16 Bf16 }

/// Sixteen bytes of every row of a panel from byte `offset` on; lanes that have no row of their own
/// repeat the last, and bytes behind the end of a row are 0.
#[inline(always)]
fn words<S: Lanes>(simd: S, panel: &Panel<'_>, offset: usize) -> [S::Int; 4] {
    if panel.count >= S::ROWS && offset + 16 <= panel.stride {
        // SAFETY: there are `S::ROWS` rows of `stride` bytes, and the sixteen lie within each.
        return unsafe { simd.gather16(panel.base.add(offset), panel.stride) };
    }
    let mut copies = [[0u8; 16]; ROWS_MULTIPLE];
    for (r, copy) in copies.iter_mut().enumerate() {
        let row = r.min(panel.count - 1) * panel.stride;
        let len = (panel.stride - offset).min(16);
        // SAFETY: the row is one of the panel's, and its bytes from `offset` on are as many.
        unsafe {
            let from = panel.base.add(row + offset);
            std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), len);
        }
    }
    // SAFETY: `copies` holds sixteen bytes for each of at least `S::ROWS` rows.
    unsafe { simd.gather16(copies.as_ptr().cast(), 16) }
}

#[inline(always)]
fn one_column<S: Lanes, B: Widen>(simd: S, rows: &Rows<'_>) {
    let cols = rows.weights.cols();
    let step = 16 / B::BYTES;
    let x = rows.x.panel_floats(&(0..1));
    for (row, count) in rows.panels(S::ROWS) {
        let panel = Panel::new(rows, row, count);
        let mut y = simd.splat_float(0.0);
        for block in (0..cols).step_by(SUPER) {
            let mut sums = [simd.splat_float(0.0); 2];
            for k in (block..cols.min(block + SUPER)).step_by(step) {
                let words = words(simd, &panel, k * B::BYTES);
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

/// Marks a float format as what a tile is made of.
struct Float<B>(PhantomData<B>);

impl<S: Lanes, B: Widen> Tiled<S> for Float<B> {
    type Tile = [S::Float; SUPER];

    const BLOCK_BYTES: usize = SUPER * B::BYTES;

    #[inline(always)]
    fn tile(simd: S) -> Self::Tile {
        [simd.splat_float(0.0); SUPER]
    }

    #[inline(always)]
    fn unpack(simd: S, panel: &Panel<'_>, block: usize, tile: &mut Self::Tile, _: bool) {
        let step = 16 / B::BYTES;
        let start = block * SUPER;
        for k in (0..(panel.cols - start).min(SUPER)).step_by(step) {
            let words = words(simd, panel, (start + k) * B::BYTES);
            for pair in 0..step / 2 {
                let weights = B::pair(simd, &words, pair);
                tile[k + 2 * pair..][..2].copy_from_slice(&weights);
            }
        }
    }

    #[inline(always)]
    fn multiply(simd: S, rows: &Rows<'_>, tile: &Self::Tile, mut sums: Sums<'_>) {
        let start = sums.block * SUPER;
        let tile = &tile[..(rows.weights.cols() - start).min(SUPER)];
        for panel in sums.panels.clone() {
            let columns = rows.x.panels().get(panel);
            let task = Columns {
                rows,
                tile,
                columns,
                sums: &mut sums,
            };
            by_width(simd, task.columns.len(), task);
        }
    }
}

/// A tile to multiply with one panel of columns.
struct Columns<'r, 'a, 's, 'y, F> {
    rows: &'r Rows<'a>,
    tile: &'r [F],
    columns: Range<usize>,
    sums: &'s mut Sums<'y>,
}

impl<S: Lanes> OfWidth<S> for Columns<'_, '_, '_, '_, S::Float> {
    #[inline(always)]
    fn run<const W: usize>(self, simd: S) {
        let x = &self.rows.x.panel_floats(&self.columns)[self.sums.block * SUPER * W..];
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
        for c in 0..W {
            even[c] = simd.add_float(even[c], odd[c]);
        }
        self.sums.add(simd, self.columns.start, even);
    }
}
