//! One column, or a few: weights are multiplied as soon as they are unpacked, without leaving the
//! registers, with one panel of columns or with two.

use super::words::Words;
use super::{FirstGroup, GROUPS, block_bytes, halves, offset, unpack};
use crate::activations::part;
use crate::aligned::LINE;
use crate::formats::SUPER;
use crate::isa::{ByteTables, Lanes, Task};
use crate::matmul::Rows;
use crate::matmul::tiled::{OfWidth, Panel, by_width};
use crate::unpack::{Group, Layout, Order, Sink, Unpack};
use std::marker::PhantomData;

/// How many columns are multiplied without a tile at most, by panels of as many as have their sums in
/// registers: so far this is faster, though rows are unpacked anew for every two panels.
const fn most<S: Lanes, B: Unpack>() -> usize {
    match B::Layout::GROUP {
        // Without vectors there are no registers to spare, and on Arm what is gained has not been
        // measured.
        _ if S::ROWS < 8 => 1,
        // Looking points up takes so long that it matters little what follows.
        _ if B::BYTE_TABLES => 1,
        // In a tile, codes are multiplied by these scales.
        Group::Whole16 => 2 * S::COLUMNS,
        Group::Of32 | Group::Of16 | Group::Wide16 => 4 * S::COLUMNS,
    }
}

/// Computes the product of the rows with all columns, if they are few; tells whether they are.
#[inline(always)]
pub(super) fn few_columns<S: Lanes, B: Unpack>(simd: S, rows: &Rows<'_>) -> bool {
    let columns = rows.x.columns();
    if columns > const { most::<S, B>() } {
        return false;
    }
    let panels = rows.x.panels();
    for panel in Panel::all::<S>(rows, rows.rows.clone()) {
        for number in (0..panels.count()).step_by(2) {
            let (first, second) = match number + 1 < panels.count() {
                true => (panels.get(number), panels.get(number + 1).len()),
                false => (panels.get(number), 0),
            };
            let widths = (first.len(), second);
            let some = Columns::<B> {
                rows,
                panel: &panel,
                first: first.start,
                format: PhantomData,
            };
            match widths {
                (1, 0) => some.multiply::<S, 1, 0>(simd),
                (_, 0) => by_width(simd, widths.0, some),
                _ => by_widths(simd, widths, some),
            }
        }
    }
    true
}

/// Runs `task` for two panels of columns, as nearly equal as can be, each pair of widths as a function
/// of its own.
#[inline(always)]
fn by_widths<S: Lanes, B: Unpack>(simd: S, widths: (usize, usize), task: Columns<'_, '_, B>) {
    struct Of<T, const W: usize, const V: usize>(T);
    impl<S: Lanes, B: Unpack, const W: usize, const V: usize> Task<S> for Of<Columns<'_, '_, B>, W, V> {
        #[inline(always)]
        fn run(self, simd: S) {
            if const { W + V > S::COLUMNS && W <= S::COLUMNS && W + V <= most::<S, B>() } {
                self.0.multiply::<S, W, V>(simd);
            }
        }
    }
    match widths {
        (3, 2) => simd.call(Of::<_, 3, 2>(task)),
        (3, 3) => simd.call(Of::<_, 3, 3>(task)),
        (4, 3) => simd.call(Of::<_, 4, 3>(task)),
        (4, 4) => simd.call(Of::<_, 4, 4>(task)),
        (5, 4) => simd.call(Of::<_, 5, 4>(task)),
        (5, 5) => simd.call(Of::<_, 5, 5>(task)),
        (6, 5) => simd.call(Of::<_, 6, 5>(task)),
        (6, 6) => simd.call(Of::<_, 6, 6>(task)),
        (7, 6) => simd.call(Of::<_, 7, 6>(task)),
        (7, 7) => simd.call(Of::<_, 7, 7>(task)),
        (8, 7) => simd.call(Of::<_, 8, 7>(task)),
        (8, 8) => simd.call(Of::<_, 8, 8>(task)),
        (first, second) => unreachable!("panels of {first} and {second} columns"),
    }
}

/// A panel of rows to multiply with the columns from number `first` on.
struct Columns<'r, 'a, B> {
    rows: &'r Rows<'a>,
    panel: &'r Panel<'a>,
    first: usize,
    format: PhantomData<B>,
}

impl<S: Lanes, B: Unpack> OfWidth<S> for Columns<'_, '_, B> {
    #[inline(always)]
    fn run<const W: usize>(self, simd: S) {
        if const { W > 1 && W <= most::<S, B>() } {
            self.multiply::<S, W, 0>(simd);
        }
    }
}

impl<B: Unpack> Columns<'_, '_, B> {
    /// Multiplies `W` columns, and the `V` behind them.
    #[inline(always)]
    fn multiply<S: Lanes, const W: usize, const V: usize>(self, simd: S) {
        let Columns { rows, panel, .. } = self;
        let (begin, middle) = (self.first, self.first + W);
        let blocks = rows.weights.cols().div_ceil(SUPER);
        let (next, second) = (panel.after::<S>(rows, 1), panel.after::<S>(rows, 2));
        let bytes = block_bytes::<B>() * S::ROWS;
        let mut y = [simd.splat_float(0.0); W];
        let mut z = [simd.splat_float(0.0); V];
        for block in 0..blocks {
            let words = rows.x.block_codes(block, begin..middle);
            let ordered;
            let codes = if W == 1 && S::BYTE_TABLES && B::ORDER != Order::Natural {
                let codes = words[part::CODES..].first_chunk();
                let codes: &[i32; SUPER / 4] = codes.expect("a block has codes");
                ordered = simd.reorder(codes, const { &from(B::ORDER) });
                ordered.as_ptr()
            } else {
                Words::<W>::new(words).skip(part::CODES).pointer()
            };
            let mut first = Fused::<S, B::Layout, W>::new(simd, words, codes);
            first.share = bytes / GROUPS;
            first.next = [
                next.wrapping_add(block * bytes),
                second.wrapping_add(block * bytes),
            ];
            if V == 0 {
                unpack::<S, B>(simd, panel, block, &mut first);
            } else {
                let words = rows.x.block_codes(block, middle..middle + V);
                let codes = Words::<V>::new(words).skip(part::CODES).pointer();
                let second = Fused::<S, B::Layout, V>::new(simd, words, codes);
                let mut both = Both { first, second };
                unpack::<S, B>(simd, panel, block, &mut both);
                first = both.first;
                for c in 0..V {
                    z[c] = simd.add_float(both.second.t[c], z[c]);
                }
            }
            for c in 0..W {
                y[c] = simd.add_float(first.t[c], y[c]);
            }
        }
        for c in 0..W {
            rows.store(simd, panel, begin + c, y[c]);
        }
        for c in 0..V {
            rows.store(simd, panel, middle + c, z[c]);
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
pub(super) struct Fused<S: Lanes, L, const W: usize> {
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
    pub(super) first: usize,
    pub(super) t: [S::Float; W],
    layout: PhantomData<L>,
}

impl<S: Lanes, L: Layout, const W: usize> Fused<S, L, W> {
    /// Of no weights, with the words of a block and its codes, asking for nothing.
    #[inline(always)]
    pub(super) fn new(simd: S, words: &[i32], codes: *const i32) -> Self {
        Fused {
            simd,
            x: Words::new(words),
            codes,
            next: [std::ptr::null(); 2],
            share: 0,
            first: 0,
            t: [simd.splat_float(0.0); W],
            layout: PhantomData,
        }
    }

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

    /// Has the products with a group computed before anything that follows is read: the registers
    /// hold those of one panel at a time.
    #[inline(always)]
    fn finish(&mut self) {
        if W > 2 {
            self.simd.finish(&mut self.t);
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
    pub(super) fn starts(&self, word: usize) -> [S::Int; W] {
        self.x.starts(self.simd, word, const { offset::<S, L>() })
    }

    /// Word `word` of column `c`, a float.
    #[inline(always)]
    fn float(&self, word: usize, c: usize) -> S::Float {
        self.simd.splat_float(self.x.float(word, c))
    }

    /// Adds whole sums of group `group`, times `scale` and the scales of the activations.
    #[inline(always)]
    pub(super) fn add(&mut self, group: usize, sums: [S::Int; W], scale: S::Float) {
        let mut t = self.t;
        for c in 0..W {
            let of_x = self.float(part::SCALES + group, c);
            let scale = self.simd.multiply_float(scale, of_x);
            t[c] = self
                .simd
                .multiply_add_float(self.simd.to_float(sums[c]), scale, t[c]);
        }
        self.t = t;
        self.finish();
    }

    /// Adds sums of group `group` that have been multiplied with the scales of weights, times those of
    /// the activations.
    #[inline(always)]
    pub(super) fn add_scaled(&mut self, group: usize, sums: [S::Float; W]) {
        for c in 0..W {
            let of_x = self.float(part::SCALES + group, c);
            self.t[c] = self.simd.multiply_add_float(sums[c], of_x, self.t[c]);
        }
        self.finish();
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
        let [sums] = unsafe { self.simd.dot_all_pairs::<N, W, 1>([&minimums], x) };
        for c in 0..W {
            let sum = self.simd.to_float(sums[c]);
            let sum = self.simd.multiply_float(sum, self.float(unit, c));
            self.t[c] = self.simd.multiply_float(sum, factor);
        }
    }
}

impl<S: Lanes, L: Layout, const W: usize> FirstGroup<S> for Fused<S, L, W> {
    #[inline(always)]
    fn first_group(&mut self, group: usize) {
        self.first = group;
    }
}

impl<S: Lanes, L: Layout, const W: usize> Sink<S> for Fused<S, L, W> {
    type Layout = L;

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
                .dot::<L, 8, W>(starts, &codes, self.codes(group, 0))
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
            let sums = unsafe { simd.dot::<L, 4, W>(starts, codes, x) };
            for c in 0..W {
                let sum = simd.to_float(sums[c]);
                both[c] = match half {
                    0 => simd.multiply_float(sum, scales[half]),
                    _ => simd.multiply_add_float(sum, scales[half], both[c]),
                };
            }
        }
        self.add_scaled(group, both);
    }

    #[inline(always)]
    fn unit(&mut self, unit: S::Float) {
        for t in &mut self.t {
            *t = self.simd.multiply_float(*t, unit);
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
            self.simd
                .dot_halves::<L, W>(starts, halves(&codes), scales, self.codes(group, 0))
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

/// Multiplies weights with two panels of columns as they come.
struct Both<S: Lanes, L, const W: usize, const V: usize> {
    first: Fused<S, L, W>,
    second: Fused<S, L, V>,
}

impl<S: Lanes, L: Layout, const W: usize, const V: usize> FirstGroup<S> for Both<S, L, W, V> {
    #[inline(always)]
    fn first_group(&mut self, group: usize) {
        self.first.first_group(group);
        self.second.first_group(group);
    }
}

impl<S: Lanes, L: Layout, const W: usize, const V: usize> Sink<S> for Both<S, L, W, V> {
    type Layout = L;

    #[inline(always)]
    fn simd(&self) -> S {
        self.first.simd
    }

    #[inline(always)]
    fn raised32(&mut self, group: usize, codes: [S::Int; 8], scale: S::Float) {
        self.first.raised32(group, codes, scale);
        self.second.raised32(group, codes, scale);
    }

    #[inline(always)]
    fn ordered32(&mut self, group: usize, codes: [S::Int; 8], scale: S::Float) {
        self.raised32(group, codes, scale);
    }

    #[inline(always)]
    fn raised16(&mut self, group: usize, codes: [S::Int; 8], scales: [S::Float; 2]) {
        self.first.raised16(group, codes, scales);
        self.second.raised16(group, codes, scales);
    }

    #[inline(always)]
    fn whole16(&mut self, group: usize, codes: [S::Int; 8], scales: S::Int, factor: S::Float) {
        self.first.whole16(group, codes, scales, factor);
        self.second.whole16(group, codes, scales, factor);
    }

    #[inline(always)]
    fn unit(&mut self, unit: S::Float) {
        self.first.unit(unit);
        self.second.unit(unit);
    }

    #[inline(always)]
    fn ordered16(&mut self, group: usize, codes: [S::Int; 8], scales: [S::Float; 2]) {
        self.raised16(group, codes, scales);
    }

    #[inline(always)]
    fn minimum32(&mut self, group: usize, minimum: S::Float) {
        self.first.minimum32(group, minimum);
        self.second.minimum32(group, minimum);
    }

    #[inline(always)]
    fn minimums32(&mut self, pairs: [S::Int; 4], factor: S::Float) {
        self.first.minimums32(pairs, factor);
        self.second.minimums32(pairs, factor);
    }

    #[inline(always)]
    fn minimums16(&mut self, pairs: [S::Int; 8], factor: S::Float) {
        self.first.minimums16(pairs, factor);
        self.second.minimums16(pairs, factor);
    }
}
