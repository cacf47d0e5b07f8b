//! x86-64 with AVX-512 F, BW, DQ, VL and VNNI, and with VBMI and BITALG or BF16 besides.

use super::{Kernel, WIDTH, frame};
use std::arch::x86_64::*;

/// The token of [`super::Isa::Avx512`], and where `VBMI` is true of [`super::Isa::Avx512Vbmi`],
/// where `BF16` is of [`super::Isa::Avx512Bf16`]. No kernel wants both.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const VBMI: bool, const BF16: bool>(());

/// Runs `kernel` with AVX-512 enabled.
///
/// # Safety
///
/// The CPU has AVX2, FMA, F16C and AVX-512 F, BW, DQ, VL and VNNI.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    frame::align();
    kernel.run(Avx512::<false, false>(()))
}

/// Runs `kernel` with AVX-512, VBMI and BITALG enabled.
///
/// # Safety
///
/// As for [`run`], and the CPU has AVX-512 VBMI and BITALG.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[target_feature(enable = "avx512vbmi,avx512bitalg")]
pub(super) unsafe fn run_vbmi<K: Kernel>(kernel: K) -> K::Output {
    frame::align();
    kernel.run(Avx512::<true, false>(()))
}

/// Runs `kernel` with AVX-512 and BF16 enabled.
///
/// # Safety
///
/// As for [`run`], and the CPU has AVX-512 BF16.
#[allow(unsafe_code)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[target_feature(enable = "avx512bf16")]
pub(super) unsafe fn run_bf16<K: Kernel>(kernel: K) -> K::Output {
    frame::align();
    kernel.run(Avx512::<false, true>(()))
}

/// Vector `i` of lanes `j` from vectors `j` of lanes `i`.
///
/// # Safety
///
/// The CPU has AVX-512 F.
#[allow(unsafe_code)]
#[inline(always)]
pub(super) unsafe fn transposed(rows: [__m512i; WIDTH]) -> [__m512i; WIDTH] {
    // SAFETY: the caller vouches for AVX-512 F.
    unsafe {
        let mut twos = rows;
        for i in 0..8 {
            let (a, b) = (rows[2 * i], rows[2 * i + 1]);
            twos[2 * i] = _mm512_unpacklo_epi32(a, b);
            twos[2 * i + 1] = _mm512_unpackhi_epi32(a, b);
        }
        // Four rows' lanes j, j + 4, j + 8 and j + 12.
        let mut fours = twos;
        for i in 0..4 {
            for j in 0..2 {
                let (a, b) = (twos[4 * i + j], twos[4 * i + j + 2]);
                fours[4 * i + 2 * j] = _mm512_unpacklo_epi64(a, b);
                fours[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(a, b);
            }
        }
        let mut columns = fours;
        for j in 0..4 {
            let [a, b, c, d] = [fours[j], fours[4 + j], fours[8 + j], fours[12 + j]];
            let (ab, cd) = (
                _mm512_shuffle_i32x4::<0x88>(a, b),
                _mm512_shuffle_i32x4::<0x88>(c, d),
            );
            columns[j] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
            columns[8 + j] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
            let (ab, cd) = (
                _mm512_shuffle_i32x4::<0xdd>(a, b),
                _mm512_shuffle_i32x4::<0xdd>(c, d),
            );
            columns[4 + j] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
            columns[12 + j] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
        }
        columns
    }
}

/// The same, floats.
///
/// # Safety
///
/// The CPU has AVX-512 F.
#[allow(unsafe_code)]
#[inline(always)]
pub(super) unsafe fn transposed_floats(rows: &[__m512; WIDTH]) -> [__m512; WIDTH] {
    // SAFETY: the caller vouches for AVX-512 F.
    unsafe {
        let mut words = [_mm512_setzero_si512(); WIDTH];
        for (words, &row) in words.iter_mut().zip(rows) {
            *words = _mm512_castps_si512(row);
        }
        let mut columns = *rows;
        for (column, words) in columns.iter_mut().zip(transposed(words)) {
            *column = _mm512_castsi512_ps(words);
        }
        columns
    }
}
