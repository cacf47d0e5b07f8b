//! The vocabulary of the matrix kernels: vectors whose lanes are rows of the weight matrix.
//!
//! A lane of an integer vector holds four consecutive bytes of one row, or one 32-bit number that
//! belongs to that row; a lane of a float vector holds one float of it. Formats are unpacked with
//! these operations alone, and none of them crosses lanes: one line of code treats every row of
//! the vector at once, and no result depends on how many rows a vector holds.
//!
//! Every operation rounds the same way on every instruction set, so that a matrix product has the
//! same bits on all of them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

/// What the codes of a weight format are, as far as an integer dot product must know.
pub(crate) trait CodeRange {
    /// The largest code, where codes are unsigned and at most 127; `None` where they are signed
    /// bytes from −127 (−128 where the format has it) to 127.
    const MAX: Option<u8>;
}

/// `T` tables of `N` bytes, each in whole cache lines.
#[repr(C, align(64))]
pub(crate) struct ByteTables<const N: usize, const T: usize>(pub(crate) [[u8; N]; T]);

/// Something to compute with the instruction set `S` as a function of its own.
pub(crate) trait Task<S> {
    /// Implementations are `#[inline(always)]`.
    fn run(self, simd: S);
}

/// Operations on vectors whose lanes are rows.
///
/// Methods are `#[inline(always)]` in every implementation.
pub(crate) trait Lanes: Copy + Send + Sync + 'static {
    /// Rows per vector.
    const ROWS: usize;

    /// Columns of activations that a multiplication keeps in registers at once.
    const COLUMNS: usize;

    /// Columns of a full panel where there are many: at most [`Lanes::COLUMNS`].
    const FULL_COLUMNS: usize = Self::COLUMNS;

    /// How many tiles, each of as many rows as a vector has lanes, are multiplied with a full panel of
    /// columns at once, one or two: what is read into all lanes of a register serves all of them.
    const TILES: usize = 1;

    /// The same of tiles of floats and of bfloat16.
    const FLOAT_TILES: usize = Self::TILES;

    /// What [`Lanes::dot`] wants added to signed codes: 128 where the instruction multiplies
    /// unsigned by signed bytes, else 0.
    const SIGNED_OFFSET: i32;

    /// How many consecutive words of a column's codes lie together in a panel of activations, the
    /// same words of the next column behind them: what [`Lanes::dot_tile`] wants.
    const WORDS: usize = 1;

    /// Whether products of signed codes cost no more than those of unsigned ones. Then codes in a
    /// tile have no offset, and sums begin with nothing.
    const SIGNED_IN_TILES: bool = false;

    /// Whether products of signed codes cost more than those of unsigned ones. Then small signed
    /// codes are raised in a tile.
    const UNSIGNED_IN_TILES: bool = false;

    /// Whether products of codes of any size cost the same, so that scales which are small integers
    /// are best multiplied into the codes of a tile, where a byte holds both.
    const SCALED_IN_TILES: bool = true;

    /// Whether signed codes in a tile are multiplied as magnitudes, with activations whose bits are
    /// flipped where the code is negative: `w x = |w| ~x + |w|`. Only then there are
    /// [`Lanes::dot_flipped`] and [`Lanes::flipped_start`].
    const FLIPS: bool = false;

    /// Whether [`Lanes::scale_by_power`] is an instruction that does not compete with
    /// multiplications.
    const SCALES_BY_POWERS: bool = false;

    /// Whether bytes are looked up in registers and fields of bits are moved by single
    /// instructions. Only then there are [`Lanes::lookup_bytes`], [`Lanes::lookup64`],
    /// [`Lanes::fields`], [`Lanes::pick`], [`Lanes::reorder`] and [`Lanes::subtract_where`].
    const BYTE_TABLES: bool = false;

    /// Whether products of pairs of bfloat16 are added by one instruction, [`Lanes::dot_bf16`], which
    /// takes for zero what is too small to be a normal number. Only then there are
    /// [`Lanes::load_int`], [`Lanes::least_bf16`] and [`Lanes::any_bf16_below`].
    const DOTS_BF16: bool = false;

    /// Four bytes, or one 32-bit number, of each row.
    type Int: Copy;

    /// One float of each row.
    type Float: Copy;

    /// Runs `task` compiled with the features of this instruction set, not inlined: for code that
    /// several callers share.
    fn call<T: Task<Self>>(self, task: T);

    /// Sixteen bytes of each row, `stride` bytes apart: lane `r` of vector `j` holds bytes
    /// `4 j .. 4 j + 4` of row `r`.
    ///
    /// # Safety
    ///
    /// The sixteen bytes at `base + r * stride` are readable for every `r < ROWS`.
    #[allow(unsafe_code)]
    unsafe fn gather16(self, base: *const u8, stride: usize) -> [Self::Int; 4];

    /// Sixteen bytes of each row, as half-precision numbers widened: vector `j` holds number `j`.
    ///
    /// # Safety
    ///
    /// As for [`Lanes::gather16`].
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn gather_halves(self, base: *const u8, stride: usize) -> [Self::Float; 8] {
        // SAFETY: the caller's promise.
        let words = unsafe { self.gather16(base, stride) };
        let mut floats = [self.splat_float(0.0); 8];
        for (pair, word) in floats.chunks_exact_mut(2).zip(words) {
            pair[0] = self.half_to_float(word);
            pair[1] = self.half_to_float(self.shift_right::<16>(word));
        }
        floats
    }

    /// Four bytes of each row.
    ///
    /// # Safety
    ///
    /// The four bytes at `base + r * stride` are readable for every `r < ROWS`.
    #[allow(unsafe_code)]
    unsafe fn gather4(self, base: *const u8, stride: usize) -> Self::Int;

    /// Two bytes of each row, zero-extended.
    ///
    /// # Safety
    ///
    /// The two bytes at `base + r * stride` are readable for every `r < ROWS`.
    #[allow(unsafe_code)]
    unsafe fn gather2(self, base: *const u8, stride: usize) -> Self::Int;

    /// The same number in every lane.
    fn splat_int(self, value: i32) -> Self::Int;

    /// `value >> shift` in every lane.
    #[inline(always)]
    fn splat_shifted(self, value: i32, shift: u32) -> Self::Int {
        self.splat_int(value >> shift)
    }

    /// Bitwise and.
    fn and(self, a: Self::Int, b: Self::Int) -> Self::Int;

    /// Bitwise or.
    fn or(self, a: Self::Int, b: Self::Int) -> Self::Int;

    /// Bitwise exclusive or.
    fn xor(self, a: Self::Int, b: Self::Int) -> Self::Int;

    /// Logical shift of each 32-bit lane to the left.
    fn shift_left<const BITS: i32>(self, a: Self::Int) -> Self::Int;

    /// Logical shift of each 32-bit lane to the right.
    fn shift_right<const BITS: i32>(self, a: Self::Int) -> Self::Int;

    /// The high nibble of every byte.
    #[inline(always)]
    fn high_nibbles(self, a: Self::Int) -> Self::Int {
        self.and(self.shift_right::<4>(a), self.splat_int(0x0f0f_0f0f))
    }

    /// Wrapping sum of 32-bit lanes.
    fn add_int(self, a: Self::Int, b: Self::Int) -> Self::Int;

    /// Wrapping difference of 32-bit lanes.
    fn subtract_int(self, a: Self::Int, b: Self::Int) -> Self::Int;

    /// Low half of the product of 32-bit lanes.
    fn multiply_int(self, a: Self::Int, b: Self::Int) -> Self::Int;

    /// `table[i]` for every byte `i < 16` of `indices`.
    fn table16(self, table: &[i8; 16], indices: Self::Int) -> Self::Int;

    /// `table[i % N]` for the number `i` in every lane; `N` is a power of two.
    fn lookup<const N: usize>(self, table: &[u32; N], indices: Self::Int) -> Self::Int;

    /// For each of `W` vectors of indices: `table[i % N]` of every table, where the low eight bits of
    /// `i` are a byte of `low` and the next ones the same byte of `high`; `N` is a power of two of at
    /// least 128.
    #[inline(always)]
    fn lookup_bytes<const N: usize, const T: usize, const W: usize>(
        self,
        _tables: &ByteTables<N, T>,
        _low: [Self::Int; W],
        _high: [Self::Int; W],
    ) -> [[Self::Int; T]; W] {
        unreachable!("BYTE_TABLES is false")
    }

    /// `table[i % 64]` for every byte `i` of `indices`.
    #[inline(always)]
    fn lookup64(self, _table: &ByteTables<64, 1>, _indices: Self::Int) -> Self::Int {
        unreachable!("BYTE_TABLES is false")
    }

    /// Byte `i` of a lane: its bits from number `first[i]` on. Those past the lane's last are
    /// anything.
    #[inline(always)]
    fn fields(self, _word: Self::Int, _first: [u8; 4]) -> Self::Int {
        unreachable!("BYTE_TABLES is false")
    }

    /// Byte `i` of a lane: byte `from[i]` of that lane of the first vector, or where that is 4 or
    /// more byte `from[i] - 4` of the second.
    #[inline(always)]
    fn pick(self, _vectors: [Self::Int; 2], _from: [u8; 4]) -> Self::Int {
        unreachable!("BYTE_TABLES is false")
    }

    /// The bytes of every sixteen words in another order: byte `i` of them is byte `from[i] % 64`.
    #[inline(always)]
    fn reorder(self, _words: &[i32; 64], _from: &ByteTables<64, 1>) -> [i32; 64] {
        unreachable!("BYTE_TABLES is false")
    }

    /// Byte `i` of a lane: the difference of those of `a` and `b`, where bit `bits[i]` of `word` is
    /// set, and that of `otherwise` elsewhere; arguments `(word, bits)`, `(a, b)`, `otherwise`.
    #[inline(always)]
    fn subtract_where(
        self,
        _condition: (Self::Int, [u8; 4]),
        _difference: (Self::Int, Self::Int),
        _otherwise: Self::Int,
    ) -> Self::Int {
        unreachable!("BYTE_TABLES is false")
    }

    /// Float of a signed 32-bit number, rounded to nearest even.
    fn to_float(self, a: Self::Int) -> Self::Float;

    /// Float of the half-precision number in the low sixteen bits of each lane.
    fn half_to_float(self, a: Self::Int) -> Self::Float;

    /// The bits of each lane taken as a float.
    fn bits_to_float(self, a: Self::Int) -> Self::Float;

    /// The same float in every lane.
    fn splat_float(self, value: f32) -> Self::Float;

    /// Sum of floats.
    fn add_float(self, a: Self::Float, b: Self::Float) -> Self::Float;

    /// Product of floats.
    fn multiply_float(self, a: Self::Float, b: Self::Float) -> Self::Float;

    /// `a * b + c`, rounded once.
    fn multiply_add_float(self, a: Self::Float, b: Self::Float, c: Self::Float) -> Self::Float;

    /// For each column `c`: `weight * x[c] + sums[c]`, rounded once.
    #[inline(always)]
    fn multiply_add_columns<const W: usize>(
        self,
        weight: Self::Float,
        x: &[f32; W],
        mut sums: [Self::Float; W],
    ) -> [Self::Float; W] {
        for c in 0..W {
            sums[c] = self.multiply_add_float(weight, self.splat_float(x[c]), sums[c]);
        }
        sums
    }

    /// `sum` and the products of the two bfloat16 in each lane of `a` with those of `b`: first that of
    /// the second ones, in the upper halves, is added, then that of the first, each rounded once.
    /// Where [`Lanes::DOTS_BF16`], no product or sum may be too small to be normal, unless it is zero.
    #[inline(always)]
    fn dot_bf16(self, a: Self::Int, b: Self::Int, sum: Self::Float) -> Self::Float {
        dot_bf16_exactly(self, a, b, sum)
    }

    /// The words of `ROWS` consecutive places.
    ///
    /// # Safety
    ///
    /// `ROWS` words are readable at `from`.
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn load_int(self, _from: *const i32) -> Self::Int {
        unreachable!("DOTS_BF16 is false")
    }

    /// What the smallest magnitudes of bfloat16 but zero are kept in: of those of `pairs` and of what
    /// is in `least` already, which begins as −1 in every lane.
    #[inline(always)]
    fn least_bf16(self, _least: Self::Int, _pairs: Self::Int) -> Self::Int {
        unreachable!("DOTS_BF16 is false")
    }

    /// Whether one of the magnitudes that [`Lanes::least_bf16`] keeps is below that of `bound`, the
    /// bits of a bfloat16.
    #[inline(always)]
    fn any_bf16_below(self, _least: Self::Int, _bound: u16) -> bool {
        unreachable!("DOTS_BF16 is false")
    }

    /// `a * 2^exponent` for a whole `exponent` from −126 to 127, or NaN where it is NaN; exact, where
    /// the result is neither too small nor too large.
    #[inline(always)]
    fn scale_by_power(self, a: Self::Float, exponent: f32) -> Self::Float {
        let power = match exponent.is_nan() {
            true => f32::NAN,
            false => f32::from_bits(((exponent as i32 + 127) as u32) << 23),
        };
        self.multiply_float(a, self.splat_float(power))
    }

    /// Adds the products of the two 16-bit halves of each lane: `acc + a.lo b.lo + a.hi b.hi`.
    fn dot_pairs(self, acc: Self::Int, a: Self::Int, b: Self::Int) -> Self::Int;

    /// For each of `T` tiles and of `W` columns `c`: the sum over `j` of the products of the 16-bit
    /// halves of the tile's `pairs[j]` with those of `x[j W + c]`.
    ///
    /// # Safety
    ///
    /// `N * W` words are readable at `x`.
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn dot_all_pairs<const N: usize, const W: usize, const T: usize>(
        self,
        pairs: [&[Self::Int; N]; T],
        x: *const i32,
    ) -> [[Self::Int; W]; T] {
        let mut sums = [[self.splat_int(0); W]; T];
        for j in 0..N {
            for c in 0..W {
                // SAFETY: the caller's promise.
                let x = self.splat_int(unsafe { x.add(j * W + c).read() });
                for t in 0..T {
                    sums[t][c] = self.dot_pairs(sums[t][c], pairs[t][j], x);
                }
            }
        }
        sums
    }

    /// For each of `W` columns `c`: `start[c]` plus the products of `4 N` codes with the bytes of
    /// `x`, where the word of column `c` for `codes[n]` is `x[n W + c]`.
    ///
    /// Codes are as `F` says; signed ones have [`Lanes::SIGNED_OFFSET`] added.
    ///
    /// # Safety
    ///
    /// `N * W` words are readable at `x`.
    #[allow(unsafe_code)]
    unsafe fn dot<F: CodeRange, const N: usize, const W: usize>(
        self,
        start: [Self::Int; W],
        codes: &[Self::Int; N],
        x: *const i32,
    ) -> [Self::Int; W];

    /// For each of `W` columns: the sum of two products of 16 codes, as of [`Lanes::dot`], the first
    /// times the 16-bit number in the low half of `scales` and the last times that in the high half.
    /// Codes are at most 7, so that each of the two products lies within 16 bits.
    ///
    /// # Safety
    ///
    /// `8 * W` words are readable at `x`.
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn dot_halves<F: CodeRange, const W: usize>(
        self,
        starts: [[Self::Int; W]; 2],
        codes: [&[Self::Int; 4]; 2],
        scales: Self::Int,
        x: *const i32,
    ) -> [Self::Int; W] {
        // SAFETY: the caller's promise.
        unsafe { dot_apart::<Self, F, W>(self, starts, codes, scales, x) }
    }

    /// The codes of a group as [`Lanes::dot_tile`] wants them.
    #[inline(always)]
    fn for_tile(self, codes: [Self::Int; 8]) -> [Self::Int; 8] {
        codes
    }

    /// As [`Lanes::dot`], of codes that [`Lanes::for_tile`] gave, all or the first or last half of
    /// them, where [`Lanes::WORDS`] words of a column lie together at `x`.
    ///
    /// # Safety
    ///
    /// As for [`Lanes::dot`].
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn dot_tile<F: CodeRange, const N: usize, const W: usize>(
        self,
        start: [Self::Int; W],
        codes: &[Self::Int; N],
        x: *const i32,
    ) -> [Self::Int; W] {
        const { assert!(Self::WORDS == 1) };
        // SAFETY: the caller's promise.
        unsafe { self.dot::<F, N, W>(start, codes, x) }
    }

    /// [`Lanes::dot_tile`] for each of `T` tiles.
    ///
    /// # Safety
    ///
    /// As for [`Lanes::dot`].
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn dot_tiles<F: CodeRange, const N: usize, const W: usize, const T: usize>(
        self,
        start: [Self::Int; W],
        codes: [&[Self::Int; N]; T],
        x: *const i32,
    ) -> [[Self::Int; W]; T] {
        // SAFETY: the caller's promise.
        unsafe { dot_one_by_one::<Self, F, N, W, T>(self, start, codes, x) }
    }

    /// As [`Lanes::dot`] of signed codes, where `start` includes what [`Lanes::flipped_start`] gives.
    ///
    /// # Safety
    ///
    /// As for [`Lanes::dot`].
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn dot_flipped<const N: usize, const W: usize>(
        self,
        _start: [Self::Int; W],
        _codes: &[Self::Int; N],
        _x: *const i32,
    ) -> [Self::Int; W] {
        unreachable!("FLIPS is false")
    }

    /// The sum of the magnitudes of the negative codes of a group.
    #[inline(always)]
    fn flipped_start(self, _codes: &[Self::Int; 8]) -> Self::Int {
        unreachable!("FLIPS is false")
    }

    /// Has `sums` computed here, before anything else is read. Otherwise the compiler finishes them later,
    /// together with others, and keeps what they are made of in memory until then.
    #[inline(always)]
    fn finish<const W: usize>(self, _sums: &mut [Self::Float; W]) {}

    /// Reads `ROWS` floats.
    ///
    /// # Safety
    ///
    /// `ROWS` floats are readable at `from`.
    #[allow(unsafe_code)]
    unsafe fn load_float(self, from: *const f32) -> Self::Float;

    /// Writes `ROWS` floats.
    ///
    /// # Safety
    ///
    /// `ROWS` floats are writable at `to`.
    #[allow(unsafe_code)]
    unsafe fn store_float(self, to: *mut f32, a: Self::Float);

    /// Asks for the cache line at `from` in the first-level cache; any address will do.
    #[inline(always)]
    fn prefetch_near(self, from: *const u8) {
        self.prefetch(from);
    }

    /// Asks for the cache line at `to`, which will be written; any address will do.
    fn prefetch_to_write(self, to: *const u8);

    /// Asks for the cache line at `from` in the second-level cache; any address will do.
    fn prefetch(self, from: *const u8);
}

/// [`Lanes::dot_tiles`] by one [`Lanes::dot_tile`] after the other.
///
/// # Safety
///
/// As there.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn dot_one_by_one<S: Lanes, F: CodeRange, const N: usize, const W: usize, const T: usize>(
    simd: S,
    start: [S::Int; W],
    codes: [&[S::Int; N]; T],
    x: *const i32,
) -> [[S::Int; W]; T] {
    let mut sums = [start; T];
    for (sums, codes) in sums.iter_mut().zip(codes) {
        // SAFETY: the caller's promise.
        *sums = unsafe { simd.dot_tile::<F, N, W>(start, codes, x) };
    }
    sums
}

/// [`Lanes::dot_halves`] by two of [`Lanes::dot`], the results of which are then multiplied in pairs.
///
/// # Safety
///
/// As there.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn dot_apart<S: Lanes, F: CodeRange, const W: usize>(
    simd: S,
    starts: [[S::Int; W]; 2],
    codes: [&[S::Int; 4]; 2],
    scales: S::Int,
    x: *const i32,
) -> [S::Int; W] {
    // SAFETY: the caller's promise.
    let (mut sums, last) = unsafe {
        (
            simd.dot::<F, 4, W>(starts[0], codes[0], x),
            simd.dot::<F, 4, W>(starts[1], codes[1], x.add(4 * W)),
        )
    };
    for (sum, last) in sums.iter_mut().zip(last) {
        let first = simd.and(*sum, simd.splat_int(0xffff));
        let both = simd.or(first, simd.shift_left::<16>(last));
        *sum = simd.dot_pairs(simd.splat_int(0), both, scales);
    }
    sums
}

/// [`Lanes::dot_bf16`] by two multiply-adds, with numbers of any size.
#[inline(always)]
pub(crate) fn dot_bf16_exactly<S: Lanes>(simd: S, a: S::Int, b: S::Int, sum: S::Float) -> S::Float {
    let [first_a, second_a] = widen_bf16(simd, a);
    let [first_b, second_b] = widen_bf16(simd, b);
    let sum = simd.multiply_add_float(second_a, second_b, sum);
    simd.multiply_add_float(first_a, first_b, sum)
}

/// The two bfloat16 of each lane, the first of them in the lower half.
#[inline(always)]
pub(crate) fn widen_bf16<S: Lanes>(simd: S, pairs: S::Int) -> [S::Float; 2] {
    let second = simd.and(pairs, simd.splat_int(0xffff_0000_u32 as i32));
    [
        simd.bits_to_float(simd.shift_left::<16>(pairs)),
        simd.bits_to_float(second),
    ]
}

#[cfg(test)]
mod tests;
