//! Products of bytes with Advanced SIMD: by widening multiplications, by the integer dot product
//! (FEAT_DotProd), and, with many columns, by the product of 8-bit matrices (FEAT_I8MM).
//!
//! The words of activations of several columns are loaded sixteen bytes at a time, and instructions
//! take them from where they lie in the register: loading them one by one into all lanes takes an
//! instruction each, and another for its address.
#![allow(unsafe_code)]
// SAFETY, of every intrinsic and instruction below: the tokens are constructed only by the gateways
// in `isa::neon`, whose callers established that the CPU has the features; memory operands are
// vouched for by the caller of the `unsafe fn` they stand in. (The instructions read and write
// registers only; their intrinsics are not stable.)
#![allow(clippy::undocumented_unsafe_blocks)]

use super::super::{CodeRange, Task};
use crate::isa::neon::{Neon, NeonDot, NeonI8mm};
use crate::unpack::unrolled;
use std::arch::aarch64::*;
use std::arch::asm;

/// What differs between the instruction sets.
pub(super) trait Dot: Copy + Send + Sync + 'static {
    /// See `Lanes::WORDS`.
    const WORDS: usize = 1;

    /// See `Lanes::SCALED_IN_TILES`.
    const SCALED_IN_TILES: bool = true;

    /// See `Lanes::call`.
    fn call<T: Task<Self>>(self, task: T);

    /// See `Lanes::dot`.
    ///
    /// # Safety
    ///
    /// As there.
    unsafe fn dot<F: CodeRange, const N: usize, const W: usize>(
        self,
        start: [uint32x4_t; W],
        codes: &[uint32x4_t; N],
        x: *const i32,
    ) -> [uint32x4_t; W];

    /// See `Lanes::for_tile`.
    #[inline(always)]
    fn for_tile(self, codes: [uint32x4_t; 8]) -> [uint32x4_t; 8] {
        codes
    }

    /// See `Lanes::dot_tile`.
    ///
    /// # Safety
    ///
    /// As there.
    #[inline(always)]
    unsafe fn dot_tile<F: CodeRange, const N: usize, const W: usize>(
        self,
        start: [uint32x4_t; W],
        codes: &[uint32x4_t; N],
        x: *const i32,
    ) -> [uint32x4_t; W] {
        unsafe { self.dot::<F, N, W>(start, codes, x) }
    }
}

impl Dot for Neon {
    const SCALED_IN_TILES: bool = false;

    #[inline(always)]
    fn call<T: Task<Self>>(self, task: T) {
        unsafe { call(self, task) }
    }

    #[inline(always)]
    unsafe fn dot<F: CodeRange, const N: usize, const W: usize>(
        self,
        start: [uint32x4_t; W],
        codes: &[uint32x4_t; N],
        x: *const i32,
    ) -> [uint32x4_t; W] {
        const { assert!(W <= 8) };
        let mut acc = start;
        unrolled!(C in 8, {
            if C < W {
                acc[C] = unsafe { add_column::<F, N, W>(acc[C], codes, x, C) };
            }
        });
        acc
    }
}

/// `acc` plus the products with column `c`, which are added up in 16 bits as long as they fit there.
///
/// # Safety
///
/// `N * W` words are readable at `x`.
#[inline(always)]
unsafe fn add_column<F: CodeRange, const N: usize, const W: usize>(
    acc: uint32x4_t,
    codes: &[uint32x4_t; N],
    x: *const i32,
    c: usize,
) -> uint32x4_t {
    const { assert!(N <= 8) };
    // A code and an activation are at most 128 and 127 in magnitude.
    let most = 127
        * match F::MAX {
            Some(max) => max as usize,
            None => 128,
        };
    let run = if 32767 / most < N { 32767 / most } else { N };
    let pairs_fit = 2 * run * most <= 32767;
    unsafe {
        let mut sums = [vdupq_n_s32(0); 2];
        let (mut low, mut high) = (vdupq_n_s16(0), vdupq_n_s16(0));
        unrolled!(I in 8, {
            if I < N {
                let code = vreinterpretq_s8_u32(codes[I]);
                let word = word(x, I * W + c);
                if I % run == 0 {
                    low = vmull_s8(vget_low_s8(code), vget_low_s8(word));
                    high = vmull_high_s8(code, word);
                } else {
                    low = vmlal_s8(low, vget_low_s8(code), vget_low_s8(word));
                    high = vmlal_high_s8(high, code, word);
                }
                if I % run == run - 1 || I == N - 1 {
                    if pairs_fit {
                        sums[0] = vpadalq_s16(sums[0], vpaddq_s16(low, high));
                    } else {
                        sums[0] = vpadalq_s16(sums[0], low);
                        sums[1] = vpadalq_s16(sums[1], high);
                    }
                }
            }
        });
        let sum = match pairs_fit {
            true => sums[0],
            false => vpaddq_s32(sums[0], sums[1]),
        };
        vaddq_u32(acc, vreinterpretq_u32_s32(sum))
    }
}

/// Word `i` of `x` in every lane, from the sixteen bytes that it is among.
///
/// # Safety
///
/// Those sixteen bytes are readable, where the first four words are among themselves.
#[inline(always)]
unsafe fn word(x: *const i32, i: usize) -> int8x16_t {
    unsafe {
        let four = vld1q_s32(x.add(i / 4 * 4));
        let word = match i % 4 {
            0 => vdupq_laneq_s32::<0>(four),
            1 => vdupq_laneq_s32::<1>(four),
            2 => vdupq_laneq_s32::<2>(four),
            _ => vdupq_laneq_s32::<3>(four),
        };
        vreinterpretq_s8_s32(word)
    }
}

impl Dot for NeonDot {
    #[inline(always)]
    fn call<T: Task<Self>>(self, task: T) {
        unsafe { call_dot(self, task) }
    }

    #[inline(always)]
    unsafe fn dot<F: CodeRange, const N: usize, const W: usize>(
        self,
        start: [uint32x4_t; W],
        codes: &[uint32x4_t; N],
        x: *const i32,
    ) -> [uint32x4_t; W] {
        unsafe { dot_by_element(start, codes, x) }
    }
}

/// The product by the integer dot product, which takes any word of sixteen bytes.
///
/// # Safety
///
/// The CPU has FEAT_DotProd, and `N * W` words are readable at `x`.
#[inline(always)]
unsafe fn dot_by_element<const N: usize, const W: usize>(
    start: [uint32x4_t; W],
    codes: &[uint32x4_t; N],
    x: *const i32,
) -> [uint32x4_t; W] {
    const { assert!(N.is_multiple_of(4) && N * W <= 64) };
    let mut acc = start;
    unrolled!(FOUR in 16, {
        if FOUR < N * W / 4 {
            let words = unsafe { vld1q_s32(x.add(4 * FOUR)) };
            unrolled!(LANE in 4, {
                let i = 4 * FOUR + LANE;
                let (n, c) = (i / W, i % W);
                unsafe {
                    asm!(
                        "sdot {acc:v}.4s, {codes:v}.16b, {words:v}.4b[{lane}]",
                        acc = inout(vreg) acc[c],
                        codes = in(vreg) codes[n],
                        words = in(vreg) words,
                        lane = const LANE,
                        options(pure, nomem, nostack, preserves_flags),
                    );
                }
            });
        }
    });
    acc
}

impl Dot for NeonI8mm {
    const WORDS: usize = 2;

    #[inline(always)]
    fn call<T: Task<Self>>(self, task: T) {
        unsafe { call_i8mm(self, task) }
    }

    #[inline(always)]
    unsafe fn dot<F: CodeRange, const N: usize, const W: usize>(
        self,
        start: [uint32x4_t; W],
        codes: &[uint32x4_t; N],
        x: *const i32,
    ) -> [uint32x4_t; W] {
        unsafe { dot_by_element(start, codes, x) }
    }

    /// Two words of rows 0 and 1, then the same words of rows 2 and 3: matrices of 2 × 8 bytes.
    #[inline(always)]
    fn for_tile(self, codes: [uint32x4_t; 8]) -> [uint32x4_t; 8] {
        let [a, b, c, d, e, f, g, h] = codes;
        unsafe {
            [
                vzip1q_u32(a, b),
                vzip2q_u32(a, b),
                vzip1q_u32(c, d),
                vzip2q_u32(c, d),
                vzip1q_u32(e, f),
                vzip2q_u32(e, f),
                vzip1q_u32(g, h),
                vzip2q_u32(g, h),
            ]
        }
    }

    /// Columns are multiplied two at a time: with the sum of the first in even lanes and of the
    /// second in odd ones, and two rows in each of two registers.
    #[inline(always)]
    unsafe fn dot_tile<F: CodeRange, const N: usize, const W: usize>(
        self,
        start: [uint32x4_t; W],
        codes: &[uint32x4_t; N],
        x: *const i32,
    ) -> [uint32x4_t; W] {
        const { assert!(N <= 8 && W <= 8) };
        let mut sums = start;
        unrolled!(PAIR in 4, {
            let c = 2 * PAIR;
            if c < W {
                let pair = c + 1 < W;
                let second = if pair { start[c + 1] } else { start[c] };
                unsafe {
                    let mut first_rows = vzip1q_u32(start[c], second);
                    let mut last_rows = vzip2q_u32(start[c], second);
                    unrolled!(TWO in 4, {
                        let n = 2 * TWO;
                        if n < N {
                            let words = x.add(n * W + 2 * c);
                            let words = match pair {
                                true => vld1q_s8(words.cast()),
                                // The last column of an odd number stands for the second as well.
                                false => twice(words.cast()),
                            };
                            first_rows = multiply_matrices(first_rows, codes[n], words);
                            last_rows = multiply_matrices(last_rows, codes[n + 1], words);
                        }
                    });
                    sums[c] = vuzp1q_u32(first_rows, last_rows);
                    if pair {
                        sums[c + 1] = vuzp2q_u32(first_rows, last_rows);
                    }
                }
            }
        });
        sums
    }
}

/// Eight bytes in both halves.
///
/// # Safety
///
/// They are readable at `from`.
#[inline(always)]
unsafe fn twice(from: *const i64) -> int8x16_t {
    unsafe { vreinterpretq_s8_s64(vdupq_n_s64(from.read_unaligned())) }
}

/// `acc + a bᵗ` of matrices of 2 × 2 words, 2 × 8 bytes and 2 × 8 bytes.
///
/// # Safety
///
/// The CPU has FEAT_I8MM.
#[inline(always)]
unsafe fn multiply_matrices(acc: uint32x4_t, a: uint32x4_t, b: int8x16_t) -> uint32x4_t {
    let mut acc = acc;
    unsafe {
        asm!(
            "smmla {acc:v}.4s, {a:v}.16b, {b:v}.16b",
            acc = inout(vreg) acc,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// Runs `task` with the features of [`Neon`] enabled.
///
/// # Safety
///
/// The CPU has them.
#[inline(never)]
#[target_feature(enable = "neon")]
unsafe fn call<T: Task<Neon>>(simd: Neon, task: T) {
    task.run(simd);
}

/// Runs `task` with the features of [`NeonDot`] enabled.
///
/// # Safety
///
/// The CPU has them.
#[inline(never)]
#[target_feature(enable = "neon,dotprod")]
unsafe fn call_dot<T: Task<NeonDot>>(simd: NeonDot, task: T) {
    task.run(simd);
}

/// Runs `task` with the features of [`NeonI8mm`] enabled.
///
/// # Safety
///
/// The CPU has them.
#[inline(never)]
#[target_feature(enable = "neon,dotprod,i8mm")]
unsafe fn call_i8mm<T: Task<NeonI8mm>>(simd: NeonI8mm, task: T) {
    task.run(simd);
}
