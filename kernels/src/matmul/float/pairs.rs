//! BF16 weights two at a time, by an instruction that adds the products of pairs of bfloat16. It does
//! what two multiply-adds do, but takes for zero what is too small to be a normal float. Activations
//! are rounded so that this can only be where a weight is very small ([`SMALLEST_WEIGHT`]); blocks
//! with such weights are multiplied without the instruction, so that results are the same.

use super::along::Along;
use super::tile::Elements;
use crate::activations::{Activations, PAIRED, SMALLEST_WEIGHT};
use crate::formats::SUPER;
use crate::isa::{Lanes, Simd, WIDTH, dot_bf16_exactly};
use std::ops::Range;

/// Bytes of a weight.
const BYTES: usize = 2;

/// Marks BF16 weights that are multiplied in pairs, of any size where `ANY_SIZE`.
pub(super) struct Pairs<const ANY_SIZE: bool>;

impl<S: Simd> Along<S> for Pairs<false> {
    const BYTES: usize = BYTES;
    const UNIT: usize = PAIRED;
    const VECTORS: usize = SUPER / PAIRED;
    const WATCHES: bool = true;
    type Numbers = [i32; WIDTH];
    type Operand = S::Int;
    type Sum = S::Float;

    #[inline(always)]
    fn column(x: &Activations, column: usize) -> &[[i32; WIDTH]] {
        x.column_pairs(column)
    }

    #[inline(always)]
    unsafe fn weights(simd: S, block: *const u8, i: usize) -> S::Int {
        const { assert!(cfg!(target_endian = "little")) };
        assert!(S::ROWS == WIDTH);
        // SAFETY: the caller's promise.
        unsafe { simd.load_int(block.cast::<i32>().add(i * WIDTH)) }
    }

    #[inline(always)]
    fn activations(simd: S, x: &[i32; WIDTH]) -> S::Int {
        assert!(S::ROWS == WIDTH);
        // SAFETY: these are as many words.
        unsafe { simd.load_int(x.as_ptr()) }
    }

    #[inline(always)]
    fn nothing(simd: S) -> S::Float {
        simd.splat_float(0.0)
    }

    #[inline(always)]
    fn multiply_add(simd: S, weights: S::Int, x: S::Int, sum: S::Float) -> S::Float {
        simd.dot_bf16(weights, x, sum)
    }

    #[inline(always)]
    fn multiply_add_exactly(simd: S, weights: S::Int, x: S::Int, sum: S::Float) -> S::Float {
        dot_bf16_exactly(simd, weights, x, sum)
    }

    #[inline(always)]
    fn unseen(simd: S) -> Option<S::Int> {
        Some(simd.splat_int(-1))
    }

    #[inline(always)]
    fn watch(simd: S, seen: Option<S::Int>, weights: S::Int) -> Option<S::Int> {
        Some(simd.least_bf16(seen?, weights))
    }

    #[inline(always)]
    fn any_too_small(simd: S, seen: Option<S::Int>) -> bool {
        match seen {
            Some(least) => simd.any_bf16_below(least, SMALLEST_WEIGHT),
            None => false,
        }
    }

    #[inline(always)]
    fn vector(simd: S, sum: S::Float) -> S::Vector {
        assert!(S::ROWS == WIDTH);
        let mut lanes = [0.0; WIDTH];
        // SAFETY: there are as many lanes.
        unsafe { simd.store_float(lanes.as_mut_ptr(), sum) };
        simd.load(&lanes)
    }
}

impl<S: Lanes, const ANY_SIZE: bool> Elements<S> for Pairs<ANY_SIZE> {
    const BYTES: usize = BYTES;
    const UNIT: usize = PAIRED;
    const PER_ELEMENT: usize = 2;
    const WATCHES: bool = S::DOTS_BF16;
    type Number = i32;
    type Element = S::Int;
    type Exactly = Pairs<true>;

    #[inline(always)]
    fn panel<'x>(x: &'x Activations, columns: &Range<usize>) -> &'x [i32] {
        x.panel_pairs(columns)
    }

    #[inline(always)]
    fn nothing(simd: S) -> S::Int {
        simd.splat_int(0)
    }

    #[inline(always)]
    unsafe fn gather(
        simd: S,
        (base, stride): (*const u8, usize),
        tile: &mut [S::Int; SUPER],
        k: usize,
    ) {
        // SAFETY: the caller's promise.
        let pairs = unsafe { simd.gather16(base, stride) };
        tile[k / 2..k / 2 + 4].copy_from_slice(&pairs);
    }

    #[inline(always)]
    fn any_too_small(simd: S, elements: &[S::Int]) -> bool {
        let mut least = simd.splat_int(-1);
        for pairs in elements {
            least = simd.least_bf16(least, *pairs);
        }
        simd.any_bf16_below(least, SMALLEST_WEIGHT)
    }

    #[inline(always)]
    fn multiply_add<const W: usize, const N: usize>(
        simd: S,
        pairs: [S::Int; N],
        x: &[i32; W],
        sums: &mut [[S::Float; W]; N],
    ) {
        for c in 0..W {
            let x = simd.splat_int(x[c]);
            for (pairs, sums) in pairs.into_iter().zip(&mut *sums) {
                sums[c] = match ANY_SIZE {
                    true => dot_bf16_exactly(simd, pairs, x, sums[c]),
                    false => simd.dot_bf16(pairs, x, sums[c]),
                };
            }
        }
    }
}
