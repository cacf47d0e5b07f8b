//! The matrix vocabulary of AVX-512: sixteen rows in a register.

use super::super::avx512::Avx512;
use super::super::{frame, prefetch};
use super::{ByteTables, CodeRange, Lanes, Task, dot_bf16_exactly};
use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::transmute;

#[allow(unsafe_code)]
// SAFETY, of every intrinsic below: an `Avx512` is constructed only by `avx512::run`, `run_vbmi` and
// `run_bf16`, whose callers established that the CPU has the features they need; memory operands are
// vouched for by the caller of the `unsafe fn` they stand in.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<const VBMI: bool, const BF16: bool> Lanes for Avx512<VBMI, BF16> {
    const ROWS: usize = 16;
    const COLUMNS: usize = 8;
    const FULL_COLUMNS: usize = 6;
    const TILES: usize = 2;
    const SIGNED_OFFSET: i32 = 128;
    const SCALES_BY_POWERS: bool = true;
    const BYTE_TABLES: bool = VBMI;
    const DOTS_BF16: bool = BF16;
    type Int = __m512i;
    type Float = __m512;

    #[inline(always)]
    fn call<T: Task<Self>>(self, task: T) {
        match (VBMI, BF16) {
            (_, true) => unsafe { call_bf16(self, task) },
            (true, _) => unsafe { call_vbmi(self, task) },
            _ => unsafe { call(self, task) },
        }
    }

    #[inline(always)]
    unsafe fn gather16(self, base: *const u8, stride: usize) -> [__m512i; 4] {
        // Vector `i` takes rows i, i + 4, i + 8 and i + 12 into its four quarters, so that the
        // transposition of 4 × 4 words inside every quarter leaves the rows in order.
        let [mut a, mut b, mut c, mut d] = [unsafe { _mm512_setzero_si512() }; 4];
        for (i, v) in [&mut a, &mut b, &mut c, &mut d].into_iter().enumerate() {
            unsafe {
                let row0 = _mm_loadu_si128(base.add(i * stride).cast());
                let row1 = _mm_loadu_si128(base.add((i + 4) * stride).cast());
                let row2 = _mm_loadu_si128(base.add((i + 8) * stride).cast());
                let row3 = _mm_loadu_si128(base.add((i + 12) * stride).cast());
                *v = quarters(row0, row1, row2, row3);
            }
        }
        unsafe {
            let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            [
                _mm512_unpacklo_epi64(ab_low, cd_low),
                _mm512_unpackhi_epi64(ab_low, cd_low),
                _mm512_unpacklo_epi64(ab_high, cd_high),
                _mm512_unpackhi_epi64(ab_high, cd_high),
            ]
        }
    }

    #[inline(always)]
    unsafe fn gather_halves(self, base: *const u8, stride: usize) -> [__m512; 8] {
        // Rows r and r + 8 in the halves of a register: a transposition of 8 × 8 numbers of sixteen
        // bits inside each half leaves the rows in order.
        let mut rows = [unsafe { _mm256_setzero_si256() }; 8];
        for (r, row) in rows.iter_mut().enumerate() {
            unsafe {
                let low = _mm_loadu_si128(base.add(r * stride).cast());
                let high = _mm_loadu_si128(base.add((r + 8) * stride).cast());
                *row = _mm256_set_m128i(high, low);
            }
        }
        let [a, b, c, d, e, f, g, h] = rows;
        unsafe {
            let (ab0, ab1) = (_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b));
            let (cd0, cd1) = (_mm256_unpacklo_epi16(c, d), _mm256_unpackhi_epi16(c, d));
            let (ef0, ef1) = (_mm256_unpacklo_epi16(e, f), _mm256_unpackhi_epi16(e, f));
            let (gh0, gh1) = (_mm256_unpacklo_epi16(g, h), _mm256_unpackhi_epi16(g, h));
            let mut floats = [_mm512_setzero_ps(); 8];
            for (half, [ab, cd, ef, gh]) in [[ab0, cd0, ef0, gh0], [ab1, cd1, ef1, gh1]]
                .into_iter()
                .enumerate()
            {
                let (low, high) = (_mm256_unpacklo_epi32(ab, cd), _mm256_unpackhi_epi32(ab, cd));
                let (low2, high2) = (_mm256_unpacklo_epi32(ef, gh), _mm256_unpackhi_epi32(ef, gh));
                let to = &mut floats[4 * half..][..4];
                to[0] = _mm512_cvtph_ps(_mm256_unpacklo_epi64(low, low2));
                to[1] = _mm512_cvtph_ps(_mm256_unpackhi_epi64(low, low2));
                to[2] = _mm512_cvtph_ps(_mm256_unpacklo_epi64(high, high2));
                to[3] = _mm512_cvtph_ps(_mm256_unpackhi_epi64(high, high2));
            }
            floats
        }
    }

    #[inline(always)]
    unsafe fn gather4(self, base: *const u8, stride: usize) -> __m512i {
        unsafe {
            let word = |r: usize| base.add(r * stride).cast::<i32>().read_unaligned();
            let quarter = |r| _mm_setr_epi32(word(r), word(r + 1), word(r + 2), word(r + 3));
            quarters(quarter(0), quarter(4), quarter(8), quarter(12))
        }
    }

    #[inline(always)]
    unsafe fn gather2(self, base: *const u8, stride: usize) -> __m512i {
        unsafe {
            let half = |r: usize| base.add(r * stride).cast::<i16>().read_unaligned();
            let eight = |r| {
                _mm_setr_epi16(
                    half(r),
                    half(r + 1),
                    half(r + 2),
                    half(r + 3),
                    half(r + 4),
                    half(r + 5),
                    half(r + 6),
                    half(r + 7),
                )
            };
            _mm512_cvtepu16_epi32(_mm256_set_m128i(eight(8), eight(0)))
        }
    }

    #[inline(always)]
    fn splat_int(self, value: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(a, b) }
    }

    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_xor_si512(a, b) }
    }

    #[inline(always)]
    fn shift_left<const BITS: i32>(self, a: __m512i) -> __m512i {
        unsafe { _mm512_sllv_epi32(a, _mm512_set1_epi32(BITS)) }
    }

    #[inline(always)]
    fn shift_right<const BITS: i32>(self, a: __m512i) -> __m512i {
        unsafe { _mm512_srlv_epi32(a, _mm512_set1_epi32(BITS)) }
    }

    #[inline(always)]
    fn add_int(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    fn subtract_int(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_sub_epi32(a, b) }
    }

    #[inline(always)]
    fn multiply_int(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_mullo_epi32(a, b) }
    }

    #[inline(always)]
    fn table16(self, table: &[i8; 16], indices: __m512i) -> __m512i {
        unsafe {
            let table = _mm_loadu_si128(table.as_ptr().cast::<__m128i>());
            _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), indices)
        }
    }

    #[inline(always)]
    fn lookup<const N: usize>(self, table: &[u32; N], indices: __m512i) -> __m512i {
        const { assert!(N.is_power_of_two()) };
        unsafe {
            // The mask keeps every index inside the table.
            let indices = _mm512_and_si512(indices, _mm512_set1_epi32(N as i32 - 1));
            _mm512_i32gather_epi32::<4>(indices, table.as_ptr().cast())
        }
    }

    #[inline(always)]
    fn lookup_bytes<const N: usize, const T: usize, const W: usize>(
        self,
        tables: &ByteTables<N, T>,
        low: [__m512i; W],
        high: [__m512i; W],
    ) -> [[__m512i; T]; W] {
        const { assert!(N.is_power_of_two() && N >= 128 && N <= 1 << 15) };
        // An instruction looks up in 128 bytes, those of the bytes whose indices lie there; the
        // others stay what they are, indices or already found.
        let mut found = low.map(|low| [low; T]);
        for part in 0..N / 128 {
            let mut masks = [!0; W];
            if N > 128 {
                // What distinguishes the parts: bit 7 of `low`, and above it bits of `high`.
                let number = (part & 1) << 7 | part >> 1;
                for (w, mask) in masks.iter_mut().enumerate() {
                    unsafe {
                        let top = _mm512_and_si512(low[w], _mm512_set1_epi8(-128));
                        let rest = _mm512_set1_epi8((N / 256).saturating_sub(1) as i8);
                        let here = _mm512_or_si512(top, _mm512_and_si512(high[w], rest));
                        let number = _mm512_set1_epi8(number as i8);
                        *mask = _mm512_cmpeq_epi8_mask(here, number);
                    }
                }
            }
            for (t, table) in tables.0.iter().enumerate() {
                let table = table.as_ptr().wrapping_add(part * 128);
                // SAFETY: there are 128 bytes in the part.
                let (first, last) = unsafe {
                    let last = table.add(64);
                    (
                        _mm512_loadu_si512(table.cast()),
                        _mm512_loadu_si512(last.cast()),
                    )
                };
                for (found, &mask) in found.iter_mut().zip(&masks) {
                    let here = &mut found[t];
                    *here = match N {
                        128 => unsafe { _mm512_permutex2var_epi8(first, *here, last) },
                        _ => unsafe { replaced(*here, mask, first, last) },
                    };
                }
            }
        }
        found
    }

    #[inline(always)]
    fn lookup64(self, table: &ByteTables<64, 1>, indices: __m512i) -> __m512i {
        unsafe {
            let table = _mm512_loadu_si512(table.0[0].as_ptr().cast());
            _mm512_permutexvar_epi8(indices, table)
        }
    }

    #[inline(always)]
    fn fields(self, word: __m512i, first: [u8; 4]) -> __m512i {
        unsafe { _mm512_multishift_epi64_epi8(of_both(first), word) }
    }

    #[inline(always)]
    fn pick(self, [a, b]: [__m512i; 2], from: [u8; 4]) -> __m512i {
        // Byte i of a lane comes from there in the same lane of `a`, or of `b`, 64 bytes further.
        let from = u32::from_le_bytes(from.map(|i| if i < 4 { i } else { i + 60 }));
        unsafe {
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let starts = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(0x0404_0404));
            let from = _mm512_add_epi32(starts, _mm512_set1_epi32(from as i32));
            _mm512_permutex2var_epi8(a, from, b)
        }
    }

    #[inline(always)]
    fn reorder(self, words: &[i32; 64], from: &ByteTables<64, 1>) -> [i32; 64] {
        let mut reordered = [0; 64];
        let (sixteens, _) = words.as_chunks::<16>();
        for (to, words) in reordered.chunks_exact_mut(16).zip(sixteens) {
            unsafe {
                let from = _mm512_loadu_si512(from.0[0].as_ptr().cast());
                let words = _mm512_loadu_si512(words.as_ptr().cast());
                let words = _mm512_permutexvar_epi8(from, words);
                _mm512_storeu_si512(to.as_mut_ptr().cast(), words);
            }
        }
        reordered
    }

    #[inline(always)]
    fn subtract_where(
        self,
        (word, bits): (__m512i, [u8; 4]),
        (a, b): (__m512i, __m512i),
        otherwise: __m512i,
    ) -> __m512i {
        unsafe {
            let mask = _mm512_bitshuffle_epi64_mask(word, of_both(bits));
            _mm512_mask_sub_epi8(otherwise, mask, a, b)
        }
    }

    #[inline(always)]
    fn to_float(self, a: __m512i) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(a) }
    }

    #[inline(always)]
    fn half_to_float(self, a: __m512i) -> __m512 {
        unsafe { _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)) }
    }

    #[inline(always)]
    fn bits_to_float(self, a: __m512i) -> __m512 {
        unsafe { _mm512_castsi512_ps(a) }
    }

    #[inline(always)]
    fn splat_float(self, value: f32) -> __m512 {
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn add_float(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn multiply_float(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn multiply_add_float(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn dot_bf16(self, a: __m512i, b: __m512i, sum: __m512) -> __m512 {
        if !BF16 {
            return dot_bf16_exactly(self, a, b, sum);
        }
        // SAFETY of the transmutations: both types are 64 bytes that may be anything.
        unsafe {
            let a: __m512bh = transmute(a);
            let b: __m512bh = transmute(b);
            _mm512_dpbf16_ps(sum, a, b)
        }
    }

    #[inline(always)]
    unsafe fn load_int(self, from: *const i32) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    fn least_bf16(self, least: __m512i, pairs: __m512i) -> __m512i {
        // Twice the bits has no sign; less one, zero is the largest.
        unsafe {
            let twice = _mm512_add_epi16(pairs, pairs);
            _mm512_min_epu16(least, _mm512_add_epi16(twice, _mm512_set1_epi16(-1)))
        }
    }

    #[inline(always)]
    fn any_bf16_below(self, least: __m512i, bound: u16) -> bool {
        let bound = (2 * bound - 1) as i16;
        unsafe { _mm512_cmplt_epu16_mask(least, _mm512_set1_epi16(bound)) != 0 }
    }

    #[inline(always)]
    fn scale_by_power(self, a: __m512, exponent: f32) -> __m512 {
        unsafe { _mm512_scalef_ps(a, _mm512_set1_ps(exponent)) }
    }

    #[inline(always)]
    fn dot_pairs(self, acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_dpwssd_epi32(acc, a, b) }
    }

    #[inline(always)]
    unsafe fn dot<F: CodeRange, const N: usize, const W: usize>(
        self,
        start: [__m512i; W],
        codes: &[__m512i; N],
        x: *const i32,
    ) -> [__m512i; W] {
        // With few columns a second chain of sums halves the time that the first would take.
        let chains = if W <= 2 { 2 } else { 1 };
        let mut acc = [start, [unsafe { _mm512_setzero_si512() }; W]];
        for (n, &codes) in codes.iter().enumerate() {
            for (c, acc) in acc[n % chains].iter_mut().enumerate() {
                unsafe {
                    let x = _mm512_set1_epi32(x.add(n * W + c).read());
                    *acc = _mm512_dpbusd_epi32(*acc, codes, x);
                }
            }
        }
        let [mut sums, second] = acc;
        if chains == 2 {
            for (sum, second) in sums.iter_mut().zip(second) {
                *sum = unsafe { _mm512_add_epi32(*sum, second) };
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn dot_tiles<F: CodeRange, const N: usize, const W: usize, const T: usize>(
        self,
        start: [__m512i; W],
        codes: [&[__m512i; N]; T],
        x: *const i32,
    ) -> [[__m512i; W]; T] {
        let mut sums = [start; T];
        for n in 0..N {
            for c in 0..W {
                let x = unsafe { _mm512_set1_epi32(x.add(n * W + c).read()) };
                for t in 0..T {
                    sums[t][c] = unsafe { _mm512_dpbusd_epi32(sums[t][c], codes[t][n], x) };
                }
            }
        }
        sums
    }

    #[inline(always)]
    fn finish<const W: usize>(self, sums: &mut [__m512; W]) {
        unsafe { finish(sums) }
    }

    #[inline(always)]
    unsafe fn load_float(self, from: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_float(self, to: *mut f32, a: __m512) {
        unsafe { _mm512_storeu_ps(to, a) }
    }

    #[inline(always)]
    fn prefetch_near(self, from: *const u8) {
        // Where it stands, as `prefetch`.
        unsafe {
            asm!("prefetcht0 [{from}]", from = in(reg) from, options(nostack, preserves_flags));
        }
    }

    #[inline(always)]
    fn prefetch_to_write(self, to: *const u8) {
        // Processors without the instruction take it for one that does nothing.
        unsafe {
            asm!("prefetchw [{to}]", to = in(reg) to, options(nostack, preserves_flags));
        }
    }

    #[inline(always)]
    fn prefetch(self, from: *const u8) {
        prefetch(from);
    }
}

/// Runs `task` with AVX-512 enabled.
///
/// # Safety
///
/// The CPU has the features.
#[allow(unsafe_code)]
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn call<S, T: Task<S>>(simd: S, task: T) {
    frame::align();
    task.run(simd);
}

/// Runs `task` with AVX-512, VBMI and BITALG enabled.
///
/// # Safety
///
/// The CPU has the features.
#[allow(unsafe_code)]
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[target_feature(enable = "avx512vbmi,avx512bitalg")]
unsafe fn call_vbmi<S, T: Task<S>>(simd: S, task: T) {
    frame::align();
    task.run(simd);
}

/// Runs `task` with AVX-512 and BF16 enabled.
///
/// # Safety
///
/// The CPU has the features.
#[allow(unsafe_code)]
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[target_feature(enable = "avx512bf16")]
unsafe fn call_bf16<S, T: Task<S>>(simd: S, task: T) {
    frame::align();
    task.run(simd);
}

/// See [`Lanes::finish`].
///
/// # Safety
///
/// The CPU has AVX-512 F.
#[allow(unsafe_code)]
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn finish<const W: usize>(sums: &mut [__m512; W]) {
    for sum in sums {
        // SAFETY: no instruction at all. For all that the compiler knows it writes to memory, so that
        // what is read behind it is not read before it.
        unsafe {
            asm!(
                "/* {sum} */",
                sum = inout(zmm_reg) * sum,
                options(nostack, preserves_flags)
            );
        }
    }
}

/// Four quarters of a register, lowest first.
///
/// # Safety
///
/// The CPU has AVX-512 F.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn quarters(a: __m128i, b: __m128i, c: __m128i, d: __m128i) -> __m512i {
    // SAFETY: the caller vouches for AVX-512 F, which implies AVX2.
    unsafe {
        let low = _mm256_set_m128i(b, a);
        let high = _mm256_set_m128i(d, c);
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }
}

/// `indices` where `mask` is clear; where it is set, the byte that the lower seven bits number in
/// `first` and `last`.
///
/// # Safety
///
/// The CPU has AVX-512 VBMI.
#[allow(unsafe_code)]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn replaced(indices: __m512i, mask: __mmask64, first: __m512i, last: __m512i) -> __m512i {
    let mut found = indices;
    // The compiler takes the intrinsic apart into a look-up and a selection, and several of them
    // become a tree of selections.
    // SAFETY: the instruction touches nothing but its operands.
    unsafe {
        asm!(
            "vpermi2b {found}{{{mask}}}, {first}, {last}",
            found = inout(zmm_reg) found,
            mask = in(kreg) mask,
            first = in(zmm_reg) first,
            last = in(zmm_reg) last,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    found
}

/// Numbers of bits of a lane, for both lanes of every 64 bits.
///
/// # Safety
///
/// The CPU has AVX-512 F.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn of_both(bits: [u8; 4]) -> __m512i {
    let low = u64::from(u32::from_le_bytes(bits));
    let high = low + 0x2020_2020;
    // SAFETY: the caller vouches for AVX-512 F.
    unsafe { _mm512_set1_epi64((low | high << 32) as i64) }
}
