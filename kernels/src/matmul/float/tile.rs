//! Many columns of float weights: tiles of widened weights, or of pairs, rows across lanes.

use crate::activations::Activations;
use crate::formats::SUPER;
use crate::isa::{Lanes, Task, WIDTH};
use crate::matmul::ahead::Ahead;
use crate::matmul::tiled::{OfWidth, Panel, Sums, Tiled, by_width};
use crate::matmul::{ROWS_MULTIPLE, Rows};
use crate::unpack::unrolled;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Index, Range};

/// From a class of weights to the one whose sum is made beside its own.
const HALF: usize = WIDTH / 2;

/// The order of the first eight classes. Sums of classes 8 apart are added, then 4, 2 and 1 apart; so
/// as few as possible wait for their partners.
const CLASSES: [usize; HALF] = [0, 4, 2, 6, 1, 5, 3, 7];

/// Bytes of the first-level cache that two tiles must leave for columns and sums.
const BESIDE_TILES: usize = 16 << 10;

/// What a tile is made of, and how it is multiplied.
pub(super) trait Elements<S: Lanes> {
    /// Bytes of a weight.
    const BYTES: usize;

    /// Rows end with zeros, up to a whole number of so many weights.
    const UNIT: usize;

    /// Weights of an element.
    const PER_ELEMENT: usize;

    /// Whether [`Elements::Exactly`] is needed where [`Elements::any_too_small`].
    const WATCHES: bool = false;

    /// What one column's activations of an element are.
    type Number: Copy + 'static;

    /// Some consecutive weights of each row.
    type Element: Copy;

    /// The same elements, for weights of any size.
    type Exactly: Elements<S, Number = Self::Number, Element = Self::Element>;

    /// The activations of a panel.
    fn panel<'x>(x: &'x Activations, columns: &Range<usize>) -> &'x [Self::Number];

    /// An element of zeros.
    fn nothing(simd: S) -> Self::Element;

    /// Puts the weights in sixteen bytes of each row into a tile, in the order of activations; the
    /// first is number `k` of the block, and rows are where they begin and how far apart.
    ///
    /// # Safety
    ///
    /// As for [`Lanes::gather16`].
    unsafe fn gather(
        simd: S,
        rows: (*const u8, usize),
        tile: &mut [Self::Element; SUPER],
        k: usize,
    );

    /// Whether there is a weight that [`Elements::multiply_add`] is not exact with.
    #[inline(always)]
    fn any_too_small(_: S, _elements: &[Self::Element]) -> bool {
        false
    }

    /// Adds to the sums of each of `N` tiles the products of its element with the number of each column.
    fn multiply_add<const W: usize, const N: usize>(
        simd: S,
        elements: [Self::Element; N],
        x: &[Self::Number; W],
        sums: &mut [[S::Float; W]; N],
    );
}

/// A block of weights.
pub(super) struct Tile<E> {
    /// Pairs fill half of it.
    elements: [E; SUPER],
    too_small: bool,
}

/// Marks elements that tiles are made of.
pub(super) struct Tiles<T>(PhantomData<T>);

impl<S: Lanes, T: Elements<S>> Tiled<S> for Tiles<T> {
    type Tile = Tile<T::Element>;

    const BLOCK_BYTES: usize = SUPER * T::BYTES;

    #[inline(always)]
    fn tiles(near: usize) -> usize {
        let bytes = SUPER / T::PER_ELEMENT * size_of::<T::Element>();
        match S::FLOAT_TILES * bytes + BESIDE_TILES <= near {
            true => S::FLOAT_TILES,
            false => 1,
        }
    }

    #[inline(always)]
    fn tile(simd: S) -> Self::Tile {
        Tile {
            elements: [T::nothing(simd); SUPER],
            too_small: false,
        }
    }

    #[inline(always)]
    fn times(_tiles: usize, panels: usize) -> usize {
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
        let start = block * SUPER;
        let weights = padded::<S, T>(panel.cols, block);
        for k in (0..weights).step_by(16 / T::BYTES) {
            sixteen_bytes::<S, T>(simd, panel, start + k, (&mut tile.elements, k));
        }
        if T::WATCHES {
            let elements = &tile.elements[..weights / T::PER_ELEMENT];
            tile.too_small = T::any_too_small(simd, elements);
        }
    }

    #[inline(always)]
    fn multiply(
        simd: S,
        rows: &Rows<'_>,
        tiles: &[Self::Tile],
        mut sums: Sums<'_>,
        ahead: &mut Ahead,
    ) {
        let weights = padded::<S, T>(rows.weights.cols(), sums.block);
        let elements = |tile: usize| &tiles[tile].elements[..weights / T::PER_ELEMENT];
        let too_small = T::WATCHES && tiles.iter().any(|tile| tile.too_small);
        let panels = rows.x.panels();
        for panel in sums.panels.clone() {
            ahead.ask(simd);
            let columns = panels.get(panel);
            if S::FLOAT_TILES == 2 && tiles.len() == 2 && panel < panels.full() && !too_small {
                let both = (0, [elements(0), elements(1)]);
                simd.call(Columns::<_, T, 2>::new(rows, both, columns, &mut sums));
                continue;
            }
            for tile in 0..tiles.len() {
                let (one, columns) = ((tile, [elements(tile)]), columns.clone());
                if too_small {
                    let task = Columns::<_, T::Exactly, 1>::new(rows, one, columns, &mut sums);
                    by_width(simd, task.columns.len(), task);
                } else {
                    let task = Columns::<_, T, 1>::new(rows, one, columns, &mut sums);
                    by_width(simd, task.columns.len(), task);
                }
            }
        }
    }
}

/// Puts sixteen bytes of every row, those of the weights from number `weight` on, into a tile from
/// place `k` on; behind the end of a row weights are 0.
#[inline(always)]
fn sixteen_bytes<S: Lanes, T: Elements<S>>(
    simd: S,
    panel: &Panel<'_>,
    weight: usize,
    (tile, k): (&mut [T::Element; SUPER], usize),
) {
    let offset = weight * T::BYTES;
    if offset + 16 <= panel.stride {
        // SAFETY: there are `S::ROWS` rows of `stride` bytes, and the sixteen lie within each.
        unsafe {
            let base = panel.base.add(offset);
            return T::gather(simd, (base, panel.stride), tile, k);
        }
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
    unsafe { T::gather(simd, (copies.as_ptr().cast(), 16), tile, k) }
}

/// Weights of a block of rows of `cols` weights, with zeros up to a whole number of each class.
#[inline(always)]
fn padded<S: Lanes, T: Elements<S>>(cols: usize, block: usize) -> usize {
    (cols - block * SUPER).min(SUPER).next_multiple_of(T::UNIT)
}

/// `N` tiles to multiply with one panel of columns.
struct Columns<'r, 'a, 's, 'y, E, T, const N: usize> {
    rows: &'r Rows<'a>,
    /// The number of the first tile.
    first: usize,
    tiles: [&'r [E]; N],
    columns: Range<usize>,
    sums: &'s mut Sums<'y>,
    elements: PhantomData<T>,
}

impl<'r, 'a, 's, 'y, E, T, const N: usize> Columns<'r, 'a, 's, 'y, E, T, N> {
    #[inline(always)]
    fn new(
        rows: &'r Rows<'a>,
        (first, tiles): (usize, [&'r [E]; N]),
        columns: Range<usize>,
        sums: &'s mut Sums<'y>,
    ) -> Self {
        Columns {
            rows,
            first,
            tiles,
            columns,
            sums,
            elements: PhantomData,
        }
    }
}

impl<S: Lanes, T: Elements<S>> OfWidth<S> for Columns<'_, '_, '_, '_, T::Element, T, 1> {
    #[inline(always)]
    fn run<const W: usize>(self, simd: S) {
        self.multiply::<S, W>(simd);
    }
}

impl<S: Lanes, T: Elements<S>> Task<S> for Columns<'_, '_, '_, '_, T::Element, T, 2> {
    /// With a full panel.
    #[inline(always)]
    fn run(self, simd: S) {
        if const { S::FLOAT_TILES == 2 && S::FULL_COLUMNS == 6 } {
            self.multiply::<S, 6>(simd);
        } else if const { S::FLOAT_TILES == 2 && S::FULL_COLUMNS == 4 } {
            self.multiply::<S, 4>(simd);
        } else {
            unreachable!("two tiles and {} columns", S::FULL_COLUMNS);
        }
    }
}

impl<E: Copy, T, const N: usize> Columns<'_, '_, '_, '_, E, T, N> {
    #[inline(always)]
    fn multiply<S: Lanes, const W: usize>(self, simd: S)
    where
        T: Elements<S, Element = E>,
    {
        let block = self.sums.block * (SUPER / T::PER_ELEMENT);
        let x = &T::panel(self.rows.x, &self.columns)[block * W..];
        let (x, _) = x.as_chunks::<W>();
        let x = &x[..self.tiles[0].len()];
        let len = self.rows.x.column_len().next_multiple_of(T::UNIT) / T::PER_ELEMENT;
        // Sums that wait for their partners: of two classes, of four, of eight.
        let mut waiting = [const { MaybeUninit::<[[S::Float; W]; N]>::uninit() }; 3];
        let mut sum = [[simd.splat_float(0.0); W]; N];
        for (place, class) in CLASSES.into_iter().enumerate() {
            // What comes next: another class of these columns, at last the first of the next panel's.
            let next = match CLASSES.get(place + 1) {
                Some(&class) => x.as_ptr().wrapping_add(class),
                None => x.as_ptr().wrapping_add(len),
            };
            let mut tiles = self.tiles;
            for tile in &mut tiles {
                *tile = &tile[class..];
            }
            let x = &x[class..];
            sum = match T::PER_ELEMENT {
                1 => two_classes::<S, T, W, N, SPAN>(simd, tiles, x, next),
                _ => two_classes::<S, T, W, N, SPAN_OF_PAIRS>(simd, tiles, x, next),
            };
            let mut level = 0;
            while place >> level & 1 == 1 {
                // SAFETY: where a bit of the place is set, the sum of the places without it, and
                // with the same bits above, has been made and waits.
                let first = unsafe { waiting[level].assume_init_ref() };
                sum = add(simd, *first, sum);
                level += 1;
            }
            if let Some(waiting) = waiting.get_mut(level) {
                waiting.write(sum);
            }
        }
        for (tile, sum) in sum.into_iter().enumerate() {
            let at = (self.first + tile, self.columns.start);
            self.sums.add(simd, at, sum);
        }
    }
}

/// From the first element of a class to the last one of the class beside it, in a whole block.
const SPAN: usize = SUPER - HALF + 1;

/// The same, where elements are pairs.
const SPAN_OF_PAIRS: usize = SUPER / 2 - HALF + 1;

/// The sums of the products of a class and of the one beside it; `tiles` and `x` begin with the
/// class's first. In a whole block they are `LEN` long, or longer.
#[inline(always)]
fn two_classes<S: Lanes, T: Elements<S>, const W: usize, const N: usize, const LEN: usize>(
    simd: S,
    tiles: [&[T::Element]; N],
    x: &[[T::Number; W]],
    next: *const [T::Number; W],
) -> [[S::Float; W]; N] {
    let (Some(first), Some(x)) = (tiles[0].first_chunk(), x.first_chunk()) else {
        return rest_of_classes::<S, T, W, N>(simd, tiles, x);
    };
    let mut whole = [first; N];
    for (whole, tile) in whole.iter_mut().zip(tiles) {
        *whole = tile.first_chunk().expect("tiles of the same length");
    }
    whole_classes::<S, T, W, N, LEN>(simd, whole, x, next)
}

/// The same, of a whole block.
#[inline(always)]
fn whole_classes<S: Lanes, T: Elements<S>, const W: usize, const N: usize, const LEN: usize>(
    simd: S,
    tiles: [&[T::Element; LEN]; N],
    x: &[[T::Number; W]; LEN],
    next: *const [T::Number; W],
) -> [[S::Float; W]; N] {
    let mut sums = [[[simd.splat_float(0.0); W]; N]; 2];
    // Without a loop's end to foresee, one class follows the other without a pause.
    unrolled!(I in 16, {
        const K: usize = I * WIDTH;
        if K < LEN {
            simd.prefetch_near(next.wrapping_add(K).cast());
            simd.prefetch_near(next.wrapping_add(K + HALF).cast());
            T::multiply_add(simd, at(tiles, K), &x[K], &mut sums[0]);
            if N == 1 {
                T::multiply_add(simd, at(tiles, K + HALF), &x[K + HALF], &mut sums[1]);
            }
        }
    });
    // The sums of two tiles are enough that none waits for another.
    if N > 1 {
        unrolled!(I in 16, {
            const K: usize = I * WIDTH + HALF;
            if K < LEN {
                T::multiply_add(simd, at(tiles, K), &x[K], &mut sums[1]);
            }
        });
    }
    let [first, second] = sums;
    add(simd, first, second)
}

/// The elements in a place of each tile.
#[inline(always)]
fn at<A: Index<usize, Output: Copy> + ?Sized, const N: usize>(
    tiles: [&A; N],
    place: usize,
) -> [A::Output; N] {
    let mut elements = [tiles[0][place]; N];
    for (element, tile) in elements.iter_mut().zip(tiles) {
        *element = tile[place];
    }
    elements
}

/// The same as [`whole_classes`], of a block of any length.
#[inline(always)]
fn rest_of_classes<S: Lanes, T: Elements<S>, const W: usize, const N: usize>(
    simd: S,
    tiles: [&[T::Element]; N],
    x: &[[T::Number; W]],
) -> [[S::Float; W]; N] {
    let mut sums = [[[simd.splat_float(0.0); W]; N]; 2];
    for (i, x) in x.chunks(WIDTH).enumerate() {
        for (half, sums) in sums.iter_mut().enumerate() {
            let place = half * HALF;
            T::multiply_add(simd, at(tiles, i * WIDTH + place), &x[place], sums);
        }
    }
    let [first, second] = sums;
    add(simd, first, second)
}

/// The sums of two classes, added.
#[inline(always)]
fn add<S: Lanes, const W: usize, const N: usize>(
    simd: S,
    mut sums: [[S::Float; W]; N],
    others: [[S::Float; W]; N],
) -> [[S::Float; W]; N] {
    for (sums, others) in sums.iter_mut().zip(others) {
        for c in 0..W {
            sums[c] = simd.add_float(sums[c], others[c]);
        }
    }
    sums
}
