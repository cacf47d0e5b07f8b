//! Many columns: the loops over panels of rows, blocks of weights and panels of columns.
//!
//! For every 128 rows and block of 256 weights, the weights of one panel of rows after the other are
//! unpacked into a tile, and the tile is multiplied with all columns. So the columns' words of a
//! block are read from the second-level cache for all panels but the first, and every tile from the
//! first-level cache for all columns but the first. Sums lie in a buffer in the order in which they
//! are used; in the matrix of results, whose columns are long, they would lie a page apart. Who wants
//! the sums as they lie there gives the buffer.

#![allow(unsafe_code)]

use super::ahead::Ahead;
use super::{ROOMY, ROWS_MULTIPLE, Rows};
use crate::formats::SUPER;
use crate::isa::{Lanes, Task};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr;

/// Rows whose sums are in the buffer at once, if there are many columns.
const ROWS: usize = 128;

/// Columns whose sums are in the buffer at once.
pub(super) const COLUMNS: usize = 512;

/// The largest width of a panel of columns.
pub(super) const WIDEST: usize = 8;

/// Columns between the one whose results are written and the one whose place is asked for.
const WRITTEN_AHEAD: usize = 16;

/// With fewer columns, weights are used so little that they must come from memory in the order in
/// which they lie there: one panel of rows at a time.
const FEW: usize = 32;

const _: () = assert!(ROWS.is_multiple_of(ROWS_MULTIPLE));

/// Consecutive rows of a matrix, as many as a vector has lanes.
pub(super) struct Panel<'a> {
    pub(super) base: *const u8,
    /// Bytes from a row to the next.
    pub(super) stride: usize,
    /// Weights of a row.
    pub(super) cols: usize,
    /// The rows whose results are wanted. Where there are fewer than lanes, the first lanes are
    /// rows before them.
    pub(super) rows: Range<usize>,
    /// Lanes before those of the rows that are wanted.
    pub(super) skip: usize,
    bytes: PhantomData<&'a u8>,
}

impl<'a> Panel<'a> {
    /// The panels of some rows, of a matrix that has at least as many rows as a vector has lanes.
    #[inline(always)]
    pub(super) fn all<S: Lanes>(
        matrix: &Rows<'a>,
        rows: Range<usize>,
    ) -> impl Iterator<Item = Panel<'a>> {
        let step = rows.clone().step_by(S::ROWS);
        step.map(move |row| Panel::first::<S>(matrix, row..rows.end))
    }

    /// The first panel of some rows.
    #[inline(always)]
    fn first<S: Lanes>(matrix: &Rows<'a>, rows: Range<usize>) -> Panel<'a> {
        let weights = matrix.weights;
        assert!(weights.rows >= S::ROWS && rows.end <= weights.rows);
        let first = rows.start.min(weights.rows - S::ROWS);
        let bytes = &weights.bytes[first * weights.row_bytes..];
        Panel {
            base: bytes.as_ptr(),
            stride: weights.row_bytes,
            cols: weights.cols,
            rows: rows.start..rows.end.min(rows.start + S::ROWS),
            skip: rows.start - first,
            bytes: PhantomData,
        }
    }

    /// Where the rows begin that are multiplied `panels` panels after this one.
    #[inline(always)]
    pub(super) fn after<S: Lanes>(&self, matrix: &Rows<'_>, panels: usize) -> *const u8 {
        let row = self.rows.start + panels * S::ROWS;
        match row.checked_sub(matrix.rows.end) {
            None => matrix.weights.start_of(row),
            Some(beyond) => {
                let rows = beyond / S::ROWS * S::ROWS;
                matrix.then.wrapping_add(rows * self.stride)
            }
        }
    }
}

/// Weights that can be unpacked into tiles, one block of 256 of each row of a panel at a time.
pub(super) trait Tiled<S: Lanes> {
    /// Unpacked weights.
    type Tile;

    /// Bytes of 256 weights of a row.
    const BLOCK_BYTES: usize;

    /// How many tiles are multiplied at once, one or two, where the first-level cache holds `near` bytes.
    fn tiles(near: usize) -> usize;

    /// A tile of nothing.
    fn tile(simd: S) -> Self::Tile;

    /// How many times [`Tiled::unpack`] of so many tiles and [`Tiled::multiply`] with so many panels of
    /// columns let `ahead` ask.
    fn times(tiles: usize, panels: usize) -> usize;

    /// Unpacks a block; `full_panels` tells whether there are panels of columns of full width.
    fn unpack(
        simd: S,
        at: (&Panel<'_>, usize),
        tile: &mut Self::Tile,
        full_panels: bool,
        ahead: &mut Ahead,
    );

    /// Adds to the sums the products of the tiles with their columns: of [`Tiled::tiles`], or of one.
    fn multiply(simd: S, rows: &Rows<'_>, tiles: &[Self::Tile], sums: Sums<'_>, ahead: &mut Ahead);
}

/// The sums of the panels of rows that are multiplied at once, over the blocks so far.
pub(super) struct Sums<'y> {
    /// The block that is to be added.
    pub(super) block: usize,
    /// The panels of columns.
    pub(super) panels: Range<usize>,
    /// The columns.
    columns: Range<usize>,
    /// Nothing yet before the first block.
    values: &'y mut [MaybeUninit<f32>], // (panels of rows, columns, rows of a vector)
}

impl Sums<'_> {
    /// Adds the products of `W` columns from `column` on with tile number `tile`.
    #[inline(always)]
    pub(super) fn add<S: Lanes, const W: usize>(
        &mut self,
        simd: S,
        (tile, column): (usize, usize),
        t: [S::Float; W],
    ) {
        let first = self.block == 0;
        let [place] = self.places::<S, 1>(tile, column..column + W);
        // SAFETY: they are the sums of these columns, which the first block has written.
        unsafe { add(simd, place, t, first) }
    }

    /// Where the sums of these columns lie, column after column, for each of `T` tiles from number
    /// `tile` on.
    #[inline(always)]
    pub(super) fn places<S: Lanes, const T: usize>(
        &mut self,
        tile: usize,
        columns: Range<usize>,
    ) -> [*mut f32; T] {
        let per_tile = self.columns.len() * S::ROWS;
        let first = (columns.start - self.columns.start) * S::ROWS;
        let count = columns.len() * S::ROWS;
        let values = self.values.as_mut_ptr().cast::<f32>();
        let mut places = [values; T];
        for (i, place) in places.iter_mut().enumerate() {
            let start = (tile + i) * per_tile + first;
            assert!(start + count <= self.values.len());
            *place = values.wrapping_add(start);
        }
        places
    }
}

/// Adds sums of `W` columns to those at `place`, of which there are none yet if they are the `first`.
///
/// # Safety
///
/// `place` has `W` vectors, which have been written unless they are the first.
#[inline(always)]
pub(super) unsafe fn add<S: Lanes, const W: usize>(
    simd: S,
    place: *mut f32,
    t: [S::Float; W],
    first: bool,
) {
    for (c, t) in t.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let y = place.add(c * S::ROWS);
            let before = match first {
                true => simd.splat_float(0.0),
                false => simd.load_float(y),
            };
            simd.store_float(y, simd.add_float(t, before));
        }
    }
}

/// The product of the rows with all columns.
pub(super) fn many_columns<'r, 'a, S: Lanes, T: Tiled<S>>(
    rows: &'r Rows<'a>,
) -> impl Task<S> + use<'r, 'a, S, T> {
    ManyColumns::<T> {
        rows,
        weights: PhantomData,
    }
}

struct ManyColumns<'r, 'a, T> {
    rows: &'r Rows<'a>,
    weights: PhantomData<T>,
}

impl<S: Lanes, T: Tiled<S>> Task<S> for ManyColumns<'_, '_, T> {
    #[inline(always)]
    fn run(self, simd: S) {
        let rows = self.rows;
        let panels = rows.x.panels();
        let mut buffer = [const { MaybeUninit::<f32>::uninit() }; ROWS * COLUMNS];
        // SAFETY: nobody else multiplies these rows with these columns, whose sums are all of it.
        let mut kept = rows
            .sums
            .then(|| unsafe { uninit(rows.out.piece(0..rows.out.len())) });
        let mut room = [const { MaybeUninit::<T::Tile>::uninit() }; 2];
        let room = &mut room[..T::tiles(rows.near)];
        for tile in &mut *room {
            tile.write(T::tile(simd));
        }
        // SAFETY: all of them have been written.
        let tiles = unsafe { &mut *(ptr::from_mut(room) as *mut [T::Tile]) };
        let mut first = rows.panels.start;
        while first < rows.panels.end {
            // As many panels of columns as fit the buffer.
            let start = panels.get(first).start;
            let mut last = first + 1;
            while last < rows.panels.end && panels.get(last).end <= start + COLUMNS {
                last += 1;
            }
            let columns = start..panels.get(last - 1).end;
            let at_once = match columns.len() {
                ..FEW => S::ROWS,
                _ => ROWS,
            };
            let mut row = rows.rows.start;
            while row < rows.rows.end {
                let end = rows.rows.end.min(row + at_once);
                let strip = Strip {
                    rows: row..end,
                    panels: first..last,
                    columns: columns.clone(),
                };
                if let Some(kept) = &mut kept {
                    let values = kept.split_off_mut(..strip.values::<S>());
                    let values = values.expect("room for the sums of all rows");
                    strip.multiply::<S, T>(simd, rows, tiles, values);
                } else {
                    let values = &mut buffer[..strip.values::<S>()];
                    strip.multiply::<S, T>(simd, rows, tiles, values);
                    strip.store(simd, rows, values);
                }
                row = end;
            }
            first = last;
        }
    }
}

/// Rows and columns whose sums are in the buffer.
struct Strip {
    rows: Range<usize>,
    panels: Range<usize>,
    columns: Range<usize>,
}

/// What may be written without being read before.
fn uninit(floats: &mut [f32]) -> &mut [MaybeUninit<f32>] {
    let floats = ptr::from_mut(floats) as *mut [MaybeUninit<f32>];
    // SAFETY: what it is made of is reached through it alone while it lives, and nobody writes
    // anything to it that is no number.
    unsafe { &mut *floats }
}

impl Strip {
    /// How many sums there are, those of lanes that are no rows of the strip with them.
    #[inline(always)]
    fn values<S: Lanes>(&self) -> usize {
        self.rows.len().div_ceil(S::ROWS) * self.columns.len() * S::ROWS
    }

    /// Makes the sums.
    #[inline(always)]
    fn multiply<S: Lanes, T: Tiled<S>>(
        &self,
        simd: S,
        rows: &Rows<'_>,
        tiles: &mut [T::Tile],
        values: &mut [MaybeUninit<f32>],
    ) {
        let full_panels = self.panels.start < rows.x.panels().full();
        let per_panel = self.columns.len() * S::ROWS;
        let blocks = rows.weights.cols().div_ceil(SUPER);
        for block in 0..blocks {
            let mut left = self.rows.clone();
            for values in values.chunks_mut(tiles.len() * per_panel) {
                let tiles = &mut tiles[..values.len() / per_panel];
                let times = T::times(tiles.len(), self.panels.len());
                let panel = Panel::first::<S>(rows, left.clone());
                let mut ahead = if self.columns.len() < FEW {
                    // This block's share of the next panel, and of the one after it.
                    let bytes = T::BLOCK_BYTES * S::ROWS;
                    let places = [1, 2].map(|panels| {
                        let next = panel.after::<S>(rows, panels);
                        next.wrapping_add(block * bytes)
                    });
                    Ahead::of_both(places, bytes, times)
                } else {
                    // The same block of the rows that come next, behind the last the next of the first, at
                    // last the first block of the next strip.
                    let strip = Panel::first::<S>(rows, self.rows.clone());
                    let behind = tiles.len() * S::ROWS;
                    let next = if left.len() > behind {
                        let rows = panel.base.wrapping_add(behind * panel.stride);
                        rows.wrapping_add(block * T::BLOCK_BYTES)
                    } else if block + 1 < blocks {
                        strip.base.wrapping_add((block + 1) * T::BLOCK_BYTES)
                    } else {
                        strip.after::<S>(rows, ROWS / S::ROWS)
                    };
                    let bytes = T::BLOCK_BYTES.min(panel.stride);
                    let (many, near) = (tiles.len() * S::ROWS, rows.near >= ROOMY);
                    Ahead::of_rows(next, (many, panel.stride), bytes, (times, near))
                };
                for tile in &mut *tiles {
                    let panel = Panel::first::<S>(rows, left.clone());
                    T::unpack(simd, (&panel, block), tile, full_panels, &mut ahead);
                    left.start += S::ROWS;
                }
                let sums = Sums {
                    block,
                    panels: self.panels.clone(),
                    columns: self.columns.clone(),
                    values,
                };
                T::multiply(simd, rows, tiles, sums, &mut ahead);
            }
        }
    }

    /// Writes the sums to the results.
    #[inline(always)]
    fn store<S: Lanes>(&self, simd: S, rows: &Rows<'_>, values: &[MaybeUninit<f32>]) {
        let per_panel = self.columns.len() * S::ROWS;
        let whole = self.rows.start..self.rows.end - self.rows.len() % S::ROWS;
        // Column by column, as the results lie in memory. Whoever writes to memory must have the line
        // first, and the lines of a column lie far from those of the next.
        for (c, column) in self.columns.clone().enumerate() {
            rows.expect(simd, &self.rows, column + WRITTEN_AHEAD);
            let mut from = c * S::ROWS;
            for results in rows
                .results(column, whole.clone())
                .chunks_exact_mut(S::ROWS)
            {
                let sums = &values[from..from + S::ROWS];
                // SAFETY: both are as many floats as a vector has, and the sums have been written: there
                // is at least one block, and each is multiplied with all columns.
                unsafe {
                    let sums = simd.load_float(sums.as_ptr().cast());
                    simd.store_float(results.as_mut_ptr(), sums);
                }
                from += per_panel;
            }
        }
        if whole.end < self.rows.end {
            let panel = Panel::first::<S>(rows, whole.end..self.rows.end);
            let values = &values[values.len() - per_panel..];
            for (c, column) in self.columns.clone().enumerate() {
                let sums = &values[c * S::ROWS..(c + 1) * S::ROWS];
                // SAFETY: as above.
                let sums = unsafe { simd.load_float(sums.as_ptr().cast()) };
                rows.store(simd, &panel, column, sums);
            }
        }
    }
}

/// Something to do with a panel of `W` columns.
pub(super) trait OfWidth<S: Lanes> {
    /// Implementations are `#[inline(always)]`.
    fn run<const W: usize>(self, simd: S);
}

/// Runs `task` for a panel of `width` columns, each width as a function of its own.
#[inline(always)]
pub(super) fn by_width<S: Lanes>(simd: S, width: usize, task: impl OfWidth<S>) {
    struct Of<T, const W: usize>(T);
    impl<S: Lanes, T: OfWidth<S>, const W: usize> Task<S> for Of<T, W> {
        #[inline(always)]
        fn run(self, simd: S) {
            if const { W <= S::COLUMNS } {
                self.0.run::<W>(simd);
            }
        }
    }
    match width {
        1 => simd.call(Of::<_, 1>(task)),
        2 => simd.call(Of::<_, 2>(task)),
        3 => simd.call(Of::<_, 3>(task)),
        4 => simd.call(Of::<_, 4>(task)),
        5 => simd.call(Of::<_, 5>(task)),
        6 => simd.call(Of::<_, 6>(task)),
        7 => simd.call(Of::<_, 7>(task)),
        8 => simd.call(Of::<_, 8>(task)),
        width => unreachable!("a panel of {width} columns"),
    }
}
