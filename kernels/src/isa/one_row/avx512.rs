//! AVX-512: a group in each lane of a register.

use super::super::avx512::{Avx512, transposed, transposed_floats};
use super::{OneRow, WIDTH};
use std::arch::x86_64::*;

#[allow(unsafe_code)]
// SAFETY, of every intrinsic below: an `Avx512` is constructed only where the CPU has AVX-512 F, BW, VL
// and VNNI; memory operands are vouched for by the caller of the `unsafe fn` they stand in.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<const VBMI: bool, const BF16: bool> OneRow for Avx512<VBMI, BF16> {
    const IN_ORDER: bool = true;

    #[inline(always)]
    unsafe fn load_halves(self, [low, high]: [*const u8; 2]) -> __m512i {
        unsafe {
            let low = _mm512_castsi256_si512(_mm256_loadu_si256(low.cast()));
            _mm512_inserti64x4::<1>(low, _mm256_loadu_si256(high.cast()))
        }
    }

    #[inline(always)]
    fn rotate_halves<const LOW: i32, const HIGH: i32>(self, a: __m512i) -> __m512i {
        unsafe {
            let (low, high) = (_mm256_set1_epi32(LOW), _mm256_set1_epi32(HIGH));
            let bits = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
            _mm512_rorv_epi32(a, bits)
        }
    }

    #[inline(always)]
    fn select_bits(self, mask: __m512i, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_ternarylogic_epi32::<0xca>(mask, a, b) }
    }

    #[inline(always)]
    unsafe fn dot_bytes(self, codes: __m512i, x: *const i32) -> __m512i {
        unsafe {
            let x = _mm512_loadu_si512(x.cast());
            _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes, x)
        }
    }

    #[inline(always)]
    fn sums_of_eights(self, [a, b, c, d, e, f, g, h]: [__m512i; 8]) -> __m512i {
        unsafe {
            let (low, high) = (
                sums_in_quarters([a, b, c, d]),
                sums_in_quarters([e, f, g, h]),
            );
            let sums = _mm512_add_epi32(
                _mm512_shuffle_i32x4::<0x88>(low, high),
                _mm512_shuffle_i32x4::<0xdd>(low, high),
            );
            let order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
            _mm512_permutexvar_epi32(order, sums)
        }
    }

    #[inline(always)]
    unsafe fn halves_of_groups<const STRIDE: usize>(self, groups: *const u8) -> __m512 {
        const { assert!(STRIDE.is_multiple_of(2) && STRIDE >= 32 && STRIDE < 64) };
        unsafe {
            // The numbers of four groups from two vectors, which begin with one of them each and
            // hold the next.
            let four = _mm512_castsi128_si512(_mm_setr_epi16(
                0,
                STRIDE as i16 / 2,
                32,
                32 + STRIDE as i16 / 2,
                0,
                0,
                0,
                0,
            ));
            let mut fours = [_mm512_setzero_si512(); 4];
            for (i, fours) in fours.iter_mut().enumerate() {
                let groups = groups.add(4 * i * STRIDE);
                let first = _mm512_loadu_si512(groups.cast());
                let last = _mm512_loadu_si512(groups.add(2 * STRIDE).cast());
                *fours = _mm512_permutex2var_epi16(first, four, last);
            }
            let mut eights = [_mm_setzero_si128(); 2];
            for (eight, [first, last]) in eights
                .iter_mut()
                .zip([[fours[0], fours[1]], [fours[2], fours[3]]])
            {
                let (first, last) = (_mm512_castsi512_si128(first), _mm512_castsi512_si128(last));
                *eight = _mm_unpacklo_epi64(first, last);
            }
            _mm512_cvtph_ps(_mm256_set_m128i(eights[1], eights[0]))
        }
    }

    #[inline(always)]
    fn transposed_ints(self, rows: &[__m512i; WIDTH]) -> [__m512i; WIDTH] {
        unsafe { transposed(*rows) }
    }

    #[inline(always)]
    fn transposed_floats(self, rows: &[__m512; WIDTH]) -> [__m512; WIDTH] {
        unsafe { transposed_floats(rows) }
    }
}

/// The sum of the four lanes of each quarter: of quarter `q` of vector `i` in lane `4 q + i`.
///
/// # Safety
///
/// The CPU has AVX-512 F.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn sums_in_quarters([a, b, c, d]: [__m512i; 4]) -> __m512i {
    // SAFETY: the caller vouches for AVX-512 F.
    unsafe {
        let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        let (low, high) = (_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
        _mm512_add_epi32(low, high)
    }
}
