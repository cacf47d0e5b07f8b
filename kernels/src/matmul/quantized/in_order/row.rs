//! A pair of blocks of one row: the exact sums of its groups, a group in each lane.

use crate::activations::{START_OFFSET, part};
use crate::formats::SUPER;
use crate::isa::{CodeRange, Lanes, OneRow, WIDTH};
use crate::unpack::{InOrder, Layout, Unpack, raised, unrolled};

use super::super::{GROUPS, block_bytes};
use super::requests::Lines;

/// Weights that are multiplied at once: two blocks, of which there are as many groups of 32 as lanes.
pub(super) const PAIR: usize = 2 * SUPER;

const _: () = assert!(PAIR == WIDTH * 32);

/// Bytes of a pair of blocks.
pub(super) const fn pair_bytes<B: Unpack>() -> usize {
    2 * block_bytes::<B>()
}

/// Whether both vectors of 128 codes are of the same groups: the quarters of one are the first halves
/// of four groups, those of the other the second.
const fn joined<B: Unpack>() -> bool {
    B::SIXTEENS[0][1] == 2
}

/// Whether sums and scales lie in one vector.
pub(super) const fn packed<B: Unpack>() -> bool {
    matches!(B::IN_ORDER, Some(InOrder::Packed))
}

/// Whether there are two vectors of what is kept of a pair.
pub(super) const fn two<B: Unpack>() -> bool {
    matches!(B::IN_ORDER, Some(InOrder::WithCodes))
}

/// Whether sums of 16 are multiplied with whole numbers, and added, before anything is kept.
const fn whole<B: Unpack>() -> bool {
    matches!(B::IN_ORDER, Some(InOrder::Whole))
}

/// What codes are raised by that have their sums packed.
const fn raised_by<B: Unpack>() -> i32 {
    if packed::<B>() { B::Layout::OFFSET } else { 1 }
}

/// How often two lanes of products can be added in 16 bits, at most twice.
const fn short<B: Unpack>() -> usize {
    let most = match B::Layout::MAX {
        Some(most) => most as u32 * 128,
        None => return 0,
    };
    let products = if joined::<B>() { 8 } else { 4 };
    if most * products * 2 < 1 << 15 {
        2
    } else if most * products < 1 << 15 {
        1
    } else {
        0
    }
}

/// Where the sum of the group of 32 of number `group` of a pair is: its lane.
pub(super) const fn lane<B: Unpack>(group: usize) -> usize {
    let (number, group) = (group / 4, group % 4);
    if whole::<B>() {
        return 4 * number + group;
    }
    if joined::<B>() {
        return 4 * group + number;
    }
    let (mut vector, mut half) = (0, 0);
    while B::SIXTEENS[vector][2 * half] / 2 != group {
        (vector, half) = (vector + half, 1 - half);
    }
    let vector = 2 * number + vector;
    4 * (2 * (vector / 4) + half) + vector % 4
}

/// The group of 32 in each lane.
const fn groups<B: Unpack>() -> [usize; WIDTH] {
    let mut groups = [0; WIDTH];
    let mut group = 0;
    while group < WIDTH {
        groups[lane::<B>(group)] = group;
        group += 1;
    }
    groups
}

/// A column's part of a pair of blocks.
pub(super) struct Column<S: Lanes> {
    /// The codes: of each 128, the sixteens that both vectors of codes have.
    codes: [[S::Int; 2]; 4],
    /// What sums begin with, where it is added before they are packed; where sums of 16 are multiplied
    /// with whole numbers, the sums of their codes, negative.
    starts: S::Int,
}

impl<S: OneRow> Column<S> {
    /// That of two blocks with these words.
    #[inline(always)]
    pub(super) fn new<B: Unpack>(simd: S, blocks: [&[i32]; 2]) -> Self {
        let mut codes = [[simd.splat_int(0); 2]; 4];
        for (number, vectors) in codes.iter_mut().enumerate() {
            let first = part::CODES + 32 * (number % 2);
            let words = blocks[number / 2][first..].first_chunk();
            let words = words.expect("a block has 64 words of codes");
            for (vector, sixteens) in vectors.iter_mut().zip(&B::SIXTEENS) {
                *vector = simd.quarters(words, sixteens);
            }
        }
        let mut starts = simd.splat_int(0);
        if const { packed::<B>() } {
            let mut eights = [&[0; GROUPS]; 2];
            for (eights, words) in eights.iter_mut().zip(blocks) {
                let words = words[part::STARTS32..].first_chunk();
                *eights = words.expect("a block has a word for each group");
            }
            // An exact division: offsets are powers of two.
            let shift = const { (START_OFFSET / raised_by::<B>()).trailing_zeros() };
            starts = simd.eights(eights, const { &groups::<B>() }, shift);
        } else if const { whole::<B>() } {
            let mut sixteens = [&[0; 2 * GROUPS]; 2];
            for (sixteens, words) in sixteens.iter_mut().zip(blocks) {
                let words = words[part::STARTS16..].first_chunk();
                *sixteens = words.expect("a block has a word for each 16");
            }
            starts = simd.narrowed(sixteens, const { START_OFFSET.trailing_zeros() });
        }
        Column { codes, starts }
    }
}

/// What is kept of a pair of blocks, one vector or two: the sums of the groups' products with those of
/// the column; behind them, or beside them in one vector, their scales, if they are read with codes and
/// are not whole numbers, which sums have been multiplied with. Meanwhile `lines` are asked for.
///
/// # Safety
///
/// The weights are readable.
#[inline(always)]
pub(super) unsafe fn multiply<S: OneRow, B: Unpack>(
    simd: S,
    weights: *const B,
    x: &Column<S>,
    lines: Lines,
) -> [S::Int; 2] {
    let nothing = simd.splat_int(0);
    let mut products = [[nothing; 4]; 2];
    let mut codes = [nothing; 2];
    // SAFETY: the caller's promise.
    let bytes = unsafe { B::bytes(simd, weights) };
    unrolled!(STEP in 8, {
        const NUMBER: usize = STEP / 2;
        lines.ask(simd, STEP);
        if STEP.is_multiple_of(2) {
            // SAFETY: the caller's promise.
            codes = unsafe { B::codes::<S, NUMBER>(simd, weights, &bytes) };
            codes = raised::<S, B::Layout, 2>(simd, codes);
        }
        let (codes, x) = (codes[STEP % 2], x.codes[NUMBER][STEP % 2]);
        let product = match const { joined::<B>() } {
            true => &mut products[0][NUMBER],
            false => &mut products[STEP / 4][STEP % 4],
        };
        *product = simd.dot_bytes(*product, codes, x);
    });
    if const { whole::<B>() } {
        const {
            let fits = short::<B>() > 0 && !joined::<B>() && B::Layout::OFFSET.count_ones() == 1;
            assert!(!whole::<B>() || fits);
        }
        // SAFETY: the caller's promise.
        let scales = unsafe { B::scales(simd, weights, &bytes) };
        let raised = (x.starts, const { B::Layout::OFFSET.trailing_zeros() });
        return [simd.scaled_sums(products, scales, raised), nothing];
    }
    let mut sums = [nothing; 2];
    for (sums, products) in sums.iter_mut().zip(products) {
        *sums = match const { short::<B>() } {
            0 => simd.sums_of_quarters::<0>(products),
            1 => simd.sums_of_quarters::<1>(products),
            _ => simd.sums_of_quarters::<2>(products),
        };
    }
    let sums = match const { joined::<B>() } {
        true => sums[0],
        false => simd.sums_of_pairs_of_quarters(sums),
    };
    // SAFETY: the caller's promise.
    let scales = unsafe {
        match B::IN_ORDER {
            Some(InOrder::Packed | InOrder::WithCodes) => B::scales(simd, weights, &bytes),
            _ => nothing,
        }
    };
    match const { packed::<B>() } {
        true => [simd.packed(simd.add_int(sums, x.starts), scales), nothing],
        false => [sums, scales],
    }
}
