//! Products with quantized weights: the two sinks that unpacked weights go to ([`fused`] and
//! [`tile`]), and the blocks that feed them; and one column with rows in the order of the file
//! ([`in_order`]).
#![allow(unsafe_code)]

mod fused;
mod in_order;
mod multiply;
mod tile;
mod words;

use super::tiled::{Panel, many_columns};
use super::{Rows, Weights};
use crate::activations::Precision;
use crate::formats::SUPER;
use crate::isa::{Lanes, Simd};
use crate::unpack::{BlockRows, Layout, Sink, Unpack};
use std::marker::PhantomData;

/// Groups of 32 weights in a block of 256.
const GROUPS: usize = SUPER / 32;

impl<B: Unpack> Weights for B {
    const PRECISION: Precision = B::Layout::PRECISION;
    const BYTE_TABLES: bool = B::BYTE_TABLES;

    #[inline(always)]
    fn multiply<S: Simd>(simd: S, rows: &Rows<'_>) {
        if !in_order::one_column::<S, B>(simd, rows) && !fused::few_columns::<S, B>(simd, rows) {
            simd.call(many_columns::<S, Quantized<B>>(rows));
        }
    }
}

/// Bytes of 256 weights of a row.
const fn block_bytes<B: Unpack>() -> usize {
    SUPER / B::WEIGHTS * size_of::<B>()
}

/// Marks the blocks of type `B` as what a tile is made of.
struct Quantized<B>(PhantomData<B>);

/// Unpacks the 256 weights of number `block` of every row of the panel into `sink`; the last may be
/// fewer. `sink` is told the number of the first group of each of the format's blocks.
#[inline(always)]
fn unpack<S: Lanes, B: Unpack>(
    simd: S,
    panel: &Panel<'_>,
    block: usize,
    sink: &mut impl FirstGroup<S>,
) {
    let per_super = SUPER / B::WEIGHTS;
    let count = (panel.cols - block * SUPER).min(SUPER) / B::WEIGHTS;
    for i in 0..count {
        sink.first_group(i * (B::WEIGHTS / 32));
        let offset = (block * per_super + i) * size_of::<B>();
        debug_assert!(offset + size_of::<B>() <= panel.stride);
        // SAFETY: `S::ROWS` rows of `stride` bytes of whole blocks lie at `base`, and this is one
        // of the blocks of each. `B` is any bytes, at any alignment.
        let blocks = unsafe { BlockRows::new(panel.base.add(offset), panel.stride) };
        B::unpack(simd, blocks, sink);
    }
}

/// A sink for the blocks of a format that are parts of one block of 256.
trait FirstGroup<S: Lanes>: Sink<S> {
    /// The next block's first group is group `group` of the 256.
    fn first_group(&mut self, group: usize);
}

/// What codes have been raised by when a [`Sink`] takes them.
const fn offset<S: Lanes, L: Layout>() -> i32 {
    match L::MAX {
        Some(_) => L::OFFSET,
        None => S::SIGNED_OFFSET,
    }
}

/// The first and the last 16 codes of a group.
#[inline(always)]
fn halves<T>(codes: &[T; 8]) -> [&[T; 4]; 2] {
    let (halves, _) = codes.as_chunks::<4>();
    [&halves[0], &halves[1]]
}
