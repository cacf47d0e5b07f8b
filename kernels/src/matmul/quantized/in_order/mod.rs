//! One column, where a row's bytes are read in the order of the file: the exact sums of groups are made
//! in vectors of groups, and when those of sixteen rows are there, they are turned, and the rest is
//! computed with rows across lanes.
//!
//! Memory is one sequential stream, which is asked for ahead. Sixteen rows side by side are sixteen
//! streams ([`super::fused`]), of which the hardware follows none.

use super::fused::Fused;
use super::{FirstGroup, GROUPS, block_bytes, unpack};
use crate::activations::{Panels, part};
use crate::aligned::LINE;
use crate::formats::SUPER;
use crate::isa::{OneRow, Task, WIDTH};
use crate::matmul::Rows;
use crate::matmul::tiled::Panel;
use crate::unpack::{Group, InOrder, Layout, Sink, Unpack, raised, unrolled};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Weights that are multiplied at once: two blocks, of which there are as many groups of 32 as lanes.
const PAIR: usize = 2 * SUPER;

const _: () = assert!(PAIR == WIDTH * 32);

/// Bytes of two blocks of any format, at most.
const MOST_BYTES: usize = 2 * PAIR;

/// Pairs of a row, at most, of which something is kept.
const MOST_PAIRS: usize = 64;

/// The same where rows are short: the room for more is a frame on the stack of 32 pages, all of which a
/// function touches when it is entered.
const FEW_PAIRS: usize = 16;

/// Pairs of a row, at most, that are read before those of the next row. Parts of rows are not one stream,
/// so rows are divided only where too much would have left the near caches when it is used again: the
/// column in the next row; and, where scales are read of all rows in between, these.
const fn segment<B: Unpack>() -> usize {
    match B::IN_ORDER {
        Some(InOrder::AcrossRows) => 40,
        _ => MOST_PAIRS,
    }
}

/// Bytes between what is read and what is asked for. Where scales are read of all rows in between, for
/// that time as well.
const fn ahead<B: Unpack>() -> usize {
    match B::IN_ORDER {
        Some(InOrder::AcrossRows) => 12 << 10,
        _ => 8 << 10,
    }
}

/// What has been read of a pair of blocks of sixteen rows: of each, vectors of groups.
struct Kept<S: OneRow> {
    /// The sums of the products of codes.
    sums: [MaybeUninit<S::Int>; WIDTH],
    /// The scales of weights, if they were read together with the codes.
    scales: [MaybeUninit<S::Float>; WIDTH],
}

impl<S: OneRow> Kept<S> {
    const NOTHING: Kept<S> = Kept {
        sums: [const { MaybeUninit::uninit() }; WIDTH],
        scales: [const { MaybeUninit::uninit() }; WIDTH],
    };

    /// Keeps those of row `lane` of the sixteen.
    #[inline(always)]
    fn keep(&mut self, lane: usize, sums: S::Int, scales: Option<S::Float>) {
        self.sums[lane].write(sums);
        if let Some(scales) = scales {
            self.scales[lane].write(scales);
        }
    }
}

/// Computes the product of the rows with the one column, if it is one and they are read like this; tells
/// whether they are.
#[inline(always)]
pub(super) fn one_column<S: OneRow, B: Unpack>(simd: S, rows: &Rows<'_>) -> bool {
    if const { !S::IN_ORDER || B::IN_ORDER.is_none() } {
        return false;
    }
    if rows.x.columns() != 1 || !rows.weights.cols().is_multiple_of(SUPER) {
        return false;
    }
    const {
        let of_32 = matches!(B::Layout::GROUP, Group::Of32) || B::IN_ORDER.is_none();
        assert!(!S::IN_ORDER || S::ROWS == WIDTH && of_32);
    }
    match rows.weights.cols() <= FEW_PAIRS * PAIR {
        true => Product::<B, FEW_PAIRS>::of(rows).run(simd),
        false => simd.call(Product::<B, MOST_PAIRS>::of(rows)),
    }
    true
}

/// The product of the rows with the one column, with room for so many pairs.
struct Product<'r, 'a, B, const PAIRS: usize> {
    rows: &'r Rows<'a>,
    format: PhantomData<B>,
}

impl<'r, 'a, B, const PAIRS: usize> Product<'r, 'a, B, PAIRS> {
    #[inline(always)]
    fn of(rows: &'r Rows<'a>) -> Self {
        Product {
            rows,
            format: PhantomData,
        }
    }
}

impl<S: OneRow, B: Unpack, const PAIRS: usize> Task<S> for Product<'_, '_, B, PAIRS> {
    #[inline(always)]
    fn run(self, simd: S) {
        let rows = self.rows;
        let mut kept = [const { Kept::<S>::NOTHING }; PAIRS];
        let pairs = (rows.weights.cols() / SUPER).div_ceil(2);
        let most = segment::<B>().min(PAIRS);
        // Nearly equal parts, or full ones where there are many, as columns are divided.
        let segments = Panels::new(pairs, most, most);
        for panel in Panel::all::<S>(rows, rows.rows.clone()) {
            let mut y = simd.splat_float(0.0);
            for number in 0..segments.count() {
                let segment = Segment::<B> {
                    rows,
                    panel: &panel,
                    pairs: segments.get(number),
                    format: PhantomData,
                };
                let next = match number + 1 < segments.count() {
                    true => segment.place(panel.rows.start, segments.get(number + 1).start),
                    false => panel.after::<S>(rows, 1),
                };
                segment.multiply(simd, next, &mut kept);
                y = segment.add(simd, &kept, y);
            }
            rows.store(simd, &panel, 0, y);
        }
    }
}

/// Some pairs of blocks of the rows of a panel.
struct Segment<'r, 'a, B> {
    rows: &'r Rows<'a>,
    panel: &'r Panel<'a>,
    pairs: Range<usize>,
    format: PhantomData<B>,
}

impl<B: Unpack> Segment<'_, '_, B> {
    /// Bytes of a pair of blocks.
    const BYTES: usize = 2 * block_bytes::<B>();

    /// Where a pair of blocks lies, which need not be there.
    #[inline(always)]
    fn place(&self, row: usize, pair: usize) -> *const u8 {
        let matrix = self.rows.weights;
        let offset = row * matrix.row_bytes + pair * Self::BYTES;
        matrix.bytes.as_ptr().wrapping_add(offset)
    }

    /// Multiplies the groups of the segment and keeps their sums. What will be read behind it begins at
    /// `next`, where rows follow each other as in this one.
    #[inline(always)]
    fn multiply<S: OneRow>(&self, simd: S, next: *const u8, kept: &mut [Kept<S>]) {
        let Segment {
            rows, panel, pairs, ..
        } = self;
        let whole = pairs.end.min(rows.weights.cols() / PAIR) - pairs.start;
        let x = rows.x.block_codes(2 * pairs.start, 0..1).as_ptr();
        let ahead = const { ahead::<B>().div_ceil(Self::BYTES) };
        let (rows_ahead, ahead) = (ahead / pairs.len(), ahead % pairs.len());
        for (i, row) in panel.rows.clone().enumerate() {
            let weights = self.place(row, pairs.start);
            // The rows that are asked for meanwhile: the rest of one and the beginning of the next.
            let mut asked = [weights; 2];
            for (more, asked) in asked.iter_mut().enumerate() {
                let number = i + rows_ahead + more;
                *asked = match number.checked_sub(panel.rows.len()) {
                    None => self.place(panel.rows.start + number, pairs.start),
                    Some(beyond) => next.wrapping_add(beyond * panel.stride),
                };
            }
            for pair in 0..pairs.len() {
                let asked = match (pair + ahead).checked_sub(pairs.len()) {
                    None => asked[0].wrapping_add((pair + ahead) * Self::BYTES),
                    Some(beyond) => asked[1].wrapping_add(beyond * Self::BYTES),
                };
                let (sums, scales) = if pair < whole {
                    // SAFETY: the row has so many whole pairs, and the column as many blocks.
                    unsafe {
                        let x = x.add(2 * pair * part::TOTAL);
                        let weights = weights.add(pair * Self::BYTES).cast();
                        multiply::<S, B>(simd, weights, [x, x.add(part::TOTAL)], asked)
                    }
                } else {
                    self.multiply_last(simd, row, asked)
                };
                kept[pair].keep(panel.skip + i, sums, scales);
            }
        }
        // Of rows whose results are not wanted, anything.
        for lane in (0..panel.skip).chain(panel.skip + panel.rows.len()..WIDTH) {
            for kept in &mut kept[..pairs.len()] {
                kept.keep(lane, simd.splat_int(0), Some(simd.splat_float(0.0)));
            }
        }
    }

    /// The last block of a row that has no other to make it a pair: what lies behind it is multiplied
    /// too.
    #[inline(always)]
    fn multiply_last<S: OneRow>(
        &self,
        simd: S,
        row: usize,
        asked: *const u8,
    ) -> (S::Int, Option<S::Float>) {
        let matrix = self.rows.weights;
        let start = (row + 1) * matrix.row_bytes - Self::BYTES / 2;
        let x = self.rows.x.block_codes(matrix.cols() / SUPER - 1, 0..1);
        let mut copy = [0; MOST_BYTES];
        let weights = match matrix.bytes.get(start..start + Self::BYTES) {
            Some(pair) => pair,
            // The last of the matrix.
            None => {
                copy[..Self::BYTES / 2].copy_from_slice(&matrix.bytes[start..]);
                &copy
            }
        };
        // SAFETY: there are as many bytes as two blocks have, and one of the column serves twice.
        unsafe { multiply::<S, B>(simd, weights.as_ptr().cast(), [x.as_ptr(); 2], asked) }
    }

    /// Adds the products with the blocks of the segment to `y`.
    #[inline(always)]
    fn add<S: OneRow>(&self, simd: S, kept: &[Kept<S>], mut y: S::Float) -> S::Float {
        let blocks = self.rows.weights.cols() / SUPER;
        for (pair, kept) in self.pairs.clone().zip(kept) {
            // SAFETY: `multiply` has written those of every pair of the segment, for all rows.
            let sums = unsafe { &*(&raw const kept.sums).cast::<[S::Int; WIDTH]>() };
            let sums = simd.transposed_ints(sums);
            let scales = match B::IN_ORDER {
                Some(InOrder::WithCodes) => {
                    // SAFETY: as above.
                    let scales = unsafe { &*(&raw const kept.scales).cast() };
                    Some(simd.transposed_floats(scales))
                }
                _ => None,
            };
            unrolled!(BLOCK in 2, {
                let block = 2 * pair + BLOCK;
                if block < blocks {
                    let words = self.rows.x.block_codes(block, 0..1);
                    let first = BLOCK * GROUPS;
                    let mut sink = Summed::<S, B::Layout> {
                        fused: Fused::new(simd, words, words.as_ptr()),
                        sums: sums[first..].first_chunk().expect("eight of sixteen"),
                    };
                    match scales {
                        Some(scales) => {
                            for group in 0..GROUPS {
                                sink.add(group, scales[first + group]);
                            }
                        }
                        None => unpack::<S, B>(simd, self.panel, block, &mut sink),
                    }
                    y = simd.add_float(sink.fused.t[0], y);
                }
            });
        }
        y
    }
}

/// The sums of the groups of two blocks with those of the column, and the scales, if they are read with
/// codes. Meanwhile as many bytes are asked for at `asked`.
///
/// # Safety
///
/// The weights are readable, and the words of each block.
#[inline(always)]
unsafe fn multiply<S: OneRow, B: Unpack>(
    simd: S,
    weights: *const B,
    blocks: [*const i32; 2],
    asked: *const u8,
) -> (S::Int, Option<S::Float>) {
    let mut products = [simd.splat_int(0); 8];
    let lines = Segment::<B>::BYTES.div_ceil(LINE);
    unrolled!(NUMBER in 8, {
        for line in lines * NUMBER / 8..lines * (NUMBER + 1) / 8 {
            simd.prefetch_near(asked.wrapping_add(line * LINE));
        }
        // SAFETY: the caller's promise; a block has 64 words of codes.
        products[NUMBER] = unsafe {
            let x = blocks[NUMBER / 4].add(part::CODES + NUMBER % 4 * 16);
            let codes = B::codes(simd, weights, NUMBER);
            let [codes] = raised::<S, B::Layout, 1>(simd, [codes]);
            simd.dot_bytes(codes, x)
        };
    });
    let scales = match B::IN_ORDER {
        // SAFETY: the caller's promise.
        Some(InOrder::WithCodes) => Some(unsafe { B::scales(simd, weights) }),
        _ => None,
    };
    (simd.sums_of_eights(products), scales)
}

/// Takes the scales of a block of 256, the sums of whose groups are known already.
struct Summed<'s, S: OneRow, L: Layout> {
    /// What the products are added to.
    fused: Fused<S, L, 1>,
    /// The sums, with rows across lanes.
    sums: &'s [S::Int; GROUPS],
}

impl<S: OneRow, L: Layout> Summed<'_, S, L> {
    /// Adds the sum of group `group` of the block of 256, times `scale` and that of the activations.
    #[inline(always)]
    fn add(&mut self, group: usize, scale: S::Float) {
        let [start] = self.fused.starts(part::STARTS32 + group);
        let sum = self.simd().add_int(self.sums[group], start);
        self.fused.add(group, [sum], scale);
    }
}

impl<S: OneRow, L: Layout> FirstGroup<S> for Summed<'_, S, L> {
    #[inline(always)]
    fn first_group(&mut self, group: usize) {
        self.fused.first_group(group);
    }
}

/// What groups of 16 are told where only formats with groups of 32 are read.
const OF_16: &str = "a group of 16 weights";

impl<S: OneRow, L: Layout> Sink<S> for Summed<'_, S, L> {
    type Layout = L;

    #[inline(always)]
    fn simd(&self) -> S {
        self.fused.simd()
    }

    #[inline(always)]
    fn raised32(&mut self, group: usize, _codes: [S::Int; 8], scale: S::Float) {
        self.add(self.fused.first + group, scale);
    }

    #[inline(always)]
    fn ordered32(&mut self, group: usize, _codes: [S::Int; 8], scale: S::Float) {
        self.add(self.fused.first + group, scale);
    }

    #[inline(always)]
    fn raised16(&mut self, _group: usize, _codes: [S::Int; 8], _scales: [S::Float; 2]) {
        unreachable!("{OF_16}");
    }

    #[inline(always)]
    fn ordered16(&mut self, _group: usize, _codes: [S::Int; 8], _scales: [S::Float; 2]) {
        unreachable!("{OF_16}");
    }

    #[inline(always)]
    fn whole16(&mut self, _group: usize, _codes: [S::Int; 8], _scales: S::Int, _factor: S::Float) {
        unreachable!("{OF_16}");
    }

    #[inline(always)]
    fn minimum32(&mut self, group: usize, minimum: S::Float) {
        self.fused.minimum32(group, minimum);
    }

    #[inline(always)]
    fn minimums32(&mut self, pairs: [S::Int; 4], factor: S::Float) {
        self.fused.minimums32(pairs, factor);
    }

    #[inline(always)]
    fn minimums16(&mut self, _pairs: [S::Int; 8], _factor: S::Float) {
        unreachable!("{OF_16}");
    }
}
