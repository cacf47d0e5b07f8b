//! The micro-kernel: one or two tiles of quantized weights times a panel of columns, the sums of all
//! rows and columns in registers.

use super::tile::{InTile, Tile, flips, offset, scaled};
use super::words::Words;
use super::{GROUPS, halves};
use crate::activations::{VARIANTS, part};
use crate::formats::SUPER;
use crate::isa::{Lanes, Task};
use crate::matmul::Rows;
use crate::matmul::ahead::Ahead;
use crate::matmul::tiled::{OfWidth, Sums, WIDEST, add, by_width};
use crate::unpack::{Group, Layout, Mins};
use std::marker::PhantomData;
use std::ops::Range;

/// Words of a cache line.
const LINE: usize = 16;

/// Adds to the sums the products of the tiles with all their columns.
#[inline(always)]
pub(super) fn all_columns<S: Lanes, L: Layout>(
    simd: S,
    rows: &Rows<'_>,
    tiles: &[Tile<S>],
    mut sums: Sums<'_>,
    ahead: &mut Ahead,
) {
    let panels = sums.panels.clone();
    let of_x = rows.x.panels();
    let full = match S::ROWS {
        // The widths of panels are those of another instruction set, if rows are multiplied one at a
        // time because they are so few.
        1 => panels.start,
        _ => of_x.full().clamp(panels.start, panels.end),
    };
    if panels.start < full {
        let panels = panels.start..full;
        let (sums, ahead) = (&mut sums, &mut *ahead);
        if S::TILES == 2
            && let [first, second] = tiles
        {
            simd.call(FullPanels::<S, L, 2> {
                rows,
                tiles: [first, second],
                panels,
                sums,
                ahead,
                layout: PhantomData,
            });
        } else {
            simd.call(FullPanels::<S, L, 1> {
                rows,
                tiles: [&tiles[0]],
                panels,
                sums,
                ahead,
                layout: PhantomData,
            });
        }
    }
    for panel in full..panels.end {
        let columns = of_x.get(panel);
        for (number, tile) in tiles.iter().enumerate() {
            let task = Columns::<S, L> {
                rows,
                tile: (number, tile),
                columns: columns.clone(),
                sums: &mut sums,
                ahead,
                layout: PhantomData,
            };
            by_width(simd, task.columns.len(), task);
        }
    }
}

/// `T` tiles to multiply with panels of `S::FULL_COLUMNS` columns.
struct FullPanels<'r, 'a, 's, 'y, S: Lanes, L, const T: usize> {
    rows: &'r Rows<'a>,
    tiles: [&'r Tile<S>; T],
    panels: Range<usize>,
    sums: &'s mut Sums<'y>,
    ahead: &'s mut Ahead,
    layout: PhantomData<L>,
}

impl<S: Lanes, L: Layout, const T: usize> Task<S> for FullPanels<'_, '_, '_, '_, S, L, T> {
    #[inline(always)]
    fn run(self, simd: S) {
        if const { T > S::TILES } {
            unreachable!("{T} tiles at once");
        } else if const { S::SCALES_BY_POWERS && S::FULL_COLUMNS == 6 } {
            self.multiply::<LookedUp, 6>(simd);
        } else if const { S::FULL_COLUMNS == 8 } {
            self.multiply::<Multiplied<true>, 8>(simd);
        } else if const { S::FULL_COLUMNS == 4 } {
            self.multiply::<Multiplied<true>, 4>(simd);
        } else {
            unreachable!("full panels of {} columns", S::FULL_COLUMNS);
        }
    }
}

impl<S: Lanes, L: Layout, const T: usize> FullPanels<'_, '_, '_, '_, S, L, T> {
    #[inline(always)]
    fn multiply<R: Rescale, const W: usize>(self, simd: S) {
        let FullPanels {
            rows, tiles, sums, ..
        } = self;
        let columns = self.panels.start * W..self.panels.end * W;
        let groups = groups(rows, sums.block);
        let words = rows.x.block_codes(sums.block, columns.clone());
        let first = sums.block == 0;
        let mut places = sums.places::<S, T>(0, columns);
        // What a panel needs besides products is little: it takes its time too.
        for words in words.chunks_exact(part::TOTAL * W) {
            self.ahead.ask(simd);
            let t = multiply_block::<S, L, R, W, T>(simd, tiles, words, groups);
            for (place, t) in places.iter_mut().zip(t) {
                // SAFETY: there are as many places as columns of full panels, for each tile, and the first
                // block has written them.
                unsafe {
                    add(simd, *place, t, first);
                    *place = place.add(W * S::ROWS);
                }
            }
        }
    }
}

/// A tile, and its number, to multiply with one panel.
struct Columns<'r, 'a, 's, 'y, S: Lanes, L> {
    rows: &'r Rows<'a>,
    tile: (usize, &'r Tile<S>),
    columns: Range<usize>,
    sums: &'s mut Sums<'y>,
    ahead: &'s mut Ahead,
    layout: PhantomData<L>,
}

impl<S: Lanes, L: Layout> OfWidth<S> for Columns<'_, '_, '_, '_, S, L> {
    #[inline(always)]
    fn run<const W: usize>(self, simd: S) {
        let (number, tile) = self.tile;
        let to = (number, self.sums, self.ahead);
        columns_of::<S, L, Multiplied<false>, W, 1>(simd, self.rows, [tile], self.columns, to);
    }
}

/// Adds the products of `T` tiles, the first of them of number `first`, with the columns of a panel.
#[inline(always)]
fn columns_of<S: Lanes, L: Layout, R: Rescale, const W: usize, const T: usize>(
    simd: S,
    rows: &Rows<'_>,
    tiles: [&Tile<S>; T],
    columns: Range<usize>,
    (first, sums, ahead): (usize, &mut Sums<'_>, &mut Ahead),
) {
    ahead.ask(simd);
    let groups = groups(rows, sums.block);
    let x = rows.x.block_codes(sums.block, columns.clone());
    let plain;
    let x = match rows.x.words() {
        // A matrix of so few rows that it is multiplied one at a time, by portable code.
        words if S::ROWS == 1 && words != S::WORDS => {
            plain = apart::<W>(x, words);
            &plain[..x.len()]
        }
        _ => x,
    };
    let t = multiply_block::<S, L, R, W, T>(simd, tiles, x, groups);
    for (number, t) in t.into_iter().enumerate() {
        sums.add(simd, (first + number, columns.start), t);
    }
}

/// Groups of 32 weights of a block.
#[inline(always)]
fn groups(rows: &Rows<'_>, block: usize) -> usize {
    (rows.weights.cols() - block * SUPER).min(SUPER) / 32
}

/// The words of a panel of which `words` of each column lie together, so that they lie apart.
#[cold]
fn apart<const W: usize>(x: &[i32], words: usize) -> [i32; part::TOTAL * WIDEST] {
    let mut plain = [0; part::TOTAL * WIDEST];
    plain[..x.len()].copy_from_slice(x);
    let codes = part::CODES * W..part::STARTS32 * W;
    let together = x[codes.clone()].chunks_exact(words * W);
    for (to, from) in plain[codes].chunks_exact_mut(words * W).zip(together) {
        for (i, &word) in from.iter().enumerate() {
            let (c, n) = (i / words, i % words);
            to[n * W + c] = word;
        }
    }
    plain
}

/// How a sum of integer products becomes a term of the result: two ways to the same number, as the
/// activations' scale is a mantissa of few digits times a power of two.
trait Rescale {
    /// Whether all panels are full, for which a tile holds more.
    const FULL: bool;

    /// For each tile: `t` of column `c` plus its sum times the scale in `slot` of the tile times the
    /// scale of the column in the group.
    fn add<S: Lanes, const W: usize, const T: usize>(
        simd: S,
        scales: ([&Tile<S>; T], usize),
        of_x: (Words<W>, usize),
        sums: &[[S::Int; W]; T],
        t: &mut [[S::Float; W]; T],
    );

    /// `sum` times the power of two at word `unit` of column `c`.
    fn scale<S: Lanes, const W: usize>(
        simd: S,
        x: Words<W>,
        at: (usize, usize),
        sum: S::Float,
    ) -> S::Float;
}

/// The two scales are multiplied.
enum Multiplied<const FULL: bool> {}

impl<const FULL: bool> Rescale for Multiplied<FULL> {
    const FULL: bool = FULL;

    #[inline(always)]
    fn add<S: Lanes, const W: usize, const T: usize>(
        simd: S,
        (tiles, slot): ([&Tile<S>; T], usize),
        (group, c): (Words<W>, usize),
        sums: &[[S::Int; W]; T],
        t: &mut [[S::Float; W]; T],
    ) {
        let of_x = simd.splat_float(group.float(part::SCALES, c));
        for (i, tile) in tiles.into_iter().enumerate() {
            let scale = simd.multiply_float(tile.scales[slot], of_x);
            t[i][c] = simd.multiply_add_float(simd.to_float(sums[i][c]), scale, t[i][c]);
        }
    }

    #[inline(always)]
    fn scale<S: Lanes, const W: usize>(
        simd: S,
        x: Words<W>,
        (unit, c): (usize, usize),
        sum: S::Float,
    ) -> S::Float {
        simd.multiply_float(sum, simd.splat_float(x.float(unit, c)))
    }
}

/// The product with the mantissa is in a table, and the exponent is added to the sum's: neither
/// occupies the pipes that multiply.
enum LookedUp {}

impl Rescale for LookedUp {
    const FULL: bool = true;

    #[inline(always)]
    fn add<S: Lanes, const W: usize, const T: usize>(
        simd: S,
        (tiles, slot): ([&Tile<S>; T], usize),
        (group, c): (Words<W>, usize),
        sums: &[[S::Int; W]; T],
        t: &mut [[S::Float; W]; T],
    ) {
        let exponent = group.float(part::EXPONENTS, c);
        let variant = group.word(part::VARIANTS, c) as u32 as usize;
        debug_assert!(variant < VARIANTS * S::ROWS);
        for (i, tile) in tiles.into_iter().enumerate() {
            let sum = simd.scale_by_power(simd.to_float(sums[i][c]), exponent);
            let table = tile.table[slot].as_ptr().cast::<f32>();
            // SAFETY: `Prepare` writes as variants only the places of the vectors of such a table,
            // which is filled where there are full panels.
            let scale = unsafe { simd.load_float(table.add(variant)) };
            t[i][c] = simd.multiply_add_float(sum, scale, t[i][c]);
        }
    }

    #[inline(always)]
    fn scale<S: Lanes, const W: usize>(
        simd: S,
        x: Words<W>,
        (unit, c): (usize, usize),
        sum: S::Float,
    ) -> S::Float {
        simd.scale_by_power(sum, x.float(unit + 1, c))
    }
}

/// What `array::map` gives, without a closure, which might not be inlined.
macro_rules! of_tiles {
    ($tiles:ident, |$tile:ident| $what:expr) => {{
        let $tile = $tiles[0];
        let mut all = [$what; T];
        for (what, $tile) in all.iter_mut().zip($tiles) {
            *what = $what;
        }
        all
    }};
}

/// The products of the tiles with the `W` columns of `x`.
#[inline(always)]
fn multiply_block<S: Lanes, L: Layout, R: Rescale, const W: usize, const T: usize>(
    simd: S,
    tiles: [&Tile<S>; T],
    x: &[i32],
    groups: usize,
) -> [[S::Float; W]; T] {
    assert!(groups <= GROUPS);
    let x = Words::<W>::new(x);
    let mut t = [[simd.splat_float(0.0); W]; T];
    let integers = match L::MINS {
        Mins::None | Mins::Float32 => None,
        Mins::Integer32 => {
            let pairs = of_tiles!(tiles, |tile| tile
                .pairs
                .first_chunk()
                .expect("four of eight"));
            let x = x.skip(part::PAIRS32).pointer();
            // SAFETY: the four words are there for every column.
            let sums = unsafe { simd.dot_all_pairs::<4, W, T>(pairs, x) };
            Some((part::UNIT32, sums))
        }
        Mins::Integer16 => {
            let pairs = of_tiles!(tiles, |tile| &tile.pairs);
            let x = x.skip(part::PAIRS16).pointer();
            // SAFETY: the eight words are there for every column.
            let sums = unsafe { simd.dot_all_pairs::<8, W, T>(pairs, x) };
            Some((part::UNIT16, sums))
        }
    };
    if let Some((unit, sums)) = integers {
        for (i, tile) in tiles.into_iter().enumerate() {
            for c in 0..W {
                let sum = R::scale::<S, W>(simd, x, (unit, c), simd.to_float(sums[i][c]));
                t[i][c] = simd.multiply_float(sum, tile.factor);
            }
        }
    }
    for number in 0..groups {
        let group = x.skip(number);
        if S::SCALES_BY_POWERS && R::FULL {
            // An eighth of what tiles read of the next panel's words, from the second-level cache: all
            // before the scales, which are looked up.
            let lines = part::SCALES * W / LINE;
            let next = x.skip(part::TOTAL + number * part::SCALES / GROUPS);
            for line in 0..lines.div_ceil(GROUPS) {
                simd.prefetch_near(next.pointer().wrapping_add(line * LINE).cast());
            }
        }
        match L::GROUP {
            Group::Whole16 if !scaled::<S, L>() => {
                let mut start_of = [[simd.splat_int(0); W]; 2];
                for (half, start_of) in start_of.iter_mut().enumerate() {
                    let at = x.skip(2 * number + half);
                    *start_of = at.starts(simd, part::STARTS16, const { offset::<S, L>() });
                }
                let words = x.skip(part::CODES + number * 8).pointer();
                let mut sums = [[simd.splat_int(0); W]; T];
                for (sums, tile) in sums.iter_mut().zip(tiles) {
                    let (start_of, whole) = (start_of, tile.whole[number]);
                    let codes = halves(tile.group(number));
                    // SAFETY: the eight words of the group are there for every column.
                    *sums = unsafe { simd.dot_halves::<L, W>(start_of, codes, whole, words) };
                }
                for c in 0..W {
                    R::add::<S, W, T>(simd, (tiles, 0), (group, c), &sums, &mut t);
                }
            }
            Group::Of32 | Group::Whole16 => {
                let slot = match L::GROUP {
                    Group::Whole16 => 0,
                    _ => number,
                };
                let words = x.skip(part::CODES + number * 8).pointer();
                let mut sums = [[simd.splat_int(0); W]; T];
                if R::FULL && const { flips::<S, L>() } {
                    for (sums, tile) in sums.iter_mut().zip(tiles) {
                        let (start, codes) = ([tile.starts[number]; W], tile.group(number));
                        // SAFETY: the eight words of the group are there for every column.
                        *sums = unsafe { simd.dot_flipped(start, codes, words) };
                    }
                } else {
                    let start = group.starts(simd, part::STARTS32, const { offset::<S, L>() });
                    let codes = of_tiles!(tiles, |tile| tile.group(number));
                    // SAFETY: as above.
                    sums = unsafe { simd.dot_tiles::<InTile<S, L>, 8, W, T>(start, codes, words) };
                }
                for c in 0..W {
                    R::add::<S, W, T>(simd, (tiles, slot), (group, c), &sums, &mut t);
                }
            }
            Group::Of16 | Group::Wide16 => {
                let mut both = [[simd.splat_float(0.0); W]; T];
                for half in 0..2 {
                    let slot = 2 * number + half;
                    let start =
                        x.skip(slot)
                            .starts(simd, part::STARTS16, const { offset::<S, L>() });
                    let words = x.skip(part::CODES + slot * 4).pointer();
                    let codes = of_tiles!(tiles, |tile| halves(tile.group(number))[half]);
                    // SAFETY: the four words of the half are there for every column.
                    let sums =
                        unsafe { simd.dot_tiles::<InTile<S, L>, 4, W, T>(start, codes, words) };
                    for (i, tile) in tiles.into_iter().enumerate() {
                        for c in 0..W {
                            let (sum, scale) = (simd.to_float(sums[i][c]), tile.scales[slot]);
                            both[i][c] = match half {
                                0 => simd.multiply_float(sum, scale),
                                _ => simd.multiply_add_float(sum, scale, both[i][c]),
                            };
                        }
                    }
                }
                for c in 0..W {
                    let of_x = simd.splat_float(group.float(part::SCALES, c));
                    for i in 0..T {
                        t[i][c] = simd.multiply_add_float(both[i][c], of_x, t[i][c]);
                    }
                }
            }
        }
        if L::MINS == Mins::Float32 {
            for c in 0..W {
                let total = simd.splat_float(group.float(part::TOTALS32, c));
                for (i, tile) in tiles.into_iter().enumerate() {
                    t[i][c] = simd.multiply_add_float(tile.minimums[number], total, t[i][c]);
                }
            }
        }
    }
    if L::GROUP == Group::Wide16 {
        for (t, tile) in t.iter_mut().zip(tiles) {
            for t in t {
                *t = simd.multiply_float(*t, tile.factor);
            }
        }
    }
    t
}
