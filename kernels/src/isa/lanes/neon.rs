//! The matrix vocabulary of Advanced SIMD: four rows in a register, with any of the ways to multiply
//! bytes ([`dot`]).

mod dot;

use super::super::prefetch;
use super::{CodeRange, Lanes, Task};
use crate::unpack::unrolled;
use dot::Dot;
use std::arch::aarch64::*;
use std::arch::asm;

#[allow(unsafe_code)]
// SAFETY, of every intrinsic below: all tokens are constructed only after detection of Advanced
// SIMD; memory operands are vouched for by the caller of the `unsafe fn` they stand in.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<T: Dot> Lanes for T {
    const ROWS: usize = 4;
    const COLUMNS: usize = 8;
    const SIGNED_OFFSET: i32 = 0;
    const WORDS: usize = <T as Dot>::WORDS;
    const SIGNED_IN_TILES: bool = true;
    const SCALED_IN_TILES: bool = <T as Dot>::SCALED_IN_TILES;
    type Int = uint32x4_t;
    type Float = float32x4_t;

    #[inline(always)]
    fn call<K: Task<Self>>(self, task: K) {
        Dot::call(self, task);
    }

    #[inline(always)]
    unsafe fn gather16(self, base: *const u8, stride: usize) -> [uint32x4_t; 4] {
        let row = |r: usize| base.wrapping_add(r * stride);
        let (a, b, c, d) = unsafe {
            (
                vreinterpretq_u32_u8(vld1q_u8(row(0))),
                vreinterpretq_u32_u8(vld1q_u8(row(1))),
                vreinterpretq_u32_u8(vld1q_u8(row(2))),
                vreinterpretq_u32_u8(vld1q_u8(row(3))),
            )
        };
        unsafe {
            let (ab_even, ab_odd) = (vtrn1q_u32(a, b), vtrn2q_u32(a, b));
            let (cd_even, cd_odd) = (vtrn1q_u32(c, d), vtrn2q_u32(c, d));
            let low = |x, y| {
                vreinterpretq_u32_u64(vtrn1q_u64(
                    vreinterpretq_u64_u32(x),
                    vreinterpretq_u64_u32(y),
                ))
            };
            let high = |x, y| {
                vreinterpretq_u32_u64(vtrn2q_u64(
                    vreinterpretq_u64_u32(x),
                    vreinterpretq_u64_u32(y),
                ))
            };
            [
                low(ab_even, cd_even),
                low(ab_odd, cd_odd),
                high(ab_even, cd_even),
                high(ab_odd, cd_odd),
            ]
        }
    }

    #[inline(always)]
    unsafe fn gather4(self, base: *const u8, stride: usize) -> uint32x4_t {
        let words: [u32; 4] =
            std::array::from_fn(|r| unsafe { base.add(r * stride).cast::<u32>().read_unaligned() });
        unsafe { vld1q_u32(words.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn gather2(self, base: *const u8, stride: usize) -> uint32x4_t {
        let words: [u32; 4] = std::array::from_fn(|r| unsafe {
            u32::from(base.add(r * stride).cast::<u16>().read_unaligned())
        });
        unsafe { vld1q_u32(words.as_ptr()) }
    }

    #[inline(always)]
    fn splat_int(self, value: i32) -> uint32x4_t {
        unsafe { vdupq_n_u32(value as u32) }
    }

    #[inline(always)]
    fn and(self, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
        unsafe { vandq_u32(a, b) }
    }

    #[inline(always)]
    fn or(self, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
        unsafe { vorrq_u32(a, b) }
    }

    #[inline(always)]
    fn xor(self, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
        unsafe { veorq_u32(a, b) }
    }

    #[inline(always)]
    fn shift_left<const BITS: i32>(self, a: uint32x4_t) -> uint32x4_t {
        unsafe { vshlq_n_u32::<BITS>(a) }
    }

    #[inline(always)]
    fn shift_right<const BITS: i32>(self, a: uint32x4_t) -> uint32x4_t {
        unsafe { vshrq_n_u32::<BITS>(a) }
    }

    #[inline(always)]
    fn high_nibbles(self, a: uint32x4_t) -> uint32x4_t {
        unsafe { vreinterpretq_u32_u8(vshrq_n_u8::<4>(vreinterpretq_u8_u32(a))) }
    }

    #[inline(always)]
    fn add_int(self, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
        unsafe { vaddq_u32(a, b) }
    }

    #[inline(always)]
    fn subtract_int(self, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
        unsafe { vsubq_u32(a, b) }
    }

    #[inline(always)]
    fn multiply_int(self, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
        unsafe { vmulq_u32(a, b) }
    }

    #[inline(always)]
    fn table16(self, table: &[i8; 16], indices: uint32x4_t) -> uint32x4_t {
        unsafe {
            let table = vld1q_u8(table.as_ptr().cast());
            vreinterpretq_u32_u8(vqtbl1q_u8(table, vreinterpretq_u8_u32(indices)))
        }
    }

    #[inline(always)]
    fn lookup<const N: usize>(self, table: &[u32; N], indices: uint32x4_t) -> uint32x4_t {
        const { assert!(N.is_power_of_two()) };
        let mut words = [0; 4];
        unsafe { vst1q_u32(words.as_mut_ptr(), indices) };
        let words = words.map(|i| table[i as usize & (N - 1)]);
        unsafe { vld1q_u32(words.as_ptr()) }
    }

    #[inline(always)]
    fn to_float(self, a: uint32x4_t) -> float32x4_t {
        unsafe { vcvtq_f32_s32(vreinterpretq_s32_u32(a)) }
    }

    #[inline(always)]
    fn half_to_float(self, a: uint32x4_t) -> float32x4_t {
        let result: float32x4_t;
        unsafe {
            let halves = vmovn_u32(a);
            // The type `f16` of the intrinsic is not stable.
            asm!(
                "fcvtl {result:v}.4s, {halves:v}.4h",
                result = lateout(vreg) result,
                halves = in(vreg) halves,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        result
    }

    #[inline(always)]
    fn bits_to_float(self, a: uint32x4_t) -> float32x4_t {
        unsafe { vreinterpretq_f32_u32(a) }
    }

    #[inline(always)]
    fn splat_float(self, value: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    fn add_float(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    fn multiply_float(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }

    #[inline(always)]
    fn multiply_add_float(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }

    #[inline(always)]
    fn multiply_add_columns<const W: usize>(
        self,
        weight: float32x4_t,
        x: &[f32; W],
        mut sums: [float32x4_t; W],
    ) -> [float32x4_t; W] {
        const { assert!(W <= 8) };
        unrolled!(C in 8, {
            if C < W {
                sums[C] = if W < 4 {
                    unsafe { vfmaq_n_f32(sums[C], weight, x[C]) }
                } else {
                    // Four columns that this one is among.
                    let first = if C < 4 { 0 } else { W - 4 };
                    unsafe {
                        let four = vld1q_f32(x.as_ptr().add(first));
                        match C - first {
                            0 => vfmaq_laneq_f32::<0>(sums[C], weight, four),
                            1 => vfmaq_laneq_f32::<1>(sums[C], weight, four),
                            2 => vfmaq_laneq_f32::<2>(sums[C], weight, four),
                            _ => vfmaq_laneq_f32::<3>(sums[C], weight, four),
                        }
                    }
                };
            }
        });
        sums
    }

    #[inline(always)]
    fn dot_pairs(self, acc: uint32x4_t, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
        unsafe {
            let (a, b) = (vreinterpretq_s16_u32(a), vreinterpretq_s16_u32(b));
            let low = vmull_s16(vget_low_s16(a), vget_low_s16(b));
            let high = vmull_high_s16(a, b);
            vaddq_u32(acc, vreinterpretq_u32_s32(vpaddq_s32(low, high)))
        }
    }

    #[inline(always)]
    unsafe fn dot_all_pairs<const N: usize, const W: usize, const M: usize>(
        self,
        pairs: [&[uint32x4_t; N]; M],
        x: *const i32,
    ) -> [[uint32x4_t; W]; M] {
        const { assert!(N.is_multiple_of(4) && N * W <= 64) };
        let mut all = [[unsafe { vdupq_n_u32(0) }; W]; M];
        for (all, pairs) in all.iter_mut().zip(pairs) {
            let mut sums = [unsafe { vdupq_n_s32(0) }; W];
            unrolled!(FOUR in 16, {
                if FOUR < N * W / 4 {
                    let words = unsafe { vreinterpretq_s16_s32(vld1q_s32(x.add(4 * FOUR))) };
                    unrolled!(LANE in 4, {
                        let i = 4 * FOUR + LANE;
                        let (j, c) = (i / W, i % W);
                        unsafe {
                            let pairs = vreinterpretq_s32_u32(pairs[j]);
                            let (low, high) = (vmovn_s32(pairs), vshrn_n_s32::<16>(pairs));
                            let sum = vmlal_laneq_s16::<{ 2 * LANE as i32 }>(sums[c], low, words);
                            sums[c] = vmlal_laneq_s16::<{ 2 * LANE as i32 + 1 }>(sum, high, words);
                        }
                    });
                }
            });
            for c in 0..W {
                all[c] = unsafe { vreinterpretq_u32_s32(sums[c]) };
            }
        }
        all
    }

    #[inline(always)]
    unsafe fn dot<F: CodeRange, const N: usize, const W: usize>(
        self,
        start: [uint32x4_t; W],
        codes: &[uint32x4_t; N],
        x: *const i32,
    ) -> [uint32x4_t; W] {
        unsafe { Dot::dot::<F, N, W>(self, start, codes, x) }
    }

    #[inline(always)]
    fn for_tile(self, codes: [uint32x4_t; 8]) -> [uint32x4_t; 8] {
        Dot::for_tile(self, codes)
    }

    #[inline(always)]
    unsafe fn dot_tile<F: CodeRange, const N: usize, const W: usize>(
        self,
        start: [uint32x4_t; W],
        codes: &[uint32x4_t; N],
        x: *const i32,
    ) -> [uint32x4_t; W] {
        unsafe { Dot::dot_tile::<F, N, W>(self, start, codes, x) }
    }

    #[inline(always)]
    unsafe fn load_float(self, from: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store_float(self, to: *mut f32, a: float32x4_t) {
        unsafe { vst1q_f32(to, a) }
    }

    #[inline(always)]
    fn prefetch_to_write(self, to: *const u8) {
        // SAFETY: prefetching is a hint and cannot fault.
        unsafe {
            asm!("prfm pstl2keep, [{to}]", to = in(reg) to, options(nostack, preserves_flags));
        }
    }

    #[inline(always)]
    fn prefetch(self, from: *const u8) {
        prefetch(from);
    }
}
