//! Sixteen floats in one 512-bit register.
#![allow(unsafe_code)]

use super::{Floats, WIDTH};
use crate::isa::avx512::{Avx512, transposed_floats};
use std::arch::asm;
use std::arch::x86_64::*;

impl<const VBMI: bool, const BF16: bool> Floats for Avx512<VBMI, BF16> {
    type Vector = __m512;
    type Whole = __m512i;
    type Pairs = __m512i;
    type Pair = __m512i;

    const ACCUMULATORS: usize = 24;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token exists only after AVX-512 F, BW, DQ and VL were detected.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; WIDTH]) -> __m512 {
        // SAFETY: the token proves AVX-512; `from` is sixteen floats.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_f16(self, from: &[u16; WIDTH]) -> __m512 {
        // SAFETY: the token proves AVX-512; `from` is 32 bytes.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u16; WIDTH]) -> __m512 {
        // SAFETY: the token proves AVX-512; `from` is 32 bytes.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    fn load_first_bf16(self, from: &[u32; WIDTH]) -> __m512 {
        // SAFETY: the token proves AVX-512; `from` is sixteen words.
        unsafe {
            let pairs = _mm512_loadu_si512(from.as_ptr().cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs))
        }
    }

    #[inline(always)]
    fn load_second_bf16(self, from: &[u32; WIDTH]) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let pairs = _mm512_loadu_si512(from.as_ptr().cast());
            let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            _mm512_castsi512_ps(_mm512_and_si512(pairs, upper))
        }
    }

    #[inline(always)]
    fn store(self, x: __m512, to: &mut [f32; WIDTH]) {
        // SAFETY: the token proves AVX-512; `to` has room for sixteen floats.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn store_f16(self, x: __m512, to: &mut [u16; WIDTH]) {
        // SAFETY: the token proves AVX-512; `to` has room for 32 bytes.
        unsafe {
            let bits = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
            _mm256_storeu_si256(to.as_mut_ptr().cast(), bits);
        }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn multiply_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512. The instruction is `a > b ? a : b`.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512. The instruction is `a < b ? a : b`.
        unsafe { _mm512_min_ps(a, b) }
    }

    #[inline(always)]
    fn select_less(self, (a, b): (__m512, __m512), yes: __m512, no: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes) }
    }

    #[inline(always)]
    fn round(self, x: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) }
    }

    #[inline(always)]
    fn scale_by_power_of_two(self, x: __m512, n: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_scalef_ps(x, n) }
    }

    #[inline(always)]
    fn no_products(self) -> __m512i {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn load_pairs(self, from: &[u16; WIDTH]) -> __m512i {
        // SAFETY: the token proves AVX-512; `from` is 32 bytes.
        unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(from.as_ptr().cast())) }
    }

    #[inline(always)]
    fn load_words(self, from: &[u16; 2 * WIDTH]) -> __m512i {
        // SAFETY: the token proves AVX-512; `from` is 64 bytes.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn load_whole(self, from: &[i32; WIDTH]) -> __m512i {
        // SAFETY: the token proves AVX-512; `from` is 64 bytes.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn store_whole(self, x: __m512i, to: &mut [i32; WIDTH]) {
        // SAFETY: the token proves AVX-512; `to` has room for 64 bytes.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), x) }
    }

    #[inline(always)]
    fn splat_pair(self, b: i32) -> __m512i {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_set1_epi32(b) }
    }

    #[inline(always)]
    fn add_products(self, sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 VNNI.
        unsafe { add_products(sum, a, b) }
    }

    #[inline(always)]
    fn add_products_of(self, sum: __m512i, a: __m512i, b: &i32) -> __m512i {
        // The instruction reads the pair by itself, which the compiler sees to.
        // SAFETY: the token proves AVX-512 VNNI.
        unsafe { _mm512_dpwssd_epi32(sum, a, _mm512_set1_epi32(*b)) }
    }

    #[inline(always)]
    fn whole_to_float(self, x: __m512i) -> __m512 {
        // SAFETY: the token proves AVX-512.
        unsafe { _mm512_cvtepi32_ps(x) }
    }

    #[inline(always)]
    fn store_pairs(self, x: __m512, to: &mut [i32; WIDTH / 2]) {
        // SAFETY: the token proves AVX-512; `to` has room for 32 bytes.
        unsafe {
            let narrow = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x));
            _mm256_storeu_si256(to.as_mut_ptr().cast(), narrow);
        }
    }

    #[inline(always)]
    fn prefetch<T>(self, at: *const T) {
        // SAFETY: every x86-64 CPU has the instruction; it reads nothing and cannot fault.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn sum(self, x: __m512) -> f32 {
        // SAFETY: the token proves AVX-512.
        unsafe {
            let x = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        }
    }

    const TRANSPOSES: bool = true;

    #[inline(always)]
    fn transposed(self, rows: &[__m512; WIDTH]) -> [__m512; WIDTH] {
        // SAFETY: the token proves AVX-512.
        unsafe { transposed_floats(rows) }
    }

    #[inline(always)]
    fn sums<const R: usize, const W: usize>(self, x: &[[__m512; W]; R]) -> __m512 {
        assert!(R * W <= WIDTH);
        if R * W == 1 {
            // SAFETY: the token proves AVX-512.
            return unsafe { _mm512_castps128_ps512(_mm_set_ss(self.sum(x[0][0]))) };
        }
        // SAFETY: the token proves AVX-512.
        let mut all = [unsafe { _mm512_setzero_ps() }; WIDTH];
        for r in 0..R {
            for c in 0..W {
                all[r * W + c] = x[r][c];
            }
        }
        // Every step adds what is 8, 4, 2 and 1 lanes apart in two vectors, each of which has half of
        // the result. In the last, the quarters' lanes are of vectors that are four apart.
        // SAFETY: as above.
        unsafe {
            for i in 0..8 {
                let (a, b) = (all[2 * i], all[2 * i + 1]);
                let low = _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b);
                all[i] = _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b));
            }
            for i in 0..4 {
                let (a, b) = (all[2 * i], all[2 * i + 1]);
                let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
                all[i] = _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b));
            }
            for i in 0..2 {
                let (a, b) = (all[2 * i], all[2 * i + 1]);
                let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
                let low = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                all[i] = _mm512_add_ps(low, _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
            }
            let low = _mm512_shuffle_ps::<0b10_00_10_00>(all[0], all[1]);
            let sums = _mm512_add_ps(low, _mm512_shuffle_ps::<0b11_01_11_01>(all[0], all[1]));
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_permutexvar_ps(order, sums)
        }
    }

    #[inline(always)]
    fn maximum(self, x: __m512) -> f32 {
        // SAFETY: the token proves AVX-512.
        unsafe {
            let x = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps::<1>(x));
            let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        }
    }

    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> __m512 {
        let count = from.len().min(WIDTH);
        // SAFETY: the token proves AVX-512; the mask has a bit for each of the `count` floats
        // that `from` has, and a lane without one is not read.
        unsafe {
            let mask = ((1u32 << count) - 1) as __mmask16;
            _mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask, from.as_ptr())
        }
    }

    #[inline(always)]
    fn store_partial(self, x: __m512, to: &mut [f32]) {
        let count = to.len().min(WIDTH);
        // SAFETY: the token proves AVX-512; the mask has a bit for each of the `count` floats
        // that `to` has room for, and a lane without one is not written.
        unsafe {
            let mask = ((1u32 << count) - 1) as __mmask16;
            _mm512_mask_storeu_ps(to.as_mut_ptr(), mask, x);
        }
    }
}

/// `sum + a · b` for sixteen pairs of 16-bit whole numbers.
///
/// The compiler makes the intrinsic a multiplication and an addition where it sees sums wait for
/// each other, which takes longer where there are enough of them.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn add_products(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    let mut sum = sum;
    // SAFETY: the features are there, and the instruction has no effect but on `sum`.
    unsafe {
        asm!("vpdpwssd {0}, {1}, {2}", inout(zmm_reg) sum, in(zmm_reg) a, in(zmm_reg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    sum
}
