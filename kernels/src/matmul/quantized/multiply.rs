//! The micro-kernel: a tile of quantized weights times a panel of columns, the sums of all columns
//! in registers.

use super::tile::{InTile, Tile, flips, offset, scaled};
use super::words::Words;
use super::{GROUPS, halves};
use crate::activations::{VARIANTS, part};
use crate::formats::SUPER;
use crate::isa::{Lanes, Task};
use crate::matmul::Rows;
use crate::matmul::ahead::Ahead;
use crate::matmul::tiled::{OfWidth, Sums, by_width};
use crate::unpack::{Group, Layout, Mins};
use std::marker::PhantomData;
use std::ops::Range;

/// The full width of panels of instruction sets that scale by powers, the largest of all.
const FULL: usize = 8;

/// Words of a cache line.
const LINE: usize = 16;

/// Cache lines of the words of a full panel that are read where scales are looked up, all before
/// [`part::SCALES`].
const LINES: usize = part::SCALES * FULL / LINE;

/// Adds to the sums the products of the tile with all their columns.
#[inline(always)]
pub(super) fn all_columns<S: Lanes, L: Layout>(
    simd: S,
    rows: &Rows<'_>,
    tile: &Tile<S>,
    mut sums: Sums<'_>,
    ahead: &mut Ahead,
) {
    let panels = sums.panels.clone();
    let full = panels.start..rows.x.panels().full().clamp(panels.start, panels.end);
    let rest = full.end..panels.end;
    if !full.is_empty() {
        simd.call(FullPanels::<S, L> {
            rows,
            tile,
            panels: full,
            sums: &mut sums,
            ahead,
            layout: PhantomData,
        });
    }
    for panel in rest {
        let columns = rows.x.panels().get(panel);
        let task = Columns::<S, L> {
            rows,
            tile,
            columns,
            sums: &mut sums,
            ahead,
            layout: PhantomData,
        };
        by_width(simd, task.columns.len(), task);
    }
}

/// A tile to multiply with panels of `S::COLUMNS` columns.
struct FullPanels<'r, 'a, 's, 'y, S: Lanes, L> {
    rows: &'r Rows<'a>,
    tile: &'r Tile<S>,
    panels: Range<usize>,
    sums: &'s mut Sums<'y>,
    ahead: &'s mut Ahead,
    layout: PhantomData<L>,
}

impl<S: Lanes, L: Layout> Task<S> for FullPanels<'_, '_, '_, '_, S, L> {
    #[inline(always)]
    fn run(self, simd: S) {
        if const { S::SCALES_BY_POWERS } {
            self.multiply::<LookedUp, 8>(simd);
        } else if const { S::COLUMNS == 8 } {
            self.multiply::<Multiplied<true>, 8>(simd);
        } else if const { S::COLUMNS == 4 } {
            self.multiply::<Multiplied<true>, 4>(simd);
        } else {
            unreachable!("full panels of {} columns", S::COLUMNS);
        }
    }
}

impl<S: Lanes, L: Layout> FullPanels<'_, '_, '_, '_, S, L> {
    #[inline(always)]
    fn multiply<R: Rescale, const W: usize>(self, simd: S) {
        for panel in self.panels {
            let columns = panel * W..(panel + 1) * W;
            let to = (&mut *self.sums, &mut *self.ahead);
            columns_of::<S, L, R, W>(simd, self.rows, self.tile, columns, to);
        }
    }
}

/// A tile to multiply with one panel.
struct Columns<'r, 'a, 's, 'y, S: Lanes, L> {
    rows: &'r Rows<'a>,
    tile: &'r Tile<S>,
    columns: Range<usize>,
    sums: &'s mut Sums<'y>,
    ahead: &'s mut Ahead,
    layout: PhantomData<L>,
}

impl<S: Lanes, L: Layout> OfWidth<S> for Columns<'_, '_, '_, '_, S, L> {
    #[inline(always)]
    fn run<const W: usize>(self, simd: S) {
        let to = (self.sums, self.ahead);
        columns_of::<S, L, Multiplied<false>, W>(simd, self.rows, self.tile, self.columns, to);
    }
}

#[inline(always)]
fn columns_of<S: Lanes, L: Layout, R: Rescale, const W: usize>(
    simd: S,
    rows: &Rows<'_>,
    tile: &Tile<S>,
    columns: Range<usize>,
    (sums, ahead): (&mut Sums<'_>, &mut Ahead),
) {
    ahead.ask(simd);
    let groups = (rows.weights.cols() - sums.block * SUPER).min(SUPER) / 32;
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
    let t = multiply_block::<S, L, R, W>(simd, tile, x, groups);
    sums.add(simd, columns.start, t);
}

/// The words of a panel of which `words` of each column lie together, so that they lie apart.
#[cold]
fn apart<const W: usize>(x: &[i32], words: usize) -> [i32; part::TOTAL * FULL] {
    let mut plain = [0; part::TOTAL * FULL];
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

    /// `t` plus the sum times the scale in `slot` of the tile times the scale of column `c` in the
    /// group.
    fn add<S: Lanes, const W: usize>(
        simd: S,
        scale: (&Tile<S>, usize),
        of_x: (Words<W>, usize),
        sum: S::Int,
        t: S::Float,
    ) -> S::Float;

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
    fn add<S: Lanes, const W: usize>(
        simd: S,
        (tile, slot): (&Tile<S>, usize),
        (group, c): (Words<W>, usize),
        sum: S::Int,
        t: S::Float,
    ) -> S::Float {
        let of_x = simd.splat_float(group.float(part::SCALES, c));
        let scale = simd.multiply_float(tile.scales[slot], of_x);
        simd.multiply_add_float(simd.to_float(sum), scale, t)
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
    fn add<S: Lanes, const W: usize>(
        simd: S,
        (tile, slot): (&Tile<S>, usize),
        (group, c): (Words<W>, usize),
        sum: S::Int,
        t: S::Float,
    ) -> S::Float {
        let sum = simd.scale_by_power(simd.to_float(sum), group.float(part::EXPONENTS, c));
        let table = tile.table[slot].as_ptr().cast::<f32>();
        let variant = group.word(part::VARIANTS, c) as u32 as usize;
        debug_assert!(variant < VARIANTS * S::ROWS);
        // SAFETY: `Prepare` writes as variants only the places of the vectors of such a table.
        let scale = unsafe { simd.load_float(table.add(variant)) };
        simd.multiply_add_float(sum, scale, t)
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

/// The products of a tile with the `W` columns of `x`.
#[inline(always)]
fn multiply_block<S: Lanes, L: Layout, R: Rescale, const W: usize>(
    simd: S,
    tile: &Tile<S>,
    x: &[i32],
    groups: usize,
) -> [S::Float; W] {
    assert!(groups <= GROUPS);
    let x = Words::<W>::new(x);
    let mut t = [simd.splat_float(0.0); W];
    let integers = match L::MINS {
        Mins::None | Mins::Float32 => None,
        Mins::Integer32 => {
            let (first, _) = tile.pairs.as_chunks::<4>();
            let x = x.skip(part::PAIRS32).pointer();
            // SAFETY: the four words are there for every column.
            let sums = unsafe { simd.dot_all_pairs::<4, W>(&first[0], x) };
            Some((part::UNIT32, sums))
        }
        Mins::Integer16 => {
            let x = x.skip(part::PAIRS16).pointer();
            // SAFETY: the eight words are there for every column.
            let sums = unsafe { simd.dot_all_pairs::<8, W>(&tile.pairs, x) };
            Some((part::UNIT16, sums))
        }
    };
    if let Some((unit, sums)) = integers {
        for (c, sum) in sums.into_iter().enumerate() {
            let sum = R::scale::<S, W>(simd, x, (unit, c), simd.to_float(sum));
            t[c] = simd.multiply_float(sum, tile.factor);
        }
    }
    let (groups_of_8, _) = tile.codes.as_chunks::<8>();
    let (groups_of_4, _) = tile.codes.as_chunks::<4>();
    for number in 0..groups {
        let group = x.skip(number);
        if S::SCALES_BY_POWERS && W == FULL {
            // An eighth of what a tile reads of the next panel's words, from the second-level cache.
            let next = x.skip(part::TOTAL + number * part::SCALES / GROUPS);
            for line in 0..LINES.div_ceil(GROUPS) {
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
                let codes = halves(&groups_of_8[number]);
                let words = x.skip(part::CODES + number * 8).pointer();
                // SAFETY: the eight words of the group are there for every column.
                let sums =
                    unsafe { simd.dot_halves::<L, W>(start_of, codes, tile.whole[number], words) };
                for c in 0..W {
                    t[c] = R::add::<S, W>(simd, (tile, 0), (group, c), sums[c], t[c]);
                }
            }
            Group::Of32 | Group::Whole16 => {
                let slot = match L::GROUP {
                    Group::Whole16 => 0,
                    _ => number,
                };
                let codes = &groups_of_8[number];
                let words = x.skip(part::CODES + number * 8).pointer();
                // SAFETY: the eight words of the group are there for every column.
                let sums = unsafe {
                    if R::FULL && const { flips::<S, L>() } {
                        simd.dot_flipped([tile.starts[number]; W], codes, words)
                    } else {
                        let start = group.starts(simd, part::STARTS32, const { offset::<S, L>() });
                        simd.dot_tile::<InTile<S, L>, 8, W>(start, codes, words)
                    }
                };
                for c in 0..W {
                    t[c] = R::add::<S, W>(simd, (tile, slot), (group, c), sums[c], t[c]);
                }
            }
            Group::Of16 => {
                let mut both = [simd.splat_float(0.0); W];
                for half in 0..2 {
                    let slot = 2 * number + half;
                    let start =
                        x.skip(slot)
                            .starts(simd, part::STARTS16, const { offset::<S, L>() });
                    let codes = x.skip(part::CODES + slot * 4).pointer();
                    // SAFETY: the four words of the group are there for every column.
                    let sums = unsafe {
                        simd.dot_tile::<InTile<S, L>, 4, W>(start, &groups_of_4[slot], codes)
                    };
                    for c in 0..W {
                        let sum = simd.to_float(sums[c]);
                        both[c] = match half {
                            0 => simd.multiply_float(sum, tile.scales[slot]),
                            _ => simd.multiply_add_float(sum, tile.scales[slot], both[c]),
                        };
                    }
                }
                for c in 0..W {
                    let of_x = simd.splat_float(group.float(part::SCALES, c));
                    t[c] = simd.multiply_add_float(both[c], of_x, t[c]);
                }
            }
        }
        if L::MINS == Mins::Float32 {
            for c in 0..W {
                let total = simd.splat_float(group.float(part::TOTALS32, c));
                t[c] = simd.multiply_add_float(tile.minimums[number], total, t[c]);
            }
        }
    }
    t
}
