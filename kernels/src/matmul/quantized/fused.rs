//! One column: weights are multiplied as soon as they are unpacked, without leaving the registers.

use super::{FirstGroup, GROUPS, halves, offset, start, unpack};
use crate::activations::part;
use crate::aligned::LINE;
use crate::formats::SUPER;
use crate::isa::{ByteTables, Lanes};
use crate::matmul::Rows;
use crate::matmul::tiled::Panel;
use crate::unpack::{Layout, Order, Sink, Unpack};
use std::marker::PhantomData;

#[inline(always)]
pub(super) fn one_column<S: Lanes, B: Unpack>(simd: S, rows: &Rows<'_>) {
    let blocks = rows.weights.cols().div_ceil(SUPER);
    for panel in Panel::all::<S>(rows, rows.rows.clone()) {
        let (next, second) = (panel.after::<S>(rows, 1), panel.after::<S>(rows, 2));
        let bytes = SUPER / B::WEIGHTS * size_of::<B>() * S::ROWS;
        let mut y = simd.splat_float(0.0);
        for block in 0..blocks {
            let x = rows.x.block_codes(block, 0..1);
            let codes = x[part::CODES..].first_chunk();
            let codes: &[i32; SUPER / 4] = codes.expect("a block has codes");
            let ordered;
            let codes = if S::BYTE_TABLES && B::ORDER != Order::Natural {
                ordered = simd.reorder(codes, const { &from(B::ORDER) });
                &ordered
            } else {
                codes
            };
            let mut sink = Fused::<S, B::Layout> {
                simd,
                x,
                codes,
                next: [
                    next.wrapping_add(block * bytes),
                    second.wrapping_add(block * bytes),
                ],
                share: bytes / GROUPS,
                first: 0,
                t: simd.splat_float(0.0),
                layout: PhantomData,
            };
            unpack::<S, B>(simd, &panel, block, &mut sink);
            y = simd.add_float(sink.t, y);
        }
        rows.store(simd, &panel, 0, y);
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

/// Multiplies weights with one column as they come.
struct Fused<'a, S: Lanes, L> {
    simd: S,
    x: &'a [i32],
    /// The codes of `x`, in the order of those of the weights.
    codes: &'a [i32; SUPER / 4],
    /// Weights of the next two panels, to be brought near: a share with each group. All at once they
    /// would occupy the buffers that this panel's own loads need. Twice, because the processor drops
    /// requests while its buffers are full.
    next: [*const u8; 2],
    share: usize,
    /// Number in the block of 256 of the format's block's first group.
    first: usize,
    t: S::Float,
    layout: PhantomData<L>,
}

impl<S: Lanes, L: Layout> Fused<'_, S, L> {
    /// Prefetches the share of group `group`.
    #[inline(always)]
    fn prefetch(&self, group: usize) {
        for line in (0..self.share).step_by(LINE) {
            let at = group * self.share + line;
            self.simd.prefetch(self.next[1].wrapping_add(at));
            self.simd.prefetch(self.next[0].wrapping_add(at));
        }
    }

    /// A word that is a float.
    #[inline(always)]
    fn float(&self, word: usize) -> S::Float {
        self.simd.splat_float(f32::from_bits(self.x[word] as u32))
    }

    /// The dot product of `4 N` codes from word `word` on, of which the start is in word `start_at`.
    #[inline(always)]
    fn dot<const N: usize>(&self, start_at: usize, codes: &[S::Int; N], word: usize) -> S::Float {
        let from = start(self.x[start_at], const { offset::<S, L>() });
        let x = &self.codes[word..word + N];
        // SAFETY: `x` is `N` words.
        let [sum] = unsafe {
            self.simd
                .dot::<L, N, 1>([self.simd.splat_int(from)], codes, x.as_ptr())
        };
        self.simd.to_float(sum)
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
        let x = &self.x[pairs..pairs + N];
        // SAFETY: `x` is `N` words.
        let [sum] = unsafe { self.simd.dot_all_pairs::<N, 1>(&minimums, x.as_ptr()) };
        let sum = self
            .simd
            .multiply_float(self.simd.to_float(sum), self.float(unit));
        self.t = self.simd.multiply_float(sum, factor);
    }
}

impl<S: Lanes, L: Layout> FirstGroup<S> for Fused<'_, S, L> {
    #[inline(always)]
    fn first_group(&mut self, group: usize) {
        self.first = group;
    }
}

impl<S: Lanes, L: Layout> Sink<S> for Fused<'_, S, L> {
    type Layout = L;

    #[inline(always)]
    fn simd(&self) -> S {
        self.simd
    }

    #[inline(always)]
    fn raised32(&mut self, group: usize, codes: [S::Int; 8], scale: S::Float) {
        let group = self.first + group;
        self.prefetch(group);
        let sum = self.dot(part::STARTS32 + group, &codes, group * 8);
        let of_x = self.float(part::SCALES + group);
        let scale = self.simd.multiply_float(scale, of_x);
        self.t = self.simd.multiply_add_float(sum, scale, self.t);
    }

    #[inline(always)]
    fn ordered32(&mut self, group: usize, codes: [S::Int; 8], scale: S::Float) {
        // Those of the activations are in the same order.
        self.raised32(group, codes, scale);
    }

    #[inline(always)]
    fn raised16(&mut self, group: usize, codes: [S::Int; 8], scales: [S::Float; 2]) {
        let group = self.first + group;
        self.prefetch(group);
        let [a, b, c, d, e, f, g, h] = codes;
        let first = self.dot(part::STARTS16 + 2 * group, &[a, b, c, d], group * 8);
        let last = self.dot(part::STARTS16 + 2 * group + 1, &[e, f, g, h], group * 8 + 4);
        let both = self.simd.multiply_float(first, scales[0]);
        let both = self.simd.multiply_add_float(last, scales[1], both);
        let of_x = self.float(part::SCALES + group);
        self.t = self.simd.multiply_add_float(both, of_x, self.t);
    }

    #[inline(always)]
    fn whole16(&mut self, group: usize, codes: [S::Int; 8], scales: S::Int, factor: S::Float) {
        let group = self.first + group;
        self.prefetch(group);
        let start = |half: usize| {
            let start_of = self.x[part::STARTS16 + 2 * group + half];
            [self
                .simd
                .splat_int(start(start_of, const { offset::<S, L>() }))]
        };
        let starts = [start(0), start(1)];
        let x = &self.codes[group * 8..(group + 1) * 8];
        // SAFETY: `x` is eight words.
        let [sum] = unsafe {
            self.simd
                .dot_halves::<L, 1>(starts, halves(&codes), scales, x.as_ptr())
        };
        let of_x = self.float(part::SCALES + group);
        let scale = self.simd.multiply_float(factor, of_x);
        let sum = self.simd.to_float(sum);
        self.t = self.simd.multiply_add_float(sum, scale, self.t);
    }

    #[inline(always)]
    fn ordered16(&mut self, group: usize, codes: [S::Int; 8], scales: [S::Float; 2]) {
        self.raised16(group, codes, scales);
    }

    #[inline(always)]
    fn minimum32(&mut self, group: usize, minimum: S::Float) {
        let sum = self.float(part::TOTALS32 + self.first + group);
        self.t = self.simd.multiply_add_float(minimum, sum, self.t);
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
