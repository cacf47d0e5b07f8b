//! One column, or a few: weights are multiplied as soon as they are unpacked, without leaving the
//! registers.

use super::words::Words;
use super::{FirstGroup, GROUPS, halves, offset, unpack};
use crate::activations::part;
use crate::aligned::LINE;
use crate::formats::SUPER;
use crate::isa::{ByteTables, Lanes};
use crate::matmul::Rows;
use crate::matmul::tiled::{OfWidth, Panel, by_width};
use crate::unpack::{Group, Layout, Mins, Order, Sink, Unpack};
use std::marker::PhantomData;
use std::ops::Range;

/// How wide a panel of columns is at most, and how many there are, if weights are multiplied without
/// a tile: as long as sums, codes and what else there is stay in registers, this is faster by up to a
/// half; where it takes little to unpack weights, even if it is done twice.
const fn most<S: Lanes, B: Unpack>() -> (usize, usize) {
    match (B::Layout::GROUP, B::Layout::MINS) {
        // Without vectors there are no registers to spare, and on Arm what is gained has not been
        // measured.
        _ if S::ROWS < 8 => (1, 1),
        // Looking points up takes so long that it matters little what follows.
        _ if B::BYTE_TABLES => (1, 1),
        (_, Mins::Integer32) => (4, 1),
        (Group::Of32, _) => (8, 2),
        _ => (8, 1),
    }
}

/// Computes the product of the rows with all columns, if they are few; tells whether they are.
#[inline(always)]
pub(super) fn few_columns<S: Lanes, B: Unpack>(simd: S, rows: &Rows<'_>) -> bool {
    if rows.x.columns() == 1 {
        for panel in Panel::all::<S>(rows, rows.rows.clone()) {
            let all = Columns::<B> {
                rows,
                panel: &panel,
                columns: 0..1,
                format: PhantomData,
            };
            all.multiply::<S, 1>(simd);
        }
        return true;
    }
    let panels = rows.x.panels();
    let (width, count) = const { most::<S, B>() };
    if panels.count() > count || panels.get(0).len() > width {
        return false;
    }
    for panel in Panel::all::<S>(rows, rows.rows.clone()) {
        for number in 0..panels.count() {
            let some = Columns::<B> {
                rows,
                panel: &panel,
                columns: panels.get(number),
                format: PhantomData,
            };
            by_width(simd, some.columns.len(), some);
        }
    }
    true
}

/// A panel of rows to multiply with a panel of columns.
struct Columns<'r, 'a, B> {
    rows: &'r Rows<'a>,
    panel: &'r Panel<'a>,
    columns: Range<usize>,
    format: PhantomData<B>,
}

impl<S: Lanes, B: Unpack> OfWidth<S> for Columns<'_, '_, B> {
    #[inline(always)]
    fn run<const W: usize>(self, simd: S) {
        if W > 1 && W <= const { most::<S, B>() }.0 {
            self.multiply::<S, W>(simd);
        }
    }
}

impl<B: Unpack> Columns<'_, '_, B> {
    #[inline(always)]
    fn multiply<S: Lanes, const W: usize>(self, simd: S) {
        let Columns { rows, panel, .. } = self;
        let blocks = rows.weights.cols().div_ceil(SUPER);
        let (next, second) = (panel.after::<S>(rows, 1), panel.after::<S>(rows, 2));
        let bytes = SUPER / B::WEIGHTS * size_of::<B>() * S::ROWS;
        let mut y = [simd.splat_float(0.0); W];
        for block in 0..blocks {
            let words = rows.x.block_codes(block, self.columns.clone());
            let x = Words::new(words);
            let ordered;
            let codes = if S::BYTE_TABLES && B::ORDER != Order::Natural {
                let codes = words[part::CODES..].first_chunk();
                let codes: &[i32; SUPER / 4] = codes.expect("a block has codes");
                ordered = simd.reorder(codes, const { &from(B::ORDER) });
                ordered.as_ptr()
            } else {
                x.skip(part::CODES).pointer()
            };
            let mut sink = Fused::<S, B, W> {
                simd,
                x,
                codes,
                next: [
                    next.wrapping_add(block * bytes),
                    second.wrapping_add(block * bytes),
                ],
                share: match self.columns.start {
                    0 => bytes / GROUPS,
                    // The columns before these have asked.
                    _ => 0,
                },
                first: 0,
                t: [simd.splat_float(0.0); W],
                format: PhantomData,
            };
            unpack::<S, B>(simd, panel, block, &mut sink);
            for c in 0..W {
                y[c] = simd.add_float(sink.t[c], y[c]);
            }
        }
        for c in 0..W {
            rows.store(simd, panel, self.columns.start + c, y[c]);
        }
    }
}

/// From where the bytes of two groups come when they are put into `order`.
const fn from(order: Order) -> ByteTables<64, 1> {
    let mut from = [0; 64];
    let mut i = 0;
    while i < 64 {
        from[i] = (i / 32 * 32 + order.code(i % 32 / 4, i % 4)) as u8;
        i += 1;
    }
    ByteTables([from])
}

/// Multiplies weights with `W` columns as they come.
struct Fused<S: Lanes, B, const W: usize> {
    simd: S,
    x: Words<W>,
    /// The codes of `x`, in the order of those of the weights.
    codes: *const i32,
    /// Weights of the next two panels, to be brought near: a share with each group. All at once they
    /// would occupy the buffers that this panel's own loads need. Twice, because the processor drops
    /// requests while its buffers are full.
    next: [*const u8; 2],
    share: usize,
    /// Number in the block of 256 of the format's block's first group.
    first: usize,
    t: [S::Float; W],
    format: PhantomData<B>,
}

impl<S: Lanes, B: Unpack, const W: usize> Fused<S, B, W> {
    /// Prefetches the share of group `group`.
    #[inline(always)]
    fn prefetch(&self, group: usize) {
        // In variables of their own: a request is not known to leave memory as it is.
        let (simd, share, [next, second]) = (self.simd, self.share, self.next);
        for line in (0..share).step_by(LINE) {
            let at = group * share + line;
            simd.prefetch(second.wrapping_add(at));
            simd.prefetch(next.wrapping_add(at));
        }
    }

    /// The codes of group `group` from word `word` of it on.
    #[inline(always)]
    fn codes(&self, group: usize, word: usize) -> *const i32 {
        debug_assert!(group < GROUPS && word < 8);
        self.codes.wrapping_add((group * 8 + word) * W)
    }

    /// What sums begin with, where `word` has the first column's.
    #[inline(always)]
    fn starts(&self, word: usize) -> [S::Int; W] {
        self.x
            .starts(self.simd, word, const { offset::<S, B::Layout>() })
    }

    /// Word `word` of column `c`, a float.
    #[inline(always)]
    fn float(&self, word: usize, c: usize) -> S::Float {
        self.simd.splat_float(self.x.float(word, c))
    }

    /// Adds whole sums of group `group`, times `scale` and the scales of the activations.
    #[inline(always)]
    fn add(&mut self, group: usize, sums: [S::Int; W], scale: S::Float) {
        let mut t = self.t;
        for c in 0..W {
            let of_x = self.float(part::SCALES + group, c);
            let scale = self.simd.multiply_float(scale, of_x);
            t[c] = self
                .simd
                .multiply_add_float(self.simd.to_float(sums[c]), scale, t[c]);
        }
        self.t = t;
    }

    /// Begins with the products of integer minimums with the sums at `pairs`, in units of the word
    /// `unit`.
    #[inline(always)]
    fn minimums<const N: usize>(
        &mut self,
        (pairs, unit): (usize, usize),
        minimums: [S::Int; N],
        factor: S::Float,
    ) {
        let x = self.x.skip(pairs).pointer();
        // SAFETY: the `N` words are there for every column.
        let sums = unsafe { self.simd.dot_all_pairs::<N, W>(&minimums, x) };
        for c in 0..W {
            let sum = self.simd.to_float(sums[c]);
            let sum = self.simd.multiply_float(sum, self.float(unit, c));
            self.t[c] = self.simd.multiply_float(sum, factor);
        }
    }
}

impl<S: Lanes, B: Unpack, const W: usize> FirstGroup<S> for Fused<S, B, W> {
    #[inline(always)]
    fn first_group(&mut self, group: usize) {
        self.first = group;
    }
}

impl<S: Lanes, B: Unpack, const W: usize> Sink<S> for Fused<S, B, W> {
    type Layout = B::Layout;

    #[inline(always)]
    fn simd(&self) -> S {
        self.simd
    }

    #[inline(always)]
    fn raised32(&mut self, group: usize, codes: [S::Int; 8], scale: S::Float) {
        let group = self.first + group;
        self.prefetch(group);
        let starts = self.starts(part::STARTS32 + group);
        // SAFETY: the eight words of the group are there for every column.
        let sums = unsafe {
            self.simd
                .dot::<B::Layout, 8, W>(starts, &codes, self.codes(group, 0))
        };
        self.add(group, sums, scale);
    }

    #[inline(always)]
    fn ordered32(&mut self, group: usize, codes: [S::Int; 8], scale: S::Float) {
        // Those of the activations are in the same order: there is one column.
        self.raised32(group, codes, scale);
    }

    #[inline(always)]
    fn raised16(&mut self, group: usize, codes: [S::Int; 8], scales: [S::Float; 2]) {
        let group = self.first + group;
        self.prefetch(group);
        let simd = self.simd;
        let mut both = [simd.splat_float(0.0); W];
        for (half, codes) in halves(&codes).into_iter().enumerate() {
            let starts = self.starts(part::STARTS16 + 2 * group + half);
            let x = self.codes(group, 4 * half);
            // SAFETY: the four words of the half are there for every column.
            let sums = unsafe { simd.dot::<B::Layout, 4, W>(starts, codes, x) };
            for c in 0..W {
                let sum = simd.to_float(sums[c]);
                both[c] = match half {
                    0 => simd.multiply_float(sum, scales[half]),
                    _ => simd.multiply_add_float(sum, scales[half], both[c]),
                };
            }
        }
        for c in 0..W {
            let of_x = self.float(part::SCALES + group, c);
            self.t[c] = simd.multiply_add_float(both[c], of_x, self.t[c]);
        }
    }

    #[inline(always)]
    fn whole16(&mut self, group: usize, codes: [S::Int; 8], scales: S::Int, factor: S::Float) {
        let group = self.first + group;
        self.prefetch(group);
        let first = part::STARTS16 + 2 * group;
        let starts = [self.starts(first), self.starts(first + 1)];
        // SAFETY: the eight words of the group are there for every column.
        let sums = unsafe {
            self.simd.dot_halves::<B::Layout, W>(
                starts,
                halves(&codes),
                scales,
                self.codes(group, 0),
            )
        };
        self.add(group, sums, factor);
    }

    #[inline(always)]
    fn ordered16(&mut self, group: usize, codes: [S::Int; 8], scales: [S::Float; 2]) {
        self.raised16(group, codes, scales);
    }

    #[inline(always)]
    fn minimum32(&mut self, group: usize, minimum: S::Float) {
        for c in 0..W {
            let sum = self.float(part::TOTALS32 + self.first + group, c);
            self.t[c] = self.simd.multiply_add_float(minimum, sum, self.t[c]);
        }
    }

    #[inline(always)]
    fn minimums32(&mut self, pairs: [S::Int; 4], factor: S::Float) {
        self.minimums((part::PAIRS32, part::UNIT32), pairs, factor);
    }

    #[inline(always)]
    fn minimums16(&mut self, pairs: [S::Int; 8], factor: S::Float) {
        self.minimums((part::PAIRS16, part::UNIT16), pairs, factor);
    }
}
