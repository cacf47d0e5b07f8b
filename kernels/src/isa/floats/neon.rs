//! Sixteen floats in four 128-bit registers.
#![allow(unsafe_code)]

use super::{Floats, WIDTH};
use crate::isa::neon::{Neon, NeonDot, NeonI8mm};
use std::arch::aarch64::*;
use std::arch::asm;

/// The four registers of a vector from an expression for one of them. An array and not
/// `array::from_fn`, whose closure need not be inlined.
macro_rules! quarters {
    ($i:ident => $one:expr) => {{
        [
            {
                let $i = 0;
                $one
            },
            {
                let $i = 1;
                $one
            },
            {
                let $i = 2;
                $one
            },
            {
                let $i = 3;
                $one
            },
        ]
    }};
}

/// Implements the vocabulary with Advanced SIMD for a token that proves it.
macro_rules! floats_with_neon {
    ($token:ty) => {
        impl Floats for $token {
            type Vector = [float32x4_t; 4];
            type Whole = [int32x4_t; 4];
            // The first of each of eight pairs, and the second.
            type Pairs = [int16x8x2_t; 2];
            type Pair = int16x4_t;

            const ACCUMULATORS: usize = 6;

            #[inline(always)]
            fn splat(self, x: f32) -> [float32x4_t; 4] {
                // SAFETY: the token exists only after Advanced SIMD was detected.
                unsafe { [vdupq_n_f32(x); 4] }
            }

            #[inline(always)]
            fn load(self, from: &[f32; WIDTH]) -> [float32x4_t; 4] {
                // SAFETY: the token proves Advanced SIMD; `from` is sixteen floats.
                unsafe {
                    let parts = vld1q_f32_x4(from.as_ptr());
                    [parts.0, parts.1, parts.2, parts.3]
                }
            }

            #[inline(always)]
            fn load_f16(self, from: &[u16; WIDTH]) -> [float32x4_t; 4] {
                // SAFETY: the token proves Advanced SIMD; `from` is 32 bytes.
                unsafe {
                    let parts = vld1q_u16_x2(from.as_ptr());
                    [
                        widen_low(parts.0),
                        widen_high(parts.0),
                        widen_low(parts.1),
                        widen_high(parts.1),
                    ]
                }
            }

            #[inline(always)]
            fn load_bf16(self, from: &[u16; WIDTH]) -> [float32x4_t; 4] {
                // SAFETY: the token proves Advanced SIMD; `from` is 32 bytes.
                unsafe {
                    let parts = vld1q_u16_x2(from.as_ptr());
                    [
                        vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(parts.0))),
                        vreinterpretq_f32_u32(vshll_high_n_u16::<16>(parts.0)),
                        vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(parts.1))),
                        vreinterpretq_f32_u32(vshll_high_n_u16::<16>(parts.1)),
                    ]
                }
            }

            #[inline(always)]
            fn load_first_bf16(self, from: &[u32; WIDTH]) -> [float32x4_t; 4] {
                let from = from.as_ptr();
                let mut x = self.zero();
                for (i, x) in x.iter_mut().enumerate() {
                    // SAFETY: the token proves NEON; `from` points to sixteen words.
                    *x = unsafe {
                        vreinterpretq_f32_u32(vshlq_n_u32::<16>(vld1q_u32(from.add(4 * i))))
                    };
                }
                x
            }

            #[inline(always)]
            fn load_second_bf16(self, from: &[u32; WIDTH]) -> [float32x4_t; 4] {
                let from = from.as_ptr();
                let mut x = self.zero();
                for (i, x) in x.iter_mut().enumerate() {
                    // SAFETY: the token proves NEON; `from` points to sixteen words.
                    *x = unsafe {
                        let pairs = vld1q_u32(from.add(4 * i));
                        vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff_0000)))
                    };
                }
                x
            }

            #[inline(always)]
            fn store(self, x: [float32x4_t; 4], to: &mut [f32; WIDTH]) {
                // SAFETY: the token proves Advanced SIMD; `to` has room for sixteen floats.
                unsafe { vst1q_f32_x4(to.as_mut_ptr(), float32x4x4_t(x[0], x[1], x[2], x[3])) }
            }

            #[inline(always)]
            fn store_f16(self, x: [float32x4_t; 4], to: &mut [u16; WIDTH]) {
                // SAFETY: the token proves Advanced SIMD; `to` has room for 32 bytes.
                unsafe {
                    let bits = uint16x8x2_t(narrow(x[0], x[1]), narrow(x[2], x[3]));
                    vst1q_u16_x2(to.as_mut_ptr(), bits);
                }
            }

            #[inline(always)]
            fn add(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
                // SAFETY: the token proves Advanced SIMD.
                unsafe { quarters!(i => vaddq_f32(a[i], b[i])) }
            }

            #[inline(always)]
            fn sub(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
                // SAFETY: the token proves Advanced SIMD.
                unsafe { quarters!(i => vsubq_f32(a[i], b[i])) }
            }

            #[inline(always)]
            fn mul(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
                // SAFETY: the token proves Advanced SIMD.
                unsafe { quarters!(i => vmulq_f32(a[i], b[i])) }
            }

            #[inline(always)]
            fn div(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
                // SAFETY: the token proves Advanced SIMD.
                unsafe { quarters!(i => vdivq_f32(a[i], b[i])) }
            }

            #[inline(always)]
            fn multiply_add(
                self,
                a: [float32x4_t; 4],
                b: [float32x4_t; 4],
                c: [float32x4_t; 4],
            ) -> [float32x4_t; 4] {
                // SAFETY: the token proves Advanced SIMD.
                unsafe { quarters!(i => vfmaq_f32(c[i], a[i], b[i])) }
            }

            #[inline(always)]
            fn max(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
                // SAFETY: the token proves Advanced SIMD.
                unsafe { quarters!(i => greater(a[i], b[i])) }
            }

            #[inline(always)]
            fn min(self, a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
                // SAFETY: the token proves Advanced SIMD.
                unsafe { quarters!(i => vbslq_f32(vcltq_f32(a[i], b[i]), a[i], b[i])) }
            }

            #[inline(always)]
            fn select_less(
                self,
                (a, b): ([float32x4_t; 4], [float32x4_t; 4]),
                yes: [float32x4_t; 4],
                no: [float32x4_t; 4],
            ) -> [float32x4_t; 4] {
                // SAFETY: the token proves Advanced SIMD.
                unsafe { quarters!(i => vbslq_f32(vcltq_f32(a[i], b[i]), yes[i], no[i])) }
            }

            #[inline(always)]
            fn round(self, x: [float32x4_t; 4]) -> [float32x4_t; 4] {
                // SAFETY: the token proves Advanced SIMD.
                unsafe { quarters!(i => vrndnq_f32(x[i])) }
            }

            #[inline(always)]
            fn scale_by_power_of_two(
                self,
                x: [float32x4_t; 4],
                n: [float32x4_t; 4],
            ) -> [float32x4_t; 4] {
                // SAFETY: the token proves Advanced SIMD.
                unsafe { quarters!(i => scale(x[i], n[i])) }
            }

            #[inline(always)]
            fn no_products(self) -> [int32x4_t; 4] {
                // SAFETY: the token proves Advanced SIMD.
                unsafe { [vdupq_n_s32(0); 4] }
            }

            #[inline(always)]
            fn load_pairs(self, from: &[u16; WIDTH]) -> [int16x8x2_t; 2] {
                // SAFETY: the token proves Advanced SIMD; `from` is 32 bytes.
                unsafe {
                    let both = vld1q_s16_x2(from.as_ptr().cast());
                    let apart = |both: int16x8_t| {
                        let first = vshrq_n_s16::<8>(vshlq_n_s16::<8>(both));
                        int16x8x2_t(first, vshrq_n_s16::<8>(both))
                    };
                    [apart(both.0), apart(both.1)]
                }
            }

            #[inline(always)]
            fn load_words(self, from: &[u16; 2 * WIDTH]) -> [int16x8x2_t; 2] {
                let from = from.as_ptr().cast::<i16>();
                // SAFETY: the token proves Advanced SIMD; `from` points to 64 bytes.
                unsafe { [vld2q_s16(from), vld2q_s16(from.add(WIDTH))] }
            }

            #[inline(always)]
            fn splat_pair(self, b: i32) -> int16x4_t {
                // SAFETY: the token proves Advanced SIMD.
                unsafe { vreinterpret_s16_s32(vdup_n_s32(b)) }
            }

            #[inline(always)]
            fn add_products(
                self,
                sum: [int32x4_t; 4],
                a: [int16x8x2_t; 2],
                b: int16x4_t,
            ) -> [int32x4_t; 4] {
                // SAFETY: the token proves Advanced SIMD.
                unsafe {
                    quarters!(i => {
                        let (first, second) = (a[i / 2].0, a[i / 2].1);
                        match i % 2 {
                            0 => {
                                let sum = vmlal_lane_s16::<0>(sum[i], vget_low_s16(first), b);
                                vmlal_lane_s16::<1>(sum, vget_low_s16(second), b)
                            }
                            _ => {
                                let sum = vmlal_high_lane_s16::<0>(sum[i], first, b);
                                vmlal_high_lane_s16::<1>(sum, second, b)
                            }
                        }
                    })
                }
            }

            #[inline(always)]
            fn load_whole(self, from: &[i32; WIDTH]) -> [int32x4_t; 4] {
                let from = from.as_ptr();
                // SAFETY: the token proves Advanced SIMD; `from` points to 64 bytes.
                unsafe { quarters!(i => vld1q_s32(from.add(4 * i))) }
            }

            #[inline(always)]
            fn store_whole(self, x: [int32x4_t; 4], to: &mut [i32; WIDTH]) {
                let to = to.as_mut_ptr();
                // SAFETY: the token proves Advanced SIMD; `to` points to room for 64 bytes.
                unsafe {
                    quarters!(i => vst1q_s32(to.add(4 * i), x[i]));
                }
            }

            #[inline(always)]
            fn whole_to_float(self, x: [int32x4_t; 4]) -> [float32x4_t; 4] {
                // SAFETY: the token proves Advanced SIMD.
                unsafe { quarters!(i => vcvtq_f32_s32(x[i])) }
            }

            #[inline(always)]
            fn store_pairs(self, x: [float32x4_t; 4], to: &mut [i32; WIDTH / 2]) {
                // SAFETY: the token proves Advanced SIMD; `to` has room for 32 bytes.
                unsafe {
                    let narrow = quarters!(i => vmovn_s32(vcvtnq_s32_f32(x[i])));
                    let low = vcombine_s16(narrow[0], narrow[1]);
                    let high = vcombine_s16(narrow[2], narrow[3]);
                    vst1q_s16_x2(to.as_mut_ptr().cast(), int16x8x2_t(low, high));
                }
            }

            #[inline(always)]
            fn prefetch<T>(self, at: *const T) {
                // SAFETY: the instruction reads nothing and cannot fault.
                unsafe {
                    asm!("prfm pldl1keep, [{0}]", in(reg) at,
                        options(readonly, nostack, preserves_flags));
                }
            }

            #[inline(always)]
            fn sum(self, x: [float32x4_t; 4]) -> f32 {
                // SAFETY: the token proves Advanced SIMD.
                unsafe {
                    let x = vaddq_f32(vaddq_f32(x[0], x[2]), vaddq_f32(x[1], x[3]));
                    let x = vadd_f32(vget_low_f32(x), vget_high_f32(x));
                    vget_lane_f32::<0>(x) + vget_lane_f32::<1>(x)
                }
            }

            #[inline(always)]
            fn maximum(self, x: [float32x4_t; 4]) -> f32 {
                // SAFETY: the token proves Advanced SIMD.
                unsafe {
                    let x = greater(greater(x[0], x[2]), greater(x[1], x[3]));
                    let x = greater(x, vextq_f32::<2>(x, x));
                    let x = greater(x, vextq_f32::<1>(x, x));
                    vgetq_lane_f32::<0>(x)
                }
            }
        }
    };
}

floats_with_neon!(Neon);
floats_with_neon!(NeonDot);
floats_with_neon!(NeonI8mm);

/// `a > b ? a : b`; the instruction for the maximum treats NaN otherwise.
///
/// # Safety
///
/// The CPU has Advanced SIMD.
#[inline(always)]
unsafe fn greater(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    // SAFETY: the caller proves Advanced SIMD.
    unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
}

/// `x · 2ⁿ` by two exact powers of two, as one alone overflows before the product does.
///
/// # Safety
///
/// The CPU has Advanced SIMD.
#[inline(always)]
unsafe fn scale(x: float32x4_t, n: float32x4_t) -> float32x4_t {
    // SAFETY: the caller proves Advanced SIMD.
    unsafe {
        let bias = vdupq_n_s32(127);
        let whole = vcvtnq_s32_f32(n);
        let half = vshrq_n_s32::<1>(whole);
        let rest = vsubq_s32(whole, half);
        let half = vshlq_n_s32::<23>(vaddq_s32(half, bias));
        let rest = vshlq_n_s32::<23>(vaddq_s32(rest, bias));
        let x = vmulq_f32(x, vreinterpretq_f32_s32(half));
        vmulq_f32(x, vreinterpretq_f32_s32(rest))
    }
}

/// Widens the four lower 16-bit floats. Through `asm!`: the intrinsic needs the unstable `f16`.
///
/// # Safety
///
/// The CPU has Advanced SIMD.
#[inline(always)]
unsafe fn widen_low(bits: uint16x8_t) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: the caller proves Advanced SIMD; the instruction touches registers alone.
    unsafe {
        asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) wide, in(vreg) bits,
            options(pure, nomem, nostack, preserves_flags));
    }
    wide
}

/// Widens the four upper 16-bit floats.
///
/// # Safety
///
/// The CPU has Advanced SIMD.
#[inline(always)]
unsafe fn widen_high(bits: uint16x8_t) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: the caller proves Advanced SIMD; the instruction touches registers alone.
    unsafe {
        asm!("fcvtl2 {0:v}.4s, {1:v}.8h", out(vreg) wide, in(vreg) bits,
            options(pure, nomem, nostack, preserves_flags));
    }
    wide
}

/// Narrows eight floats to 16-bit floats.
///
/// # Safety
///
/// The CPU has Advanced SIMD.
#[inline(always)]
unsafe fn narrow(low: float32x4_t, high: float32x4_t) -> uint16x8_t {
    let mut bits: uint16x8_t;
    // SAFETY: the caller proves Advanced SIMD; the instructions touch registers alone. `bits` is
    // `out` and not `lateout`, so it does not share a register with `high`.
    unsafe {
        asm!("fcvtn {0:v}.4h, {1:v}.4s", "fcvtn2 {0:v}.8h, {2:v}.4s",
            out(vreg) bits, in(vreg) low, in(vreg) high,
            options(pure, nomem, nostack, preserves_flags));
    }
    bits
}
