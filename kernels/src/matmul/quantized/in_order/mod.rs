//! One column, where a row's bytes are read in the order of the file: the exact sums of groups are made
//! in vectors of groups ([`row`]), and when those of sixteen rows are there, they are turned, and the
//! rest is computed with rows across lanes ([`summed`]).
//!
//! Memory is one sequential stream, which is asked for ahead ([`requests`]). Sixteen rows side by side
//! are sixteen streams ([`super::fused`]), of which the hardware follows none.

mod requests;
mod row;
mod summed;

use super::fused::Fused;
use super::{GROUPS, unpack};
use crate::activations::Panels;
use crate::aligned::LINE;
use crate::formats::SUPER;
use crate::isa::{OneRow, Task, WIDTH};
use crate::matmul::tiled::Panel;
use crate::matmul::{ROOMY, Rows};
use crate::unpack::{Group, InOrder, Layout, Unpack, unrolled};
use requests::{Lines, Requests, Runs};
use row::{Column, PAIR};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;
use summed::Summed;

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

/// Bytes between what is read and what is asked for: a third of the smallest first-level cache with
/// which rows are read like this. What is asked for later has not come when it is read; what is asked
/// for earlier has gone.
const AHEAD: usize = ROOMY / 3;

/// How many lines are asked for while a pair of blocks of a row is multiplied, and how many while what is
/// kept of a pair of all rows is added: what makes them all, half of it with each block. Requests that
/// are spread more evenly come too late.
const fn lines<B: Unpack>() -> (usize, usize) {
    let all = (row::pair_bytes::<B>() * WIDTH).div_ceil(LINE);
    (all / WIDTH, (all % WIDTH).next_multiple_of(2))
}

/// One of the vectors that are kept of a pair of blocks, of sixteen rows.
type OfRows<S> = [MaybeUninit<S>; WIDTH];

/// What has been read of some pairs of blocks of sixteen rows: of each one vector, or two.
struct Kept<I, const PAIRS: usize> {
    first: [OfRows<I>; PAIRS],
    second: [OfRows<I>; PAIRS],
}

impl<I: Copy, const PAIRS: usize> Kept<I, PAIRS> {
    const NOTHING: Self = Kept {
        first: [const { [const { MaybeUninit::uninit() }; WIDTH] }; PAIRS],
        second: [const { [const { MaybeUninit::uninit() }; WIDTH] }; PAIRS],
    };

    /// Keeps those of row `lane` of the sixteen.
    #[inline(always)]
    fn keep<B: Unpack>(&mut self, pair: usize, lane: usize, [first, second]: [I; 2]) {
        self.first[pair][lane].write(first);
        if const { row::two::<B>() } {
            self.second[pair][lane].write(second);
        }
    }
}

/// Of vectors that have been kept, all.
///
/// # Safety
///
/// They have been written.
#[inline(always)]
unsafe fn all<I>(kept: &OfRows<I>) -> &[I; WIDTH] {
    // SAFETY: the caller's promise; `MaybeUninit` has the layout of what it holds.
    unsafe { &*(&raw const *kept).cast() }
}

/// Computes the product of the rows with the one column, if it is one and they are read like this; tells
/// whether they are.
///
/// Where the first-level cache is small, as that of Zen 4, what is asked for ahead in it comes at half the
/// speed of memory, and panels of rows are as fast as rows in order or faster from everywhere else.
#[inline(always)]
pub(super) fn one_column<S: OneRow, B: Unpack>(simd: S, rows: &Rows<'_>) -> bool {
    if const { !S::IN_ORDER || B::IN_ORDER.is_none() } {
        return false;
    }
    let cols = rows.weights.cols();
    if rows.x.columns() != 1 || !cols.is_multiple_of(SUPER) || rows.near < ROOMY {
        return false;
    }
    const {
        let sums = matches!(B::Layout::GROUP, Group::Of32 | Group::Wide16);
        assert!(!S::IN_ORDER || B::IN_ORDER.is_none() || S::ROWS == WIDTH && sums);
    }
    if cols <= FEW_PAIRS * PAIR {
        Product::<B, FEW_PAIRS>::of(rows).run(simd);
    } else {
        simd.call(Product::<B, MOST_PAIRS>::of(rows));
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
        let blocks = rows.weights.cols() / SUPER;
        let pairs = blocks.div_ceil(2);
        let most = segment::<B>().min(PAIRS);
        // Nearly equal parts, or full ones where there are many, as columns are divided.
        let segments = Panels::new(pairs, most, most);
        let mut x = [const { MaybeUninit::<Column<S>>::uninit() }; PAIRS];
        let whole = segments.count() == 1;
        if whole {
            write::<S, B>(simd, rows, 0..pairs, &mut x);
        }
        let mut kept = const { Kept::<S::Int, PAIRS>::NOTHING };
        for panel in Panel::all::<S>(rows, rows.rows.clone()) {
            let mut y = simd.splat_float(0.0);
            for number in 0..segments.count() {
                let pairs = segments.get(number);
                if !whole {
                    write::<S, B>(simd, rows, pairs.clone(), &mut x);
                }
                let segment = Segment::<S, B> {
                    rows,
                    x: &x,
                    panel: &panel,
                    pairs,
                    format: PhantomData,
                };
                let then = match number + 1 < segments.count() {
                    true => segment.place(panel.rows.start, segments.get(number + 1).start),
                    false => panel.after::<S>(rows, 1),
                };
                let mut requests = segment.requests(then, whole);
                segment.multiply(simd, &mut kept, &mut requests);
                y = segment.add(simd, &kept, y, &mut requests);
            }
            rows.store(simd, &panel, 0, y);
        }
    }
}

/// Writes the column's parts of some pairs.
#[inline(always)]
fn write<S: OneRow, B: Unpack>(
    simd: S,
    rows: &Rows<'_>,
    pairs: Range<usize>,
    x: &mut [MaybeUninit<Column<S>>],
) {
    let last = rows.weights.cols() / SUPER - 1;
    for (x, pair) in x.iter_mut().zip(pairs) {
        // Where there is no second block, the first serves twice.
        let first = rows.x.block_codes(2 * pair, 0..1);
        let second = rows.x.block_codes((2 * pair + 1).min(last), 0..1);
        x.write(Column::new::<B>(simd, [first, second]));
    }
}

/// Some pairs of blocks of the rows of a panel.
struct Segment<'r, 'a, S: OneRow, B> {
    rows: &'r Rows<'a>,
    /// The column's parts of these pairs, all written.
    x: &'r [MaybeUninit<Column<S>>],
    panel: &'r Panel<'a>,
    pairs: Range<usize>,
    format: PhantomData<B>,
}

impl<S: OneRow, B: Unpack> Segment<'_, '_, S, B> {
    /// Bytes of a pair of blocks.
    const BYTES: usize = row::pair_bytes::<B>();

    /// Where a pair of blocks lies, which need not be there.
    #[inline(always)]
    fn place(&self, row: usize, pair: usize) -> *const u8 {
        let matrix = self.rows.weights;
        let offset = row * matrix.row_bytes + pair * Self::BYTES;
        matrix.bytes.as_ptr().wrapping_add(offset)
    }

    /// What is asked for while the segment is multiplied, where what will be read behind it begins at
    /// `then` and rows follow each other as in this one. `whole` rows are one run.
    #[inline(always)]
    fn requests(&self, then: *const u8, whole: bool) -> Requests {
        let (rows, stride) = (self.panel.rows.len(), self.panel.stride);
        let (runs, length, stride) = match whole {
            true => (1, rows * stride, rows * stride),
            false => (rows, self.pairs.len() * Self::BYTES, stride),
        };
        let runs = Runs {
            now: (self.place(self.panel.rows.start, self.pairs.start), runs),
            then,
            length,
            stride,
        };
        Requests::new(runs, AHEAD)
    }

    /// Multiplies the groups of the segment and keeps their sums.
    #[inline(always)]
    fn multiply<const PAIRS: usize>(
        &self,
        simd: S,
        kept: &mut Kept<S::Int, PAIRS>,
        requests: &mut Requests,
    ) {
        let Segment {
            rows, panel, pairs, ..
        } = self;
        let whole = pairs.end.min(rows.weights.cols() / PAIR) - pairs.start;
        let lines = const { lines::<B>().0 };
        for (i, row) in panel.rows.clone().enumerate() {
            let weights = self.place(row, pairs.start);
            for pair in 0..pairs.len() {
                let lines = requests.take(lines);
                let vectors = if pair < whole {
                    // SAFETY: the row has so many whole pairs, and the column's have been written.
                    unsafe {
                        let x = self.x[pair].assume_init_ref();
                        let weights = weights.add(pair * Self::BYTES).cast();
                        row::multiply::<S, B>(simd, weights, x, lines)
                    }
                } else {
                    self.multiply_last(simd, row, lines)
                };
                kept.keep::<B>(pair, panel.skip + i, vectors);
            }
        }
        // Of rows whose results are not wanted, anything.
        for lane in (0..panel.skip).chain(panel.skip + panel.rows.len()..WIDTH) {
            for pair in 0..pairs.len() {
                kept.keep::<B>(pair, lane, [simd.splat_int(0); 2]);
            }
        }
    }

    /// The last block of a row that has no other to make it a pair: what lies behind it is multiplied
    /// too.
    #[inline(always)]
    fn multiply_last(&self, simd: S, row: usize, lines: Lines) -> [S::Int; 2] {
        let matrix = self.rows.weights;
        let start = (row + 1) * matrix.row_bytes - Self::BYTES / 2;
        let mut copy = [0; MOST_BYTES];
        let weights = match matrix.bytes.get(start..start + Self::BYTES) {
            Some(pair) => pair,
            // The last of the matrix.
            None => {
                copy[..Self::BYTES / 2].copy_from_slice(&matrix.bytes[start..]);
                &copy
            }
        };
        // SAFETY: there are as many bytes as two blocks have, and the column's pairs have been written.
        unsafe {
            let x = self.x[self.pairs.len() - 1].assume_init_ref();
            row::multiply::<S, B>(simd, weights.as_ptr().cast(), x, lines)
        }
    }

    /// Adds the products with the blocks of the segment to `y`.
    #[inline(always)]
    fn add<const PAIRS: usize>(
        &self,
        simd: S,
        kept: &Kept<S::Int, PAIRS>,
        mut y: S::Float,
        requests: &mut Requests,
    ) -> S::Float {
        let blocks = self.rows.weights.cols() / SUPER;
        let lines = const { lines::<B>().1 };
        for (i, pair) in self.pairs.clone().enumerate() {
            // SAFETY: `multiply` has written those of every pair of the segment, for all rows.
            let first = unsafe { all(&kept.first[i]) };
            let (sums, mut scales) = if const { row::packed::<B>() } {
                let (sums, scales) = simd.unpacked(first);
                (sums, Some(scales))
            } else {
                (simd.transposed_ints(first), None)
            };
            if const { matches!(B::IN_ORDER, Some(InOrder::WithCodes)) } {
                // SAFETY: there are two vectors, and as above.
                let words = simd.transposed_ints(unsafe { all(&kept.second[i]) });
                let mut floats = [simd.splat_float(0.0); WIDTH];
                for (float, word) in floats.iter_mut().zip(words) {
                    *float = simd.bits_to_float(word);
                }
                scales = Some(floats);
            }
            unrolled!(BLOCK in 2, {
                let (block, lines) = (2 * pair + BLOCK, requests.take(lines / 2));
                if block < blocks {
                    let words = self.rows.x.block_codes(block, 0..1);
                    let mut sink = Summed::<S, B> {
                        fused: Fused::new(simd, words, words.as_ptr()),
                        sums: [simd.splat_int(0); GROUPS],
                        lines,
                    };
                    unrolled!(GROUP in 8, {
                        const NUMBER: usize = BLOCK * GROUPS + GROUP;
                        sink.sums[GROUP] = sums[const { row::lane::<B>(NUMBER) }];
                    });
                    match scales {
                        Some(scales) => {
                            for group in 0..GROUPS {
                                sink.add(group, scales[BLOCK * GROUPS + group]);
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
