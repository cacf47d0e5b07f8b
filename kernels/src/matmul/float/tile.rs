//! Many columns of float weights: tiles of widened weights, rows across lanes.

use super::Widen;
use crate::formats::SUPER;
use crate::isa::{Lanes, WIDTH};
use crate::matmul::ahead::Ahead;
use crate::matmul::tiled::{OfWidth, Panel, Sums, Tiled, by_width};
use crate::matmul::{ROWS_MULTIPLE, Rows};
use crate::unpack::unrolled;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// From a class of weights to the one whose sum is made beside its own.
const HALF: usize = WIDTH / 2;

/// The order of the first eight classes. Sums of classes 8 apart are added, then 4, 2 and 1 apart; so
/// as few as possible wait for their partners.
const CLASSES: [usize; HALF] = [0, 4, 2, 6, 1, 5, 3, 7];

/// The weights from number `k` of every row on, as many as sixteen bytes hold; behind the end of a
/// row they are 0.
#[inline(always)]
fn weights<S: Lanes, B: Widen>(simd: S, panel: &Panel<'_>, k: usize) -> [S::Float; 8] {
    let offset = k * B::BYTES;
    if offset + 16 <= panel.stride {
        // SAFETY: there are `S::ROWS` rows of `stride` bytes, and the sixteen lie within each.
        return unsafe { B::gather(simd, panel.base.add(offset), panel.stride) };
    }
    let mut copies = [[0u8; 16]; ROWS_MULTIPLE];
    if let Some(rest) = panel.stride.checked_sub(offset) {
        for (r, copy) in copies[..S::ROWS].iter_mut().enumerate() {
            // SAFETY: the row is one of the panel's, and its bytes from `offset` on are as many.
            unsafe {
                let from = panel.base.add(r * panel.stride + offset);
                std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), rest);
            }
        }
    }
    // SAFETY: `copies` holds sixteen bytes for each of at least `S::ROWS` rows.
    unsafe { B::gather(simd, copies.as_ptr().cast(), 16) }
}

/// Marks a float format as what a tile is made of.
pub(super) struct Float<B>(PhantomData<B>);

impl<S: Lanes, B: Widen> Tiled<S> for Float<B> {
    type Tile = [S::Float; SUPER];

    const BLOCK_BYTES: usize = SUPER * B::BYTES;

    #[inline(always)]
    fn tile(simd: S) -> Self::Tile {
        [simd.splat_float(0.0); SUPER]
    }

    #[inline(always)]
    fn times(panels: usize) -> usize {
        panels
    }

    #[inline(always)]
    fn unpack(
        simd: S,
        (panel, block): (&Panel<'_>, usize),
        tile: &mut Self::Tile,
        _: bool,
        _: &mut Ahead,
    ) {
        let step = 16 / B::BYTES;
        let start = block * SUPER;
        for k in (0..padded(panel.cols, block)).step_by(step) {
            let weights = weights::<S, B>(simd, panel, start + k);
            tile[k..k + step].copy_from_slice(&weights[..step]);
        }
    }

    #[inline(always)]
    fn multiply(
        simd: S,
        rows: &Rows<'_>,
        tile: &Self::Tile,
        mut sums: Sums<'_>,
        ahead: &mut Ahead,
    ) {
        let tile = &tile[..padded(rows.weights.cols(), sums.block)];
        for panel in sums.panels.clone() {
            ahead.ask(simd);
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

/// Weights of a block of rows of `cols` weights, with zeros up to a whole number of each class.
#[inline(always)]
fn padded(cols: usize, block: usize) -> usize {
    (cols - block * SUPER).min(SUPER).next_multiple_of(WIDTH)
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
        // Sums that wait for their partners: of two classes, of four, of eight.
        let mut waiting = [const { MaybeUninit::<[S::Float; W]>::uninit() }; 3];
        let mut sum = [simd.splat_float(0.0); W];
        for (place, class) in CLASSES.into_iter().enumerate() {
            // What comes next: another class of these columns, at last the first of the next panel's.
            let next = match CLASSES.get(place + 1) {
                Some(&class) => x.as_ptr().wrapping_add(class),
                None => x
                    .as_ptr()
                    .wrapping_add(self.rows.x.column_len().next_multiple_of(WIDTH)),
            };
            sum = match (self.tile[class..].first_chunk(), x[class..].first_chunk()) {
                (Some(tile), Some(x)) => whole_class(simd, tile, x, next),
                _ => class_of(simd, &self.tile[class..], &x[class..]),
            };
            let mut level = 0;
            while place >> level & 1 == 1 {
                // SAFETY: where a bit of the place is set, the sum of the places without it, and
                // with the same bits above, has been made and waits.
                let first = unsafe { waiting[level].assume_init_ref() };
                for c in 0..W {
                    sum[c] = simd.add_float(first[c], sum[c]);
                }
                level += 1;
            }
            if let Some(waiting) = waiting.get_mut(level) {
                waiting.write(sum);
            }
        }
        self.sums.add(simd, self.columns.start, sum);
    }
}

/// From the first weight of a class to the last one of the class beside it, in a whole block.
const SPAN: usize = SUPER - HALF + 1;

/// The sums of the products of a class and of the one beside it, of a whole block; `tile` and `x`
/// begin with the class's first.
#[inline(always)]
fn whole_class<S: Lanes, const W: usize>(
    simd: S,
    tile: &[S::Float; SPAN],
    x: &[[f32; W]; SPAN],
    next: *const [f32; W],
) -> [S::Float; W] {
    let mut sums = [[simd.splat_float(0.0); W]; 2];
    // Without a loop's end to foresee, one class follows the other without a pause.
    unrolled!(I in 16, {
        const K: usize = I * WIDTH;
        simd.prefetch_near(next.wrapping_add(K).cast());
        simd.prefetch_near(next.wrapping_add(K + HALF).cast());
        sums[0] = simd.multiply_add_columns(tile[K], &x[K], sums[0]);
        sums[1] = simd.multiply_add_columns(tile[K + HALF], &x[K + HALF], sums[1]);
    });
    both(simd, sums)
}

/// The same, of a block of any length.
#[inline(always)]
fn class_of<S: Lanes, const W: usize>(simd: S, tile: &[S::Float], x: &[[f32; W]]) -> [S::Float; W] {
    let mut sums = [[simd.splat_float(0.0); W]; 2];
    for (weights, x) in tile.chunks(WIDTH).zip(x.chunks(WIDTH)) {
        sums[0] = simd.multiply_add_columns(weights[0], &x[0], sums[0]);
        sums[1] = simd.multiply_add_columns(weights[HALF], &x[HALF], sums[1]);
    }
    both(simd, sums)
}

/// The sums of two classes, added.
#[inline(always)]
fn both<S: Lanes, const W: usize>(simd: S, [mut sum, second]: [[S::Float; W]; 2]) -> [S::Float; W] {
    for c in 0..W {
        sum[c] = simd.add_float(sum[c], second[c]);
    }
    sum
}
