//! Sixteen floats in two 256-bit registers: lanes 0 to 7, lanes 8 to 15.
#![allow(unsafe_code)]

use super::{Floats, WIDTH};
use crate::isa::avx2::{Avx2, AvxVnni};
use std::arch::x86_64::*;

/// Implements the vocabulary with AVX2, FMA and F16C for a token that proves them.
macro_rules! floats_with_avx2 {
    ($token:ty) => {
        impl Floats for $token {
            type Vector = [__m256; 2];
            type Whole = [__m256i; 2];
            type Pairs = [__m256i; 2];
            type Pair = __m256i;

            const ACCUMULATORS: usize = 6;

            #[inline(always)]
            fn splat(self, x: f32) -> [__m256; 2] {
                // SAFETY: the token exists only after AVX2, FMA and F16C were detected.
                unsafe { [_mm256_set1_ps(x); 2] }
            }

            #[inline(always)]
            fn load(self, from: &[f32; WIDTH]) -> [__m256; 2] {
                let from = from.as_ptr();
                // SAFETY: the token proves AVX2; `from` points to sixteen floats.
                unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
            }

            #[inline(always)]
            fn load_f16(self, from: &[u16; WIDTH]) -> [__m256; 2] {
                let from = from.as_ptr().cast::<__m128i>();
                // SAFETY: the token proves F16C; `from` points to 32 bytes.
                unsafe {
                    [
                        _mm256_cvtph_ps(_mm_loadu_si128(from)),
                        _mm256_cvtph_ps(_mm_loadu_si128(from.add(1))),
                    ]
                }
            }

            #[inline(always)]
            fn load_bf16(self, from: &[u16; WIDTH]) -> [__m256; 2] {
                let from = from.as_ptr().cast::<__m128i>();
                // SAFETY: the token proves AVX2; `from` points to 32 bytes.
                unsafe {
                    let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(from));
                    let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(1)));
                    [
                        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
                    ]
                }
            }

            #[inline(always)]
            fn load_first_bf16(self, from: &[u32; WIDTH]) -> [__m256; 2] {
                let from = from.as_ptr().cast::<__m256i>();
                // SAFETY: the token proves AVX2; `from` points to sixteen words.
                unsafe {
                    let (low, high) = (_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1)));
                    [
                        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
                    ]
                }
            }

            #[inline(always)]
            fn load_second_bf16(self, from: &[u32; WIDTH]) -> [__m256; 2] {
                let from = from.as_ptr().cast::<__m256i>();
                // SAFETY: the token proves AVX2; `from` points to sixteen words.
                unsafe {
                    let (low, high) = (_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1)));
                    let upper = _mm256_set1_epi32(0xffff_0000_u32 as i32);
                    [
                        _mm256_castsi256_ps(_mm256_and_si256(low, upper)),
                        _mm256_castsi256_ps(_mm256_and_si256(high, upper)),
                    ]
                }
            }

            #[inline(always)]
            fn store(self, x: [__m256; 2], to: &mut [f32; WIDTH]) {
                let to = to.as_mut_ptr();
                // SAFETY: the token proves AVX2; `to` points to room for sixteen floats.
                unsafe {
                    _mm256_storeu_ps(to, x[0]);
                    _mm256_storeu_ps(to.add(8), x[1]);
                }
            }

            #[inline(always)]
            fn store_f16(self, x: [__m256; 2], to: &mut [u16; WIDTH]) {
                let to = to.as_mut_ptr().cast::<__m128i>();
                // SAFETY: the token proves F16C; `to` points to room for 32 bytes.
                unsafe {
                    let low = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[0]);
                    let high = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[1]);
                    _mm_storeu_si128(to, low);
                    _mm_storeu_si128(to.add(1), high);
                }
            }

            #[inline(always)]
            fn add(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
                // SAFETY: the token proves AVX2.
                unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
            }

            #[inline(always)]
            fn sub(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
                // SAFETY: the token proves AVX2.
                unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
            }

            #[inline(always)]
            fn mul(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
                // SAFETY: the token proves AVX2.
                unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
            }

            #[inline(always)]
            fn div(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
                // SAFETY: the token proves AVX2.
                unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
            }

            #[inline(always)]
            fn multiply_add(self, a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
                // SAFETY: the token proves FMA.
                unsafe {
                    [
                        _mm256_fmadd_ps(a[0], b[0], c[0]),
                        _mm256_fmadd_ps(a[1], b[1], c[1]),
                    ]
                }
            }

            #[inline(always)]
            fn max(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
                // SAFETY: the token proves AVX2. The instruction is `a > b ? a : b`.
                unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
            }

            #[inline(always)]
            fn min(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
                // SAFETY: the token proves AVX2. The instruction is `a < b ? a : b`.
                unsafe { [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])] }
            }

            #[inline(always)]
            fn select_less(
                self,
                (a, b): ([__m256; 2], [__m256; 2]),
                yes: [__m256; 2],
                no: [__m256; 2],
            ) -> [__m256; 2] {
                // SAFETY: the token proves AVX2.
                unsafe {
                    let low = _mm256_cmp_ps::<_CMP_LT_OQ>(a[0], b[0]);
                    let high = _mm256_cmp_ps::<_CMP_LT_OQ>(a[1], b[1]);
                    [
                        _mm256_blendv_ps(no[0], yes[0], low),
                        _mm256_blendv_ps(no[1], yes[1], high),
                    ]
                }
            }

            #[inline(always)]
            fn round(self, x: [__m256; 2]) -> [__m256; 2] {
                const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
                // SAFETY: the token proves AVX2.
                unsafe {
                    [
                        _mm256_round_ps::<NEAREST>(x[0]),
                        _mm256_round_ps::<NEAREST>(x[1]),
                    ]
                }
            }

            #[inline(always)]
            fn scale_by_power_of_two(self, x: [__m256; 2], n: [__m256; 2]) -> [__m256; 2] {
                // SAFETY: the token proves AVX2.
                unsafe { [scale(x[0], n[0]), scale(x[1], n[1])] }
            }

            #[inline(always)]
            fn no_products(self) -> [__m256i; 2] {
                // SAFETY: the token proves AVX2.
                unsafe { [_mm256_setzero_si256(); 2] }
            }

            #[inline(always)]
            fn load_pairs(self, from: &[u16; WIDTH]) -> [__m256i; 2] {
                let from = from.as_ptr().cast::<__m128i>();
                // SAFETY: the token proves AVX2; `from` points to 32 bytes.
                unsafe {
                    [
                        _mm256_cvtepi8_epi16(_mm_loadu_si128(from)),
                        _mm256_cvtepi8_epi16(_mm_loadu_si128(from.add(1))),
                    ]
                }
            }

            #[inline(always)]
            fn load_words(self, from: &[u16; 2 * WIDTH]) -> [__m256i; 2] {
                let from = from.as_ptr().cast::<__m256i>();
                // SAFETY: the token proves AVX2; `from` points to 64 bytes.
                unsafe { [_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))] }
            }

            #[inline(always)]
            fn load_whole(self, from: &[i32; WIDTH]) -> [__m256i; 2] {
                let from = from.as_ptr().cast::<__m256i>();
                // SAFETY: the token proves AVX2; `from` points to 64 bytes.
                unsafe { [_mm256_loadu_si256(from), _mm256_loadu_si256(from.add(1))] }
            }

            #[inline(always)]
            fn store_whole(self, x: [__m256i; 2], to: &mut [i32; WIDTH]) {
                let to = to.as_mut_ptr().cast::<__m256i>();
                // SAFETY: the token proves AVX2; `to` points to room for 64 bytes.
                unsafe {
                    _mm256_storeu_si256(to, x[0]);
                    _mm256_storeu_si256(to.add(1), x[1]);
                }
            }

            #[inline(always)]
            fn splat_pair(self, b: i32) -> __m256i {
                // SAFETY: the token proves AVX2.
                unsafe { _mm256_set1_epi32(b) }
            }

            #[inline(always)]
            fn add_products(self, sum: [__m256i; 2], a: [__m256i; 2], b: __m256i) -> [__m256i; 2] {
                // SAFETY: the token proves AVX2.
                unsafe {
                    [
                        _mm256_add_epi32(sum[0], _mm256_madd_epi16(a[0], b)),
                        _mm256_add_epi32(sum[1], _mm256_madd_epi16(a[1], b)),
                    ]
                }
            }

            #[inline(always)]
            fn whole_to_float(self, x: [__m256i; 2]) -> [__m256; 2] {
                // SAFETY: the token proves AVX2.
                unsafe { [_mm256_cvtepi32_ps(x[0]), _mm256_cvtepi32_ps(x[1])] }
            }

            #[inline(always)]
            fn store_pairs(self, x: [__m256; 2], to: &mut [i32; WIDTH / 2]) {
                // SAFETY: the token proves AVX2; `to` points to room for 32 bytes.
                unsafe {
                    let (low, high) = (_mm256_cvtps_epi32(x[0]), _mm256_cvtps_epi32(x[1]));
                    // Packing interleaves the halves of its operands.
                    let narrow =
                        _mm256_permute4x64_epi64::<0b1101_1000>(_mm256_packs_epi32(low, high));
                    _mm256_storeu_si256(to.as_mut_ptr().cast(), narrow);
                }
            }

            #[inline(always)]
            fn prefetch<T>(self, at: *const T) {
                // SAFETY: every x86-64 CPU has the instruction; it reads nothing and cannot fault.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
            }

            #[inline(always)]
            fn sum(self, x: [__m256; 2]) -> f32 {
                // SAFETY: the token proves AVX2.
                unsafe {
                    let x = _mm256_add_ps(x[0], x[1]);
                    let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
                    let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
                    _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
                }
            }

            #[inline(always)]
            fn maximum(self, x: [__m256; 2]) -> f32 {
                // SAFETY: the token proves AVX2.
                unsafe {
                    let x = _mm256_max_ps(x[0], x[1]);
                    let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
                    let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
                    _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
                }
            }
        }
    };
}

floats_with_avx2!(Avx2);
floats_with_avx2!(AvxVnni);

/// `x · 2ⁿ` by two exact powers of two, as one alone overflows before the product does.
///
/// # Safety
///
/// The CPU has AVX2.
#[inline(always)]
unsafe fn scale(x: __m256, n: __m256) -> __m256 {
    // SAFETY: the caller proves AVX2.
    unsafe {
        let bias = _mm256_set1_epi32(127);
        let whole = _mm256_cvtps_epi32(n);
        let half = _mm256_srai_epi32::<1>(whole);
        let rest = _mm256_sub_epi32(whole, half);
        let half = _mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias));
        let rest = _mm256_slli_epi32::<23>(_mm256_add_epi32(rest, bias));
        let x = _mm256_mul_ps(x, _mm256_castsi256_ps(half));
        _mm256_mul_ps(x, _mm256_castsi256_ps(rest))
    }
}
