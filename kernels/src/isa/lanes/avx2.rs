//! The matrix vocabulary of AVX2: eight rows in a register, with or without AVX-VNNI.

use super::super::avx2::{Avx2, AvxVnni};
use super::super::{frame, prefetch};
use super::{CodeRange, Lanes, Task, dot_apart, dot_one_by_one};
use std::arch::asm;
use std::arch::x86_64::*;

/// What differs between AVX2 and AVX-VNNI: the integer dot product.
pub(super) trait Dot: Copy + Send + Sync + 'static {
    /// See [`Lanes::call`].
    fn call<T: Task<Self>>(self, task: T);

    /// See [`Lanes::SIGNED_OFFSET`].
    const SIGNED_OFFSET: i32;

    /// See [`Lanes::UNSIGNED_IN_TILES`].
    const UNSIGNED_IN_TILES: bool = false;

    /// See [`Lanes::SCALED_IN_TILES`].
    const SCALED_IN_TILES: bool = true;

    /// See [`Lanes::FLIPS`].
    const FLIPS: bool = false;

    /// See [`Lanes::dot`].
    ///
    /// # Safety
    ///
    /// As for [`Lanes::dot`].
    #[allow(unsafe_code)]
    unsafe fn dot<F: CodeRange, const N: usize, const W: usize>(
        self,
        start: [__m256i; W],
        codes: &[__m256i; N],
        x: *const i32,
    ) -> [__m256i; W];

    /// As [`Lanes::TILES`].
    const TILES: usize = 1;

    /// As [`Lanes::dot_tiles`].
    ///
    /// # Safety
    ///
    /// As there.
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn dot_tiles<F: CodeRange, const N: usize, const W: usize, const T: usize>(
        self,
        start: [__m256i; W],
        codes: [&[__m256i; N]; T],
        x: *const i32,
    ) -> [[__m256i; W]; T] {
        // SAFETY: the caller's promise.
        unsafe { dot_one_by_one::<Self, F, N, W, T>(self, start, codes, x) }
    }
}

#[allow(unsafe_code)]
// SAFETY, of every intrinsic below: an `Avx2` is constructed only by `avx2::run`, whose caller
// established that the CPU has AVX2; `x` is vouched for by the caller.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Dot for Avx2 {
    #[allow(unsafe_code)]
    #[inline(always)]
    fn call<T: Task<Self>>(self, task: T) {
        // SAFETY: the token is constructed only after detection of the features.
        unsafe { call(self, task) }
    }

    const SIGNED_OFFSET: i32 = 0;

    const UNSIGNED_IN_TILES: bool = true;

    const SCALED_IN_TILES: bool = false;

    const FLIPS: bool = true;

    #[inline(always)]
    unsafe fn dot<F: CodeRange, const N: usize, const W: usize>(
        self,
        start: [__m256i; W],
        codes: &[__m256i; N],
        x: *const i32,
    ) -> [__m256i; W] {
        let mut acc = start;
        let ones = unsafe { _mm256_set1_epi16(1) };
        // The instruction adds two products of an unsigned code and a signed activation (at most
        // 127 in magnitude) into 16 bits; so many such sums fit there before they must be widened.
        let run = F::MAX.map_or(1, |max| (32767 / (2 * 127 * usize::from(max))).max(1));
        let mut first = 0;
        while first < N {
            let last = if first + run < N { first + run } else { N };
            let mut sums = [unsafe { _mm256_setzero_si256() }; W];
            for n in first..last {
                // Signed codes lend their sign to the activation; |−128| is 128 unsigned.
                let magnitude = match F::MAX {
                    Some(_) => codes[n],
                    None => unsafe { _mm256_abs_epi8(codes[n]) },
                };
                for (c, sum) in sums.iter_mut().enumerate() {
                    unsafe {
                        let x = _mm256_set1_epi32(x.add(n * W + c).read());
                        let x = match F::MAX {
                            Some(_) => x,
                            None => _mm256_sign_epi8(x, codes[n]),
                        };
                        *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(magnitude, x));
                    }
                }
                // One column needs nothing; sums that are widened one by one are held below.
                if W > 1 && run > 1 {
                    unsafe { hold(&mut sums) };
                }
            }
            for (acc, sum) in acc.iter_mut().zip(sums) {
                *acc = unsafe { _mm256_add_epi32(*acc, _mm256_madd_epi16(sum, ones)) };
            }
            if W > 1 && run == 1 {
                unsafe { hold(&mut acc) };
            }
            first = last;
        }
        acc
    }
}

#[allow(unsafe_code)]
// SAFETY, of every intrinsic below: an `AvxVnni` is constructed only by `avx2::run_vnni`, whose
// caller established that the CPU has AVX-VNNI; `x` is vouched for by the caller.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Dot for AvxVnni {
    #[allow(unsafe_code)]
    #[inline(always)]
    fn call<T: Task<Self>>(self, task: T) {
        // SAFETY: the token is constructed only after detection of the features.
        unsafe { call_dot(self, task) }
    }

    const SIGNED_OFFSET: i32 = 128;

    #[inline(always)]
    unsafe fn dot<F: CodeRange, const N: usize, const W: usize>(
        self,
        start: [__m256i; W],
        codes: &[__m256i; N],
        x: *const i32,
    ) -> [__m256i; W] {
        // `dot_tiles` of one tile does the same, but 8 % slower with one column of Q4_K.
        let mut acc = start;
        for (n, &codes) in codes.iter().enumerate() {
            for (c, acc) in acc.iter_mut().enumerate() {
                unsafe {
                    let x = _mm256_set1_epi32(x.add(n * W + c).read());
                    *acc = _mm256_dpbusd_avx_epi32(*acc, codes, x);
                }
            }
        }
        acc
    }

    // Four sums would wait for each other.
    const TILES: usize = 2;

    #[inline(always)]
    unsafe fn dot_tiles<F: CodeRange, const N: usize, const W: usize, const T: usize>(
        self,
        start: [__m256i; W],
        codes: [&[__m256i; N]; T],
        x: *const i32,
    ) -> [[__m256i; W]; T] {
        let mut sums = [start; T];
        for n in 0..N {
            for c in 0..W {
                let x = unsafe { _mm256_set1_epi32(x.add(n * W + c).read()) };
                for t in 0..T {
                    sums[t][c] = unsafe { _mm256_dpbusd_avx_epi32(sums[t][c], codes[t][n], x) };
                }
            }
        }
        sums
    }
}

#[allow(unsafe_code)]
// SAFETY, of every intrinsic below: both tokens are constructed only after detection of AVX2, FMA
// and F16C; memory operands are vouched for by the caller of the `unsafe fn` they stand in.
#[allow(clippy::undocumented_unsafe_blocks)]
impl<T: Dot> Lanes for T {
    const ROWS: usize = 8;
    const COLUMNS: usize = 4;
    const TILES: usize = <T as Dot>::TILES;
    const FLOAT_TILES: usize = 2;
    const SIGNED_OFFSET: i32 = <T as Dot>::SIGNED_OFFSET;
    const UNSIGNED_IN_TILES: bool = <T as Dot>::UNSIGNED_IN_TILES;
    const SCALED_IN_TILES: bool = <T as Dot>::SCALED_IN_TILES;
    const FLIPS: bool = <T as Dot>::FLIPS;
    type Int = __m256i;
    type Float = __m256;

    #[inline(always)]
    fn call<K: Task<Self>>(self, task: K) {
        Dot::call(self, task);
    }

    #[inline(always)]
    unsafe fn gather16(self, base: *const u8, stride: usize) -> [__m256i; 4] {
        // Vector `i` takes rows i and i + 4 into its halves, so that the transposition of 4 × 4
        // words inside each half leaves the rows in order.
        let [mut a, mut b, mut c, mut d] = [unsafe { _mm256_setzero_si256() }; 4];
        for (i, v) in [&mut a, &mut b, &mut c, &mut d].into_iter().enumerate() {
            unsafe {
                let row0 = _mm_loadu_si128(base.add(i * stride).cast());
                let row1 = _mm_loadu_si128(base.add((i + 4) * stride).cast());
                *v = _mm256_set_m128i(row1, row0);
            }
        }
        unsafe {
            let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
            let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
            [
                _mm256_unpacklo_epi64(ab_low, cd_low),
                _mm256_unpackhi_epi64(ab_low, cd_low),
                _mm256_unpacklo_epi64(ab_high, cd_high),
                _mm256_unpackhi_epi64(ab_high, cd_high),
            ]
        }
    }

    #[inline(always)]
    unsafe fn gather4(self, base: *const u8, stride: usize) -> __m256i {
        unsafe {
            let word = |r: usize| base.add(r * stride).cast::<i32>().read_unaligned();
            let half = |r| _mm_setr_epi32(word(r), word(r + 1), word(r + 2), word(r + 3));
            _mm256_set_m128i(half(4), half(0))
        }
    }

    #[inline(always)]
    unsafe fn gather2(self, base: *const u8, stride: usize) -> __m256i {
        unsafe {
            let half = |r: usize| base.add(r * stride).cast::<i16>().read_unaligned();
            _mm256_cvtepu16_epi32(_mm_setr_epi16(
                half(0),
                half(1),
                half(2),
                half(3),
                half(4),
                half(5),
                half(6),
                half(7),
            ))
        }
    }

    #[inline(always)]
    fn splat_int(self, value: i32) -> __m256i {
        unsafe { _mm256_set1_epi32(value) }
    }

    #[inline(always)]
    fn splat_shifted(self, value: i32, shift: u32) -> __m256i {
        // Read into all lanes, then shifted: the compiler would do it the other way round, which
        // takes two instructions more.
        unsafe {
            let mut splat = [_mm256_set1_epi32(value)];
            hold(&mut splat);
            _mm256_sra_epi32(splat[0], _mm_cvtsi32_si128(shift as i32))
        }
    }

    #[inline(always)]
    fn and(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_and_si256(a, b) }
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_or_si256(a, b) }
    }

    #[inline(always)]
    fn xor(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_xor_si256(a, b) }
    }

    #[inline(always)]
    fn shift_left<const BITS: i32>(self, a: __m256i) -> __m256i {
        unsafe { _mm256_slli_epi32::<BITS>(a) }
    }

    #[inline(always)]
    fn shift_right<const BITS: i32>(self, a: __m256i) -> __m256i {
        unsafe { _mm256_srli_epi32::<BITS>(a) }
    }

    #[inline(always)]
    fn add_int(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_add_epi32(a, b) }
    }

    #[inline(always)]
    fn subtract_int(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_sub_epi32(a, b) }
    }

    #[inline(always)]
    fn multiply_int(self, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_mullo_epi32(a, b) }
    }

    #[inline(always)]
    fn table16(self, table: &[i8; 16], indices: __m256i) -> __m256i {
        unsafe {
            let table = _mm_loadu_si128(table.as_ptr().cast::<__m128i>());
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), indices)
        }
    }

    #[inline(always)]
    fn lookup<const N: usize>(self, table: &[u32; N], indices: __m256i) -> __m256i {
        const { assert!(N.is_power_of_two()) };
        unsafe {
            // The mask keeps every index inside the table.
            let indices = _mm256_and_si256(indices, _mm256_set1_epi32(N as i32 - 1));
            _mm256_i32gather_epi32::<4>(table.as_ptr().cast(), indices)
        }
    }

    #[inline(always)]
    fn to_float(self, a: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(a) }
    }

    #[inline(always)]
    fn half_to_float(self, a: __m256i) -> __m256 {
        unsafe {
            // The low halves of eight words, packed into the low 128 bits.
            let low = _mm256_and_si256(a, _mm256_set1_epi32(0xffff));
            let packed = _mm256_packus_epi32(low, low);
            let packed = _mm256_permute4x64_epi64::<0b1000>(packed);
            _mm256_cvtph_ps(_mm256_castsi256_si128(packed))
        }
    }

    #[inline(always)]
    fn bits_to_float(self, a: __m256i) -> __m256 {
        unsafe { _mm256_castsi256_ps(a) }
    }

    #[inline(always)]
    fn splat_float(self, value: f32) -> __m256 {
        unsafe { _mm256_set1_ps(value) }
    }

    #[inline(always)]
    fn add_float(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn multiply_float(self, a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn multiply_add_float(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn dot_pairs(self, acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        unsafe { _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)) }
    }

    #[inline(always)]
    unsafe fn dot<F: CodeRange, const N: usize, const W: usize>(
        self,
        start: [__m256i; W],
        codes: &[__m256i; N],
        x: *const i32,
    ) -> [__m256i; W] {
        unsafe { Dot::dot::<F, N, W>(self, start, codes, x) }
    }

    #[inline(always)]
    unsafe fn dot_tiles<F: CodeRange, const N: usize, const W: usize, const T2: usize>(
        self,
        start: [__m256i; W],
        codes: [&[__m256i; N]; T2],
        x: *const i32,
    ) -> [[__m256i; W]; T2] {
        unsafe { Dot::dot_tiles::<F, N, W, T2>(self, start, codes, x) }
    }

    #[inline(always)]
    unsafe fn dot_halves<F: CodeRange, const W: usize>(
        self,
        starts: [[__m256i; W]; 2],
        codes: [&[__m256i; 4]; 2],
        scales: __m256i,
        x: *const i32,
    ) -> [__m256i; W] {
        match T::SCALED_IN_TILES {
            true => unsafe { dot_apart::<T, F, W>(self, starts, codes, scales, x) },
            false => unsafe { dot_halves_of_16_bits::<F, W>(starts, codes, scales, x) },
        }
    }

    #[inline(always)]
    unsafe fn dot_flipped<const N: usize, const W: usize>(
        self,
        start: [__m256i; W],
        codes: &[__m256i; N],
        x: *const i32,
    ) -> [__m256i; W] {
        let mut acc = start;
        let (zero, ones) = unsafe { (_mm256_setzero_si256(), _mm256_set1_epi16(1)) };
        for (n, &codes) in codes.iter().enumerate() {
            // |−128| is 128 unsigned, and −128 · 128 · 2 still fits 16 bits.
            let magnitude = unsafe { _mm256_abs_epi8(codes) };
            let negative = unsafe { _mm256_cmpgt_epi8(zero, codes) };
            for (c, acc) in acc.iter_mut().enumerate() {
                unsafe {
                    let x = _mm256_set1_epi32(x.add(n * W + c).read());
                    let x = _mm256_xor_si256(x, negative);
                    let sums = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, x), ones);
                    *acc = _mm256_add_epi32(*acc, sums);
                }
            }
            unsafe { hold(&mut acc) };
        }
        acc
    }

    #[inline(always)]
    fn flipped_start(self, codes: &[__m256i; 8]) -> __m256i {
        unsafe {
            let mut sum = _mm256_setzero_si256();
            for &codes in codes {
                let negative = _mm256_min_epi8(codes, _mm256_setzero_si256());
                let magnitude = _mm256_abs_epi8(negative);
                // Sixteen of 128 at most.
                sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(magnitude, _mm256_set1_epi8(1)));
            }
            _mm256_madd_epi16(sum, _mm256_set1_epi16(1))
        }
    }

    #[inline(always)]
    fn finish<const W: usize>(self, sums: &mut [__m256; W]) {
        unsafe { finish(sums) }
    }

    #[inline(always)]
    unsafe fn load_float(self, from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store_float(self, to: *mut f32, a: __m256) {
        unsafe { _mm256_storeu_ps(to, a) }
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

/// [`Lanes::dot_halves`] with sums of 16 bits, which the instruction that widens them multiplies too.
///
/// # Safety
///
/// As there, and the CPU has AVX2.
#[allow(unsafe_code)]
// SAFETY, of every intrinsic below: the caller's promise.
#[allow(clippy::undocumented_unsafe_blocks)]
#[inline(always)]
unsafe fn dot_halves_of_16_bits<F: CodeRange, const W: usize>(
    starts: [[__m256i; W]; 2],
    codes: [&[__m256i; 4]; 2],
    scales: __m256i,
    x: *const i32,
) -> [__m256i; W] {
    // Sums of eight products and of a start fit in 16 bits.
    debug_assert!(matches!(F::MAX, Some(..=7)));
    let mut total = [unsafe { _mm256_setzero_si256() }; W];
    for half in 0..2 {
        // The scale of this half in both halves of every lane.
        let (low, high) = (2 * half as i32, 2 * half as i32 + 1);
        let both = (low | high << 8) * 0x0001_0001;
        let scale = unsafe {
            let words = _mm256_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12);
            let words = _mm256_mullo_epi32(words, _mm256_set1_epi32(0x0101_0101));
            let from = _mm256_add_epi32(words, _mm256_set1_epi32(both));
            _mm256_shuffle_epi8(scales, from)
        };
        // A start is negative, and is one term of the two of its lane.
        let mut sums = [unsafe { _mm256_setzero_si256() }; W];
        for (sum, &start) in sums.iter_mut().zip(&starts[half]) {
            *sum = unsafe { _mm256_and_si256(start, _mm256_set1_epi32(0xffff)) };
        }
        for (n, &codes) in codes[half].iter().enumerate() {
            for (c, sum) in sums.iter_mut().enumerate() {
                unsafe {
                    let x = x.add((4 * half + n) * W + c).read();
                    let products = _mm256_maddubs_epi16(codes, _mm256_set1_epi32(x));
                    *sum = _mm256_add_epi16(*sum, products);
                }
            }
            if W > 1 {
                unsafe { hold(&mut sums) };
            }
        }
        for (total, sum) in total.iter_mut().zip(sums) {
            *total = unsafe { _mm256_add_epi32(*total, _mm256_madd_epi16(sum, scale)) };
        }
    }
    total
}

/// Keeps the compiler from computing any of `sums` later than here: it would finish one column
/// after the other, reading the codes anew for each or spilling them.
///
/// # Safety
///
/// The CPU has AVX2.
#[allow(unsafe_code)]
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn hold<const W: usize>(sums: &mut [__m256i; W]) {
    for sum in sums {
        // SAFETY: no instruction at all.
        unsafe {
            asm!(
                "/* {} */",
                inout(ymm_reg) * sum,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
    }
}

/// See [`Lanes::finish`].
///
/// # Safety
///
/// The CPU has AVX2.
#[allow(unsafe_code)]
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn finish<const W: usize>(sums: &mut [__m256; W]) {
    for sum in sums {
        // SAFETY: no instruction at all. For all that the compiler knows it writes to memory, so that
        // what is read behind it is not read before it.
        unsafe {
            asm!(
                "/* {sum} */",
                sum = inout(ymm_reg) * sum,
                options(nostack, preserves_flags)
            );
        }
    }
}

/// Runs `task` with the features of [`Avx2`] enabled.
///
/// # Safety
///
/// The CPU has them.
#[allow(unsafe_code)]
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn call<T: Task<Avx2>>(simd: Avx2, task: T) {
    frame::align();
    task.run(simd);
}

/// Runs `task` with the features of [`AvxVnni`] enabled.
///
/// # Safety
///
/// The CPU has them.
#[allow(unsafe_code)]
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c,avxvnni")]
unsafe fn call_dot<T: Task<AvxVnni>>(simd: AvxVnni, task: T) {
    frame::align();
    task.run(simd);
}
