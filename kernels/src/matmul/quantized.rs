//! Products with quantized weights: the two sinks that unpacked weights go to, and the loops over
//! panels of rows and blocks that feed them.
#![allow(unsafe_code)]

use super::{ROWS_MULTIPLE, Rows, Weights};
use crate::activations::{Grain, part};
use crate::formats::SUPER;
use crate::isa::{Lanes, Task};
use crate::unpack::{BlockRows, Group, Layout, Mins, Sink, Unpack};
use std::marker::PhantomData;

/// Blocks of 256 weights in a tile: codes and scales of sixteen rows stay in the first-level cache
/// beside the activations they meet.
const TILE_BLOCKS: usize = 4;

/// Groups of 32 weights in a block of 256.
const GROUPS: usize = SUPER / 32;

impl<B: Unpack> Weights for B {
    #[inline(always)]
    fn multiply<S: Lanes>(simd: S, rows: &Rows<'_>) {
        if rows.x.columns() == 1 {
            one_column::<S, B>(simd, rows);
        } else {
            many_columns::<S, B>(simd, rows);
        }
    }
}

/// The blocks of one panel of rows.
struct Panel<'a, B> {
    base: *const u8,
    stride: usize,
    count: usize,
    block: PhantomData<&'a B>,
}

/// A block of each of a panel's rows, where the panel has fewer rows than a vector: the last row
/// stands in for the missing ones.
type Copies<B> = [std::mem::MaybeUninit<B>; ROWS_MULTIPLE];

impl<'a, B: Unpack> Panel<'a, B> {
    /// The panel of `count` rows from `row` on.
    #[inline(always)]
    fn new(rows: &Rows<'a>, row: usize, count: usize) -> Panel<'a, B> {
        let bytes = &rows.weights.bytes()[row * rows.weights.row_bytes..];
        Panel {
            base: bytes.as_ptr(),
            stride: rows.weights.row_bytes,
            count,
            block: PhantomData,
        }
    }

    /// Unpacks block `index` of every row into `sink`.
    #[inline(always)]
    fn unpack<S: Lanes>(
        &self,
        simd: S,
        index: usize,
        copies: &mut Copies<B>,
        sink: &mut impl Sink<S>,
    ) {
        debug_assert!((index + 1) * size_of::<B>() <= self.stride);
        // SAFETY: a row is `stride` bytes of whole blocks and `index` is one of them, so the block
        // of each of the `count` rows lies in the matrix; with fewer rows than lanes, each lane
        // has a copy of one of these blocks. `B` is any bytes, at any alignment.
        unsafe {
            let base = self.base.add(index * size_of::<B>());
            let blocks = if self.count >= S::ROWS {
                BlockRows::new(base, self.stride)
            } else {
                for (r, copy) in copies[..S::ROWS].iter_mut().enumerate() {
                    let from = base.add(r.min(self.count - 1) * self.stride);
                    std::ptr::copy_nonoverlapping(from.cast::<B>(), copy.as_mut_ptr(), 1);
                }
                BlockRows::new(copies.as_ptr().cast(), size_of::<B>())
            };
            B::unpack(simd, blocks, sink);
        }
    }
}

/// How many of the format's blocks there are in block `super_block` of 256 weights; the last may
/// have fewer.
#[inline(always)]
fn blocks_in<B: Unpack>(cols: usize, super_block: usize) -> usize {
    ((cols - super_block * SUPER).min(SUPER)) / B::WEIGHTS
}

/// What [`Lanes::dot`] starts from to take away the offset of codes whose activations sum to `sum`.
#[inline(always)]
fn start<S: Lanes, L: Layout>(simd: S, sum: i32) -> S::Int {
    let offset = if L::MAX.is_some() {
        L::OFFSET
    } else {
        S::SIGNED_OFFSET
    };
    match offset {
        0 => simd.splat_int(0),
        _ => simd.multiply_int(simd.splat_int(sum), simd.splat_int(-offset)),
    }
}

/// Codes as [`Lanes::dot`] wants them.
#[inline(always)]
fn raised<S: Lanes, L: Layout, const N: usize>(simd: S, mut codes: [S::Int; N]) -> [S::Int; N] {
    if L::MAX.is_none() && S::SIGNED_OFFSET == 128 {
        // Adding 128 to a byte flips its sign bit.
        let sign = simd.splat_int(0x8080_8080_u32 as i32);
        for codes in &mut codes {
            *codes = simd.xor(*codes, sign);
        }
    }
    codes
}

/// [`start`] for each of `W` columns, whose sums are at `sums`.
///
/// # Safety
///
/// `W` words are readable at `sums`.
#[inline(always)]
unsafe fn starts<S: Lanes, L: Layout, const W: usize>(simd: S, sums: *const i32) -> [S::Int; W] {
    let mut starts = [simd.splat_int(0); W];
    for (c, start_of) in starts.iter_mut().enumerate() {
        // SAFETY: the caller vouches for `W` words.
        *start_of = start::<S, L>(simd, unsafe { sums.add(c).read() });
    }
    starts
}

#[inline(always)]
fn one_column<S: Lanes, B: Unpack>(simd: S, rows: &Rows<'_>) {
    let cols = rows.weights.cols();
    let x = rows.x.panel_codes(<B::Layout as Layout>::GRAIN, &(0..1));
    let mut copies = [const { std::mem::MaybeUninit::uninit() }; ROWS_MULTIPLE];
    for (row, count) in rows.panels(S::ROWS) {
        let panel = Panel::<B>::new(rows, row, count);
        let next = panel.base.wrapping_add(S::ROWS * panel.stride);
        let mut y = simd.splat_float(0.0);
        for (super_block, x) in x.chunks_exact(part::TOTAL).enumerate() {
            let per_super = SUPER / B::WEIGHTS;
            let bytes = per_super * size_of::<B>() * S::ROWS;
            let mut sink = Fused::<S, B::Layout> {
                simd,
                x,
                next: next.wrapping_add(super_block * bytes),
                share: bytes / GROUPS,
                first: 0,
                t: simd.splat_float(0.0),
                whole: simd.splat_int(0),
                layout: PhantomData,
            };
            for i in 0..blocks_in::<B>(cols, super_block) {
                sink.first = i * (B::WEIGHTS / 32);
                panel.unpack(simd, super_block * per_super + i, &mut copies, &mut sink);
            }
            y = match <B::Layout as Layout>::GRAIN {
                Grain::Coarse => {
                    let scale = f32::from_bits(x[part::SCALE] as u32);
                    simd.multiply_add_float(sink.t, simd.splat_float(scale), y)
                }
                Grain::Fine => simd.add_float(sink.t, y),
            };
        }
        rows.store(simd, (row, count), 0, y);
    }
}

/// Multiplies weights with one column as they come.
struct Fused<'a, S: Lanes, L> {
    simd: S,
    x: &'a [i32],
    /// Weights of the next panel, to be brought near: a share with each group. All at once they
    /// would occupy the buffers that this panel's own loads need.
    next: *const u8,
    share: usize,
    /// Number in the block of 256 of the format's block's first group.
    first: usize,
    t: S::Float,
    whole: S::Int,
    layout: PhantomData<L>,
}

impl<S: Lanes, L: Layout> Fused<'_, S, L> {
    /// Prefetches the share of group `group`.
    #[inline(always)]
    fn prefetch(&self, group: usize) {
        for line in (0..self.share).step_by(64) {
            self.simd
                .prefetch(self.next.wrapping_add(group * self.share + line));
        }
    }

    /// The dot product of `4 N` codes from word `word` on.
    #[inline(always)]
    fn dot<const N: usize>(&self, start: S::Int, codes: &[S::Int; N], word: usize) -> S::Int {
        let x = &self.x[part::CODES + word..part::CODES + word + N];
        // SAFETY: `x` is `N` words.
        let [sum] = unsafe { self.simd.dot::<L, N, 1>([start], codes, x.as_ptr()) };
        sum
    }
}

impl<S: Lanes, L: Layout> Sink<S> for Fused<'_, S, L> {
    #[inline(always)]
    fn group32(&mut self, group: usize, codes: [S::Int; 8], scale: S::Float) {
        let group = self.first + group;
        self.prefetch(group);
        let codes = raised::<S, L, 8>(self.simd, codes);
        let start = start::<S, L>(self.simd, self.x[part::SUMS32 + group]);
        let sum = self.dot(start, &codes, group * 8);
        let scale = match L::GRAIN {
            Grain::Coarse => scale,
            Grain::Fine => {
                let of_x = f32::from_bits(self.x[part::SCALES32 + group] as u32);
                self.simd.multiply_float(scale, self.simd.splat_float(of_x))
            }
        };
        self.t = self
            .simd
            .multiply_add_float(self.simd.to_float(sum), scale, self.t);
    }

    #[inline(always)]
    fn group16(&mut self, group: usize, codes: [S::Int; 8], scales: [S::Float; 2]) {
        let group = self.first + group;
        self.prefetch(group);
        let [a, b, c, d, e, f, g, h] = raised::<S, L, 8>(self.simd, codes);
        for (half, codes) in [[a, b, c, d], [e, f, g, h]].iter().enumerate() {
            let start = start::<S, L>(self.simd, self.x[part::SUMS16 + 2 * group + half]);
            let sum = self.dot(start, codes, group * 8 + 4 * half);
            self.t = self
                .simd
                .multiply_add_float(self.simd.to_float(sum), scales[half], self.t);
        }
    }

    #[inline(always)]
    fn group256(&mut self, group: usize, codes: [S::Int; 8]) {
        let group = self.first + group;
        self.prefetch(group);
        let codes = raised::<S, L, 8>(self.simd, codes);
        if group == 0 {
            self.whole = start::<S, L>(self.simd, self.x[part::SUM256]);
        }
        self.whole = self.dot(self.whole, &codes, group * 8);
    }

    #[inline(always)]
    fn scale(&mut self, scale: S::Float) {
        self.t = self
            .simd
            .multiply_add_float(self.simd.to_float(self.whole), scale, self.t);
    }

    #[inline(always)]
    fn minimum32(&mut self, group: usize, minimum: S::Float) {
        let sum = f32::from_bits(self.x[part::TOTALS32 + self.first + group] as u32);
        self.t = self
            .simd
            .multiply_add_float(minimum, self.simd.splat_float(sum), self.t);
    }

    #[inline(always)]
    fn minimums32(&mut self, pairs: [S::Int; 4], factor: S::Float) {
        let mut sum = self.simd.splat_int(0);
        for (j, pair) in pairs.into_iter().enumerate() {
            let x = self.simd.splat_int(self.x[part::PAIRS32 + j]);
            sum = self.simd.dot_pairs(sum, pair, x);
        }
        self.t = self
            .simd
            .multiply_add_float(self.simd.to_float(sum), factor, self.t);
    }

    #[inline(always)]
    fn minimums16(&mut self, pairs: [S::Int; 8], factor: S::Float) {
        let mut sum = self.simd.splat_int(0);
        for (j, pair) in pairs.into_iter().enumerate() {
            let x = self.simd.splat_int(self.x[part::PAIRS16 + j]);
            sum = self.simd.dot_pairs(sum, pair, x);
        }
        self.t = self
            .simd
            .multiply_add_float(self.simd.to_float(sum), factor, self.t);
    }
}

/// 256 unpacked weights of each row of a panel.
#[derive(Clone, Copy)]
struct TileBlock<S: Lanes> {
    codes: [S::Int; SUPER / 4],
    scales: [S::Float; SUPER / 16],
    minimums: [S::Float; GROUPS],
    pairs: [S::Int; GROUPS],
    factor: S::Float,
}

impl<S: Lanes> TileBlock<S> {
    #[inline(always)]
    fn new(simd: S) -> TileBlock<S> {
        TileBlock {
            codes: [simd.splat_int(0); SUPER / 4],
            scales: [simd.splat_float(0.0); SUPER / 16],
            minimums: [simd.splat_float(0.0); GROUPS],
            pairs: [simd.splat_int(0); GROUPS],
            factor: simd.splat_float(0.0),
        }
    }
}

/// Stores weights in a tile.
struct Tile<'t, S: Lanes, L> {
    simd: S,
    block: &'t mut TileBlock<S>,
    first: usize,
    layout: PhantomData<L>,
}

impl<S: Lanes, L: Layout> Tile<'_, S, L> {
    #[inline(always)]
    fn codes(&mut self, group: usize, codes: [S::Int; 8]) -> usize {
        let group = self.first + group;
        self.block.codes[8 * group..][..8].copy_from_slice(&raised::<S, L, 8>(self.simd, codes));
        group
    }
}

impl<S: Lanes, L: Layout> Sink<S> for Tile<'_, S, L> {
    #[inline(always)]
    fn group32(&mut self, group: usize, codes: [S::Int; 8], scale: S::Float) {
        let group = self.codes(group, codes);
        self.block.scales[group] = scale;
    }

    #[inline(always)]
    fn group16(&mut self, group: usize, codes: [S::Int; 8], scales: [S::Float; 2]) {
        let group = self.codes(group, codes);
        self.block.scales[2 * group..][..2].copy_from_slice(&scales);
    }

    #[inline(always)]
    fn group256(&mut self, group: usize, codes: [S::Int; 8]) {
        self.codes(group, codes);
    }

    #[inline(always)]
    fn scale(&mut self, scale: S::Float) {
        self.block.scales[0] = scale;
    }

    #[inline(always)]
    fn minimum32(&mut self, group: usize, minimum: S::Float) {
        self.block.minimums[self.first + group] = minimum;
    }

    #[inline(always)]
    fn minimums32(&mut self, pairs: [S::Int; 4], factor: S::Float) {
        self.block.pairs[..4].copy_from_slice(&pairs);
        self.block.factor = factor;
    }

    #[inline(always)]
    fn minimums16(&mut self, pairs: [S::Int; 8], factor: S::Float) {
        self.block.pairs = pairs;
        self.block.factor = factor;
    }
}

#[inline(always)]
fn many_columns<S: Lanes, B: Unpack>(simd: S, rows: &Rows<'_>) {
    let cols = rows.weights.cols();
    let per_super = SUPER / B::WEIGHTS;
    let blocks = cols.div_ceil(SUPER);
    let mut copies = [const { std::mem::MaybeUninit::uninit() }; ROWS_MULTIPLE];
    let mut tile = [TileBlock::new(simd); TILE_BLOCKS];
    for start in (0..blocks).step_by(TILE_BLOCKS) {
        let end = (start + TILE_BLOCKS).min(blocks);
        for (row, count) in rows.panels(S::ROWS) {
            let panel = Panel::<B>::new(rows, row, count);
            for (super_block, block) in (start..end).zip(&mut tile) {
                let mut sink = Tile::<S, B::Layout> {
                    simd,
                    block,
                    first: 0,
                    layout: PhantomData,
                };
                for i in 0..blocks_in::<B>(cols, super_block) {
                    sink.first = i * (B::WEIGHTS / 32);
                    panel.unpack(simd, super_block * per_super + i, &mut copies, &mut sink);
                }
            }
            let product = Product {
                rows,
                tile: &tile[..end - start],
                start,
                row,
                count,
            };
            product.all_columns::<B::Layout>(simd);
        }
    }
}

/// A tile to multiply with all columns.
struct Product<'r, 'a, S: Lanes> {
    rows: &'r Rows<'a>,
    tile: &'r [TileBlock<S>],
    /// The tile's first block of 256 in a row.
    start: usize,
    row: usize,
    count: usize,
}

impl<S: Lanes> Product<'_, '_, S> {
    #[inline(always)]
    fn all_columns<L: Layout>(&self, simd: S) {
        let panels = self.rows.x.panels();
        for panel in 0..panels.count() {
            let columns = panels.get(panel);
            match columns.len() {
                1 => simd.call(Columns::<S, L, 1>::new(self, columns.start)),
                2 => simd.call(Columns::<S, L, 2>::new(self, columns.start)),
                3 => simd.call(Columns::<S, L, 3>::new(self, columns.start)),
                4 => simd.call(Columns::<S, L, 4>::new(self, columns.start)),
                5 => simd.call(Columns::<S, L, 5>::new(self, columns.start)),
                6 => simd.call(Columns::<S, L, 6>::new(self, columns.start)),
                7 => simd.call(Columns::<S, L, 7>::new(self, columns.start)),
                8 => simd.call(Columns::<S, L, 8>::new(self, columns.start)),
                width => unreachable!("panel of {width} columns"),
            }
        }
    }

    /// Multiplies the tile with the `W` columns from `column` on.
    #[inline(always)]
    fn columns<L: Layout, const W: usize>(&self, simd: S, column: usize) {
        if W > S::COLUMNS {
            return;
        }
        let cols = self.rows.weights.cols();
        let x = self.rows.x.panel_codes(L::GRAIN, &(column..column + W));
        let x = &x[self.start * part::TOTAL * W..];
        let rows = (self.row, self.count);
        let mut y = [simd.splat_float(0.0); W];
        if self.start > 0 {
            for (c, y) in y.iter_mut().enumerate() {
                *y = self.rows.load(simd, rows, column + c);
            }
        }
        for (b, (tile, x)) in self
            .tile
            .iter()
            .zip(x.chunks_exact(part::TOTAL * W))
            .enumerate()
        {
            let groups = (cols - (self.start + b) * SUPER).min(SUPER) / 32;
            let t = multiply_block::<S, L, W>(simd, tile, x, groups);
            for (c, (y, t)) in y.iter_mut().zip(t).enumerate() {
                *y = match L::GRAIN {
                    Grain::Coarse => {
                        let scale = f32::from_bits(x[part::SCALE * W + c] as u32);
                        simd.multiply_add_float(t, simd.splat_float(scale), *y)
                    }
                    Grain::Fine => simd.add_float(t, *y),
                };
            }
        }
        for (c, y) in y.into_iter().enumerate() {
            self.rows.store(simd, rows, column + c, y);
        }
    }
}

/// A tile to multiply with `W` columns: what formats of the same layout share.
struct Columns<'p, 'r, 'a, S: Lanes, L, const W: usize> {
    product: &'p Product<'r, 'a, S>,
    column: usize,
    layout: PhantomData<L>,
}

impl<'p, 'r, 'a, S: Lanes, L, const W: usize> Columns<'p, 'r, 'a, S, L, W> {
    #[inline(always)]
    fn new(product: &'p Product<'r, 'a, S>, column: usize) -> Self {
        Columns {
            product,
            column,
            layout: PhantomData,
        }
    }
}

impl<S: Lanes, L: Layout, const W: usize> Task<S> for Columns<'_, '_, '_, S, L, W> {
    #[inline(always)]
    fn run(self, simd: S) {
        self.product.columns::<L, W>(simd, self.column);
    }
}

/// The products of a tile's block with the `W` columns of `x`, in units of the activation scale.
#[inline(always)]
fn multiply_block<S: Lanes, L: Layout, const W: usize>(
    simd: S,
    tile: &TileBlock<S>,
    x: &[i32],
    groups: usize,
) -> [S::Float; W] {
    assert!(x.len() >= part::TOTAL * W && groups <= GROUPS);
    let at = |word: usize| x[word * W..].as_ptr();
    let word = |part: usize, c: usize| x[part * W + c];
    let mut t = [simd.splat_float(0.0); W];
    // SAFETY: `W` sums are there.
    let mut whole = unsafe { starts::<S, L, W>(simd, at(part::SUM256)) };
    let (groups_of_8, _) = tile.codes.as_chunks::<8>();
    let (groups_of_4, _) = tile.codes.as_chunks::<4>();
    for group in 0..groups {
        match L::GROUP {
            Group::Of32 => {
                // SAFETY: the `W` sums of the group are there, and the eight words of its codes
                // for every column.
                let sums = unsafe {
                    let start = starts::<S, L, W>(simd, at(part::SUMS32 + group));
                    let x = at(part::CODES + group * 8);
                    simd.dot::<L, 8, W>(start, &groups_of_8[group], x)
                };
                for (c, (t, sum)) in t.iter_mut().zip(sums).enumerate() {
                    let scale = match L::GRAIN {
                        Grain::Coarse => tile.scales[group],
                        Grain::Fine => {
                            let of_x = f32::from_bits(word(part::SCALES32 + group, c) as u32);
                            simd.multiply_float(tile.scales[group], simd.splat_float(of_x))
                        }
                    };
                    *t = simd.multiply_add_float(simd.to_float(sum), scale, *t);
                }
            }
            Group::Of16 => {
                for half in 2 * group..2 * group + 2 {
                    // SAFETY: the `W` sums of the group are there, and the four words of its
                    // codes for every column.
                    let sums = unsafe {
                        let start = starts::<S, L, W>(simd, at(part::SUMS16 + half));
                        let x = at(part::CODES + half * 4);
                        simd.dot::<L, 4, W>(start, &groups_of_4[half], x)
                    };
                    for (t, sum) in t.iter_mut().zip(sums) {
                        *t = simd.multiply_add_float(simd.to_float(sum), tile.scales[half], *t);
                    }
                }
            }
            Group::Of256 => {
                let x = at(part::CODES + group * 8);
                // SAFETY: `x` is followed by the eight words of the group, of every column.
                whole = unsafe { simd.dot::<L, 8, W>(whole, &groups_of_8[group], x) };
            }
        }
        if L::MINS == Mins::Float32 {
            for (c, t) in t.iter_mut().enumerate() {
                let sum = f32::from_bits(word(part::TOTALS32 + group, c) as u32);
                *t = simd.multiply_add_float(tile.minimums[group], simd.splat_float(sum), *t);
            }
        }
    }
    if L::GROUP == Group::Of256 {
        for (t, sum) in t.iter_mut().zip(whole) {
            *t = simd.multiply_add_float(simd.to_float(sum), tile.scales[0], *t);
        }
    }
    let pairs = match L::MINS {
        Mins::Integer32 => Some((part::PAIRS32, 4)),
        Mins::Integer16 => Some((part::PAIRS16, 8)),
        Mins::None | Mins::Float32 => None,
    };
    if let Some((part, count)) = pairs {
        for (c, t) in t.iter_mut().enumerate() {
            let mut sum = simd.splat_int(0);
            for (j, &pair) in tile.pairs[..count].iter().enumerate() {
                sum = simd.dot_pairs(sum, pair, simd.splat_int(word(part + j, c)));
            }
            *t = simd.multiply_add_float(simd.to_float(sum), tile.factor, *t);
        }
    }
    t
}
