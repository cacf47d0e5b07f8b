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

    /// The weights in sixteen bytes of each row, as many as there are; the rest are not to be used.
    ///
    /// # Safety
    ///
    /// As for [`Lanes::gather16`].
    unsafe fn widen<S: Lanes>(simd: S, base: *const u8, stride: usize) -> [S::Float; 8];
}

impl Widen for F32 {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn widen<S: Lanes>(simd: S, base: *const u8, stride: usize) -> [S::Float; 8] {
        // SAFETY: the caller's promise.
        let words = unsafe { simd.gather16(base, stride) };
        let mut floats = [simd.splat_float(0.0); 8];
        for (float, word) in floats.iter_mut().zip(words) {
            *float = simd.bits_to_float(word);
        }
        floats
    }
}

impl Widen for F16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn widen<S: Lanes>(simd: S, base: *const u8, stride: usize) -> [S::Float; 8] {
        // SAFETY: the caller's promise.
        unsafe { simd.gather_halves(base, stride) }
    }
}

impl Widen for Bf16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn widen<S: Lanes>(simd: S, base: *const u8, stride: usize) -> [S::Float; 8] {
        // SAFETY: the caller's promise.
        let words = unsafe { simd.gather16(base, stride) };
        let mut floats = [simd.splat_float(0.0); 8];
        for (pair, word) in floats.chunks_exact_mut(2).zip(words) {
            let high = simd.and(word, simd.splat_int(0xffff_0000_u32 as i32));
            pair[0] = simd.bits_to_float(simd.shift_left::<16>(word));
            pair[1] = simd.bits_to_float(high);
        }
        floats
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

/// The weights from number `k` of every row on, as many as sixteen bytes hold; behind the end of a
/// row they are 0.
#[inline(always)]
fn weights<S: Lanes, B: Widen>(simd: S, panel: &Panel<'_>, k: usize) -> [S::Float; 8] {
    let offset = k * B::BYTES;
    if offset + 16 <= panel.stride {
        // SAFETY: there are `S::ROWS` rows of `stride` bytes, and the sixteen lie within each.
        return unsafe { B::widen(simd, panel.base.add(offset), panel.stride) };
    }
    let mut copies = [[0u8; 16]; ROWS_MULTIPLE];
    for (r, copy) in copies[..S::ROWS].iter_mut().enumerate() {
        // SAFETY: the row is one of the panel's, and its bytes from `offset` on are as many.
        unsafe {
            let from = panel.base.add(r * panel.stride + offset);
            std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), panel.stride - offset);
        }
    }
    // SAFETY: `copies` holds sixteen bytes for each of at least `S::ROWS` rows.
    unsafe { B::widen(simd, copies.as_ptr().cast(), 16) }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Cache lines that the first-level cache has room for at one remainder of 4 KB.
const WAYS: usize = 8;

/// A cache line's length of each row, copied. Rows are often a multiple of 4 KB apart, and then all
/// lines of a panel compete for the same few places in the first-level cache: if they are more, they
/// do not stay there until all of their weights have been used.
struct Lines([[u8; LINE]; ROWS_MULTIPLE]);

impl Lines {
    /// Copies the bytes of every row from byte `offset` on; `None` if they are fewer, or rows are so
    /// few that their lines have room.
    #[inline(always)]
    fn fill<S: Lanes>(&mut self, panel: &Panel<'_>, offset: usize) -> Option<&Lines> {
        if S::ROWS <= WAYS || offset + LINE > panel.stride {
            return None;
        }
        for (r, line) in self.0[..S::ROWS].iter_mut().enumerate() {
            // SAFETY: the row is one of the panel's, and the bytes lie within it.
            unsafe {
                let from = panel.base.add(r * panel.stride + offset);
                std::ptr::copy_nonoverlapping(from, line.as_mut_ptr(), LINE);
            }
        }
        Some(self)
    }

    /// The weights in sixteen bytes of every row from byte `offset` of the copies on.
    #[inline(always)]
    fn weights<S: Lanes, B: Widen>(&self, simd: S, offset: usize) -> [S::Float; 8] {
        assert!(offset + 16 <= LINE);
        // SAFETY: there are at least `S::ROWS` copies, and the sixteen bytes lie within each.
        unsafe { B::widen(simd, self.0.as_ptr().cast::<u8>().add(offset), LINE) }
    }
}

/// Multiplies a panel's rows with one column.
struct OneColumn<'a, S: Lanes, B> {
    simd: S,
    panel: Panel<'a>,
    /// The next two panels.
    next: [*const u8; 2],
    x: &'a [f32],
    format: PhantomData<B>,
}

impl<S: Lanes, B: Widen> OneColumn<'_, S, B> {
    /// Weights that are read at once.
    const STEP: usize = 16 / B::BYTES;

    /// Weights of a row in a cache line.
    const PER_LINE: usize = LINE / B::BYTES;

    /// Adds the products of the weights from number `k` on, which were read by `weights`, to the
    /// sums of even and of odd ones.
    #[inline(always)]
    fn add(&self, k: usize, weights: [S::Float; 8], sums: &mut [S::Float; 2]) {
        // A share of the next panels: as many bytes as were read here.
        for line in (0..16 * S::ROWS).step_by(LINE) {
            let at = k * B::BYTES * S::ROWS + line;
            // With eight rows or fewer the second request gains nothing.
            if S::ROWS > WAYS {
                self.simd.prefetch(self.next[1].wrapping_add(at));
            }
            self.simd.prefetch(self.next[0].wrapping_add(at));
        }
        let mut tail = [0.0; 8];
        let x = match self.x.get(k..k + Self::STEP) {
            Some(x) => x,
            None => {
                let rest = &self.x[k..];
                tail[..rest.len()].copy_from_slice(rest);
                &tail[..Self::STEP]
            }
        };
        for (i, &x) in x.iter().enumerate() {
            let x = self.simd.splat_float(x);
            sums[i % 2] = self.simd.multiply_add_float(weights[i], x, sums[i % 2]);
        }
    }

    #[inline(always)]
    fn multiply(&self, lines: &mut Lines) -> S::Float {
        let simd = self.simd;
        let mut y = simd.splat_float(0.0);
        for block in (0..self.x.len()).step_by(SUPER) {
            let end = self.x.len().min(block + SUPER);
            let mut sums = [simd.splat_float(0.0); 2];
            let mut k = block;
            while k + Self::PER_LINE <= end {
                let Some(lines) = lines.fill::<S>(&self.panel, k * B::BYTES) else {
                    break;
                };
                for offset in (0..LINE).step_by(16) {
                    let weights = lines.weights::<S, B>(simd, offset);
                    self.add(k + offset / B::BYTES, weights, &mut sums);
                }
                k += Self::PER_LINE;
            }
            for k in (k..end).step_by(Self::STEP) {
                self.add(k, weights::<S, B>(simd, &self.panel, k), &mut sums);
            }
            y = simd.add_float(simd.add_float(sums[0], sums[1]), y);
        }
        y
    }
}

#[inline(always)]
fn one_column<S: Lanes, B: Widen>(simd: S, rows: &Rows<'_>) {
    let mut lines = Lines([[0; LINE]; ROWS_MULTIPLE]);
    for panel in Panel::all::<S>(rows, rows.rows.clone()) {
        let column = OneColumn::<S, B> {
            simd,
            next: [panel.after::<S>(rows, 1), panel.after::<S>(rows, 2)],
            panel,
            x: rows.x.panel_floats(&(0..1)),
            format: PhantomData,
        };
        let y = column.multiply(&mut lines);
        rows.store(simd, &column.panel, 0, y);
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
            let weights = weights::<S, B>(simd, panel, start + k);
            tile[k..k + step].copy_from_slice(&weights[..step]);
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
            even = simd.multiply_add_columns(weights[0], &x[0], even);
            odd = simd.multiply_add_columns(weights[1], &x[1], odd);
        }
        for (&weights, x) in last.iter().zip(last_x) {
            even = simd.multiply_add_columns(weights, x, even);
        }
        for c in 0..W {
            even[c] = simd.add_float(even[c], odd[c]);
        }
        self.sums.add(simd, self.columns.start, even);
    }
}
