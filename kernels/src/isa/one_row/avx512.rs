//! AVX-512: a group in each lane of a register.

use super::super::avx512::{Avx512, transposed};
use super::{Bytes, OneRow, WIDTH};
use crate::aligned::LINE;
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
    unsafe fn bytes_of_groups<const STRIDE: usize>(self, groups: *const u8) -> Bytes<Self> {
        let mut bytes = [unsafe { _mm512_setzero_si512() }; 5];
        let vectors = const { WIDTH * STRIDE }.div_ceil(LINE);
        for (vector, bytes) in bytes[..vectors].iter_mut().enumerate() {
            *bytes = unsafe { _mm512_loadu_si512(groups.add(start::<STRIDE>(vector)).cast()) };
        }
        bytes
    }

    #[inline(always)]
    fn sixteens_of_groups<const STRIDE: usize, const OFFSET: usize, const NUMBER: usize>(
        self,
        bytes: &Bytes<Self>,
    ) -> __m512i {
        const {
            assert!(STRIDE.is_multiple_of(2) && 4 * STRIDE - OFFSET <= 2 * LINE);
            assert!(OFFSET.is_multiple_of(2) && OFFSET + 16 <= STRIDE);
        }
        let vector = const { (4 * NUMBER * STRIDE + OFFSET) / LINE };
        let from = const {
            let vector = (4 * NUMBER * STRIDE + OFFSET) / LINE;
            let (one, two) = (start::<STRIDE>(vector), start::<STRIDE>(vector + 1));
            let mut from = [0; 32];
            let mut i = 0;
            while i < 32 {
                let byte = (4 * NUMBER + i / 8) * STRIDE + OFFSET + i % 8 * 2;
                from[i] = match byte < one + LINE {
                    true => (byte - one) / 2,
                    false => 32 + (byte - two) / 2,
                } as u16;
                i += 1;
            }
            from
        };
        unsafe {
            let from = _mm512_loadu_si512((&raw const from).cast());
            _mm512_permutex2var_epi16(bytes[vector], from, bytes[vector + 1])
        }
    }

    #[inline(always)]
    fn halves_in_bytes<const STRIDE: usize>(self, bytes: &Bytes<Self>) -> __m512i {
        const { assert!(STRIDE.is_multiple_of(2)) };
        const { assert!((WIDTH * STRIDE).div_ceil(LINE) == 5) };
        // Those of one more vector are put to those of the vectors before it.
        let from = const {
            let mut from = [[0; 32]; 4];
            let mut vector = 1;
            while vector < 5 {
                let mut group = 0;
                while group < WIDTH {
                    let byte = group * STRIDE;
                    from[vector - 1][group] = if byte / LINE == vector {
                        32 + (byte - start::<STRIDE>(vector)) / 2
                    } else if vector == 1 && byte / LINE == 0 {
                        byte / 2
                    } else {
                        group
                    } as u16;
                    group += 1;
                }
                vector += 1;
            }
            from
        };
        unsafe {
            let mut halves = bytes[0];
            for vector in 1..5 {
                let from = _mm512_loadu_si512((&raw const from[vector - 1]).cast());
                halves = _mm512_permutex2var_epi16(halves, from, bytes[vector]);
            }
            halves
        }
    }

    #[inline(always)]
    fn eights(self, [first, last]: [&[i32; 8]; 2], from: &[usize; WIDTH], shift: u32) -> __m512i {
        let mut lanes = [0; WIDTH];
        for (lane, from) in lanes.iter_mut().zip(from) {
            *lane = *from as i32;
        }
        unsafe {
            let lanes = _mm512_loadu_si512((&raw const lanes).cast());
            let halves = [first.as_ptr().cast(), last.as_ptr().cast()];
            let words = _mm512_permutexvar_epi32(lanes, self.load_halves(halves));
            _mm512_srav_epi32(words, _mm512_set1_epi32(shift as i32))
        }
    }

    #[inline(always)]
    fn quarters(self, words: &[i32; 2 * WIDTH], quarters: &[usize; 4]) -> __m512i {
        let mut from = [0; 8];
        for (from, quarter) in from.as_chunks_mut::<2>().0.iter_mut().zip(quarters) {
            *from = [2 * *quarter as i64, 2 * *quarter as i64 + 1];
        }
        unsafe {
            let from = _mm512_loadu_si512((&raw const from).cast());
            let first = _mm512_loadu_si512(words.as_ptr().cast());
            let last = _mm512_loadu_si512(words[WIDTH..].as_ptr().cast());
            _mm512_permutex2var_epi64(first, from, last)
        }
    }

    #[inline(always)]
    fn dot_bytes(self, sums: __m512i, codes: __m512i, x: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sums, codes, x) }
    }

    #[inline(always)]
    fn sums_of_quarters<const SHORT: usize>(self, [a, b, c, d]: [__m512i; 4]) -> __m512i {
        unsafe {
            if SHORT == 0 {
                let ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
                let cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
                let (low, high) = (_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
                return _mm512_add_epi32(low, high);
            }
            let (ab, cd) = (short_sums(a, b), short_sums(c, d));
            if SHORT == 2 {
                return short_sums(ab, cd);
            }
            sums_of_two_lanes(ab, cd)
        }
    }

    #[inline(always)]
    fn sums_of_pairs_of_quarters(self, [a, b]: [__m512i; 2]) -> __m512i {
        unsafe {
            _mm512_add_epi32(
                _mm512_shuffle_i32x4::<0x88>(a, b),
                _mm512_shuffle_i32x4::<0xdd>(a, b),
            )
        }
    }

    #[inline(always)]
    unsafe fn load_bytes_widened(self, [low, high]: [*const i8; 2]) -> __m512i {
        unsafe {
            let (low, high) = (_mm_loadu_si128(low.cast()), _mm_loadu_si128(high.cast()));
            _mm512_cvtepi8_epi16(_mm256_set_m128i(high, low))
        }
    }

    #[inline(always)]
    fn narrowed(self, [low, high]: [&[i32; WIDTH]; 2], shift: u32) -> __m512i {
        unsafe {
            let shift = _mm_cvtsi32_si128(shift as i32);
            let narrowed = |words: &[i32; WIDTH]| {
                let words = _mm512_loadu_si512(words.as_ptr().cast());
                _mm512_cvtepi32_epi16(_mm512_sra_epi32(words, shift))
            };
            let low = _mm512_castsi256_si512(narrowed(low));
            _mm512_inserti64x4::<1>(low, narrowed(high))
        }
    }

    #[inline(always)]
    fn scaled_sums(
        self,
        vectors: [[__m512i; 4]; 2],
        scales: __m512i,
        (more, shift): (__m512i, u32),
    ) -> __m512i {
        // Packed, a quarter has four lanes of a quarter of each vector: of the groups of 16 of these numbers.
        let from = const {
            let mut from = [[0u16; 32]; 4];
            let mut i = 0;
            while i < 4 * 32 {
                let (number, quarter, lane) = (i / 32, i % 32 / 8, i % 8);
                from[number][i % 32] = (8 * number + 4 * (lane / 4) + quarter) as u16;
                i += 1;
            }
            from
        };
        unsafe {
            let vectors = vectors.as_flattened();
            let mut sums = [_mm512_setzero_si512(); 4];
            for (number, from) in from.iter().enumerate() {
                let from = _mm512_loadu_si512(from.as_ptr().cast());
                let scales = _mm512_permutexvar_epi16(from, scales);
                let (a, b) = (vectors[2 * number], vectors[2 * number + 1]);
                sums[number] = _mm512_madd_epi16(_mm512_packs_epi32(a, b), scales);
            }
            for i in 0..2 {
                sums[i] = sums_of_two_lanes(sums[2 * i], sums[2 * i + 1]);
            }
            // Group 8 i + 4 j + 2 k + l is in lane 8 i + 2 j + k + 4 l.
            let order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
            let sums = self.sums_of_pairs_of_quarters([sums[0], sums[1]]);
            let sums = _mm512_permutexvar_epi32(order, sums);
            let more = _mm512_madd_epi16(more, scales);
            let shift = _mm_cvtsi32_si128(shift as i32);
            _mm512_add_epi32(sums, _mm512_sll_epi32(more, shift))
        }
    }

    #[inline(always)]
    unsafe fn halves_of_groups<const STRIDE: usize>(self, groups: *const u8) -> __m512i {
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
            _mm512_castps_si512(_mm512_cvtph_ps(_mm256_set_m128i(eights[1], eights[0])))
        }
    }

    #[inline(always)]
    fn packed(self, sums: __m512i, halves: __m512i) -> __m512i {
        let from = const {
            let mut from = [0; 32];
            let mut i = 0;
            while i < WIDTH {
                (from[i], from[WIDTH + i]) = (2 * i as u16, (32 + i) as u16);
                i += 1;
            }
            from
        };
        unsafe {
            let from = _mm512_loadu_si512((&raw const from).cast());
            _mm512_permutex2var_epi16(sums, from, halves)
        }
    }

    #[inline(always)]
    fn unpacked(self, rows: &[__m512i; WIDTH]) -> ([__m512i; WIDTH], [__m512; WIDTH]) {
        unsafe {
            // Words of two rows, of four, and of eight, in turns.
            let mut twos = *rows;
            for i in 0..8 {
                let (a, b) = (rows[2 * i], rows[2 * i + 1]);
                twos[2 * i] = _mm512_unpacklo_epi16(a, b);
                twos[2 * i + 1] = _mm512_unpackhi_epi16(a, b);
            }
            let mut fours = twos;
            for i in 0..4 {
                for j in 0..2 {
                    let (a, b) = (twos[4 * i + j], twos[4 * i + j + 2]);
                    fours[4 * i + 2 * j] = _mm512_unpacklo_epi32(a, b);
                    fours[4 * i + 2 * j + 1] = _mm512_unpackhi_epi32(a, b);
                }
            }
            let mut eights = fours;
            for i in 0..2 {
                for j in 0..4 {
                    let (a, b) = (fours[8 * i + j], fours[8 * i + j + 4]);
                    eights[8 * i + 2 * j] = _mm512_unpacklo_epi64(a, b);
                    eights[8 * i + 2 * j + 1] = _mm512_unpackhi_epi64(a, b);
                }
            }
            // Quarter `q` of vector `i` of either half is group `8 q + i` of eight rows.
            let first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
            let last = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
            let (mut sums, mut scales) = (*rows, [_mm512_setzero_ps(); WIDTH]);
            for i in 0..8 {
                let (a, b) = (eights[i], eights[8 + i]);
                let both = _mm512_permutex2var_epi64(a, first, b);
                sums[i] = _mm512_cvtepi16_epi32(_mm512_castsi512_si256(both));
                sums[8 + i] = _mm512_cvtepi16_epi32(_mm512_extracti64x4_epi64::<1>(both));
                let both = _mm512_permutex2var_epi64(a, last, b);
                scales[i] = _mm512_cvtph_ps(_mm512_castsi512_si256(both));
                scales[8 + i] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(both));
            }
            (sums, scales)
        }
    }

    #[inline(always)]
    fn transposed_ints(self, rows: &[__m512i; WIDTH]) -> [__m512i; WIDTH] {
        unsafe { transposed(*rows) }
    }
}

/// The sums of neighbouring lanes, which fit 16 bits: in each quarter two of `a` and two of `b`.
///
/// # Safety
///
/// The CPU has AVX-512 BW.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn short_sums(a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: the caller vouches for AVX-512 BW.
    unsafe { _mm512_madd_epi16(_mm512_packs_epi32(a, b), _mm512_set1_epi16(1)) }
}

/// The sums of two neighbouring lanes: in each quarter two of `a` and two of `b`.
///
/// # Safety
///
/// The CPU has AVX-512 F.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn sums_of_two_lanes(a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: the caller vouches for AVX-512 F.
    unsafe {
        let (a, b) = (_mm512_castsi512_ps(a), _mm512_castsi512_ps(b));
        let low = _mm512_castps_si512(_mm512_shuffle_ps::<0x88>(a, b));
        let high = _mm512_castps_si512(_mm512_shuffle_ps::<0xdd>(a, b));
        _mm512_add_epi32(low, high)
    }
}

/// Where vector `vector` of the bytes of sixteen groups of `STRIDE` bytes begins: the last ends with
/// them.
#[inline(always)]
const fn start<const STRIDE: usize>(vector: usize) -> usize {
    let (start, last) = (vector * LINE, WIDTH * STRIDE - LINE);
    if start < last { start } else { last }
}
