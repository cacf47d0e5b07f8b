//! How a quantized format gives up its weights to the matrix kernels: the traits that every format
//! implements once, in the vocabulary of [`Lanes`].
//!
//! A matrix kernel reads one block of each of `ROWS` rows at once ([`BlockRows`]). The format takes
//! them apart into vectors of int8 codes (four consecutive codes of a row in a lane) with scales,
//! and minimums if it has any, and hands these to a [`Sink`] in ascending order of the weights. One
//! sink multiplies them at once with one column of activations or a few; another stores them as a tile
//! that is then multiplied with many columns.
//!
//! A weight is `scale * (code - offset) + minimum`, with one scale per group of 32 or 16 weights.

use crate::activations::{Precision, START_OFFSET};
use crate::formats::Block;

use crate::isa::{Bytes, CodeRange, Lanes, OneRow};
use std::marker::PhantomData;

/// Weights per scale.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// A legacy block, or a sub-block of most K-quants.
    Of32,
    /// A sub-block of some codebook formats.
    Of16,
    /// A sub-block of Q2_K and Q3_K: its scale is a small integer, in units that all of a block of
    /// 256 share. Such a scale times a code is a byte.
    Whole16,
    /// A sub-block of Q6_K: likewise, but sums of products take more than 16 bits, and a scale times a
    /// code more than a byte.
    Wide16,
}

/// How a format writes minimums.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mins {
    /// It has none.
    None,
    /// A float for each group of 32.
    Float32,
    /// A small integer for each group of 32, with a common float factor.
    Integer32,
    /// A small integer for each group of 16, with a common float factor.
    Integer16,
}

/// The order of the 32 codes of a group in its eight vectors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Byte `j` of vector `v` is code `4 v + j`.
    Natural,
    /// It is code `v + 8 j`: the same place of four points of eight weights.
    Eights,
    /// It is code `16 (v / 4) + v % 4 + 4 (j / 2) + 8 (j % 2)`: the same places of both halves of two
    /// points of eight weights.
    Halves,
    /// It is code `16 (v / 4) + v % 4 + 4 j`: the same place of four points of four weights.
    Fours,
}

impl Order {
    /// Which code byte `j` of vector `v` is.
    pub(crate) const fn code(self, v: usize, j: usize) -> usize {
        match self {
            Order::Natural => 4 * v + j,
            Order::Eights => v + 8 * j,
            Order::Halves => 16 * (v / 4) + v % 4 + 4 * (j / 2) + 8 * (j % 2),
            Order::Fours => 16 * (v / 4) + v % 4 + 4 * j,
        }
    }
}

/// The layout of codes, scales and minimums that a format unpacks to. Formats that share one share
/// the kernels that multiply it.
pub(crate) trait Layout: CodeRange {
    /// Weights per scale.
    const GROUP: Group;

    /// How minimums are given.
    const MINS: Mins;

    /// What codes have been raised by. Signed codes have none.
    const OFFSET: i32;

    /// The largest magnitude of signed codes; with [`Group::Whole16`], of codes times scales.
    const MAGNITUDE: u8 = 128;

    /// What a product reads its activations as.
    const PRECISION: Precision = {
        let starts = match (Self::GROUP, Self::OFFSET) {
            (Group::Of32, _) | (Group::Whole16, 0) => Precision::INT8,
            (Group::Of16 | Group::Whole16 | Group::Wide16, _) => {
                Precision::INT8.and(Precision::STARTS16)
            }
        };
        match Self::MINS {
            Mins::None => starts,
            Mins::Float32 => starts.and(Precision::TOTALS32),
            Mins::Integer32 => starts.and(Precision::PAIRS32),
            Mins::Integer16 => starts.and(Precision::PAIRS16),
        }
    };
}

/// Declares layouts: name, largest code (`None` for signed), offset, group, minimums, and the largest
/// magnitude where it is not 128.
macro_rules! layouts {
    ($($(#[$doc:meta])* $name:ident: $max:expr, $offset:literal, $group:ident, $mins:ident $(, $magnitude:literal)?;)*) => {$(
        $(#[$doc])*
        pub(crate) enum $name {}

        impl CodeRange for $name {
            const MAX: Option<u8> = $max;
        }

        impl Layout for $name {
            const GROUP: Group = Group::$group;
            const MINS: Mins = Mins::$mins;
            const OFFSET: i32 = $offset;
            $(const MAGNITUDE: u8 = $magnitude;)?
        }
    )*};
}

layouts! {
    /// Signed bytes with a scale for every 32: Q8_0, Q8_K, IQ4_NL, IQ4_XS.
    Signed32: None, 0, Of32, None;
    /// Signed bytes below 64 in magnitude with a scale for every 32: IQ2_XXS, IQ3_XXS.
    Medium32: None, 0, Of32, None, 63;
    /// Signed bytes below 16 in magnitude with a scale for every 32: MXFP4, IQ3_S, IQ1_S.
    Small32: None, 0, Of32, None, 15;
    /// Signed bytes below 64 in magnitude with a scale for every 16: IQ2_XS, IQ2_S.
    Medium16: None, 0, Of16, None, 63;
    /// Signed bytes below 16 in magnitude with a scale for every 16: IQ1_M.
    Small16: None, 0, Of16, None, 15;
    /// Nibbles raised by 8: Q4_0.
    Nibble32: Some(15), 8, Of32, None;
    /// Nibbles with a float minimum: Q4_1.
    NibbleMin32: Some(15), 0, Of32, Float32;
    /// Nibbles with an integer minimum: Q4_K.
    NibbleIntegerMin32: Some(15), 0, Of32, Integer32;
    /// Five bits raised by 16: Q5_0.
    Five32: Some(31), 16, Of32, None;
    /// Five bits with a float minimum: Q5_1.
    FiveMin32: Some(31), 0, Of32, Float32;
    /// Five bits with an integer minimum: Q5_K.
    FiveIntegerMin32: Some(31), 0, Of32, Integer32;
    /// Two bits with a scale of four bits and an integer minimum for every 16: Q2_K.
    TwoIntegerMin16: Some(3), 0, Whole16, Integer16, 45;
    /// Three bits raised by 4 with a signed scale of six bits for every 16: Q3_K.
    Three16: Some(7), 4, Whole16, None, 128;
    /// Six bits raised by 32 with a signed scale of eight bits for every 16: Q6_K.
    Six16: Some(63), 32, Wide16, None;
    /// 0, 1 and 2 for −1, 0 and 1: TQ1_0, TQ2_0.
    Ternary32: Some(2), 1, Of32, None;
}

/// Where the scales of rows come from whose codes are read in the order of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum InOrder {
    /// A block is a group and begins with its scale: they are read together with the codes.
    WithCodes,
    /// Likewise, and sums of products with codes that are not raised fit 16 bits: sums and scales lie in
    /// one vector.
    Packed,
    /// They are unpacked with rows across lanes, as everywhere else.
    AcrossRows,
    /// Whole numbers that scale groups of 16 are read with the codes and multiplied with sums at once;
    /// their units are unpacked with rows across lanes.
    Whole,
}

/// Which sixteens of 128 consecutive weights make the quarters of two vectors of 64.
pub(crate) type Sixteens = [[usize; 4]; 2];

/// A quantized format that the matrix kernels can multiply.
///
/// The implementing type is the format's block, of 32 or 256 weights.
pub(crate) trait Unpack: Block + 'static {
    /// What it unpacks to.
    type Layout: Layout;

    /// Whether it uses [`Lanes::BYTE_TABLES`].
    const BYTE_TABLES: bool = false;

    /// The order of the codes that it gives to [`Sink::ordered32`].
    const ORDER: Order = Order::Natural;

    /// Whether rows are read in the order of the file where there is one column, and then where their
    /// scales come from.
    const IN_ORDER: Option<InOrder> = None;

    /// Which sixteens of 128 weights are the quarters of both vectors of [`Unpack::codes`].
    const SIXTEENS: Sixteens = [[0, 1, 2, 3], [4, 5, 6, 7]];

    /// Gives the block of every row to `sink`: all groups in ascending order, each by the method
    /// of the layout's [`Group`]; each minimum of [`Mins::Float32`] right after its group, integer
    /// minimums before the first.
    ///
    /// Implementations are `#[inline(always)]`.
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>);

    /// The bytes of 512 weights of a row from `blocks` on, where codes and scales are taken from
    /// vectors of them.
    ///
    /// # Safety
    ///
    /// The blocks of the 512 weights are readable.
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn bytes<S: OneRow>(simd: S, _blocks: *const Self) -> Bytes<S> {
        [simd.splat_int(0); 5]
    }

    /// Codes `128 * NUMBER ..` of the 512 weights of a row from `blocks` on.
    ///
    /// Implementations are `#[inline(always)]`.
    ///
    /// # Safety
    ///
    /// The blocks of the 512 weights are readable.
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn codes<S: OneRow, const NUMBER: usize>(
        _simd: S,
        _blocks: *const Self,
        _bytes: &Bytes<S>,
    ) -> [S::Int; 2] {
        unreachable!("IN_ORDER is none")
    }

    /// The scales of the groups of 512 weights, where they are read with the codes: floats; where they are
    /// packed, halves in the first half of the vector; whole numbers of groups of 16, 16-bit integers.
    ///
    /// Implementations are `#[inline(always)]`.
    ///
    /// # Safety
    ///
    /// The blocks of the 512 weights are readable.
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn scales<S: OneRow>(_simd: S, _blocks: *const Self, _bytes: &Bytes<S>) -> S::Int {
        unreachable!("IN_ORDER is none or AcrossRows")
    }
}

/// What takes unpacked weights. Groups are numbered from 0 within the block of the format.
///
/// Implementations are `#[inline(always)]`.
pub(crate) trait Sink<S: Lanes> {
    /// What is unpacked to.
    type Layout: Layout;

    /// The instruction set.
    fn simd(&self) -> S;

    /// 32 codes with their scale, signed ones with [`Lanes::SIGNED_OFFSET`] added.
    fn raised32(&mut self, group: usize, codes: [S::Int; 8], scale: S::Float);

    /// 32 codes, likewise, with the scales of the first and of the last 16, in units of what
    /// [`unit`](Sink::unit) gives if there is one; `group` counts in 32s.
    fn raised16(&mut self, group: usize, codes: [S::Int; 8], scales: [S::Float; 2]);

    /// 32 codes with the scales of the first (the low half of each lane) and of the last 16 (the high
    /// half), signed integers of 16 bits in units of `factor`; `group` counts in 32s.
    fn whole16(&mut self, group: usize, codes: [S::Int; 8], scales: S::Int, factor: S::Float);

    /// After the groups of [`Group::Wide16`], whose scales are whole numbers: their unit.
    fn unit(&mut self, unit: S::Float);

    /// 32 raised codes in the order of the format, where there are [`Lanes::BYTE_TABLES`].
    fn ordered32(&mut self, group: usize, codes: [S::Int; 8], scale: S::Float);

    /// 32 codes likewise, with the scales of the first and of the last 16.
    fn ordered16(&mut self, group: usize, codes: [S::Int; 8], scales: [S::Float; 2]);

    /// 32 codes with their scale.
    #[inline(always)]
    fn group32(&mut self, group: usize, codes: [S::Int; 8], scale: S::Float) {
        self.raised32(
            group,
            raised::<S, Self::Layout, 8>(self.simd(), codes),
            scale,
        );
    }

    /// 32 codes with the scales of the first and of the last 16; `group` counts in 32s.
    #[inline(always)]
    fn group16(&mut self, group: usize, codes: [S::Int; 8], scales: [S::Float; 2]) {
        self.raised16(
            group,
            raised::<S, Self::Layout, 8>(self.simd(), codes),
            scales,
        );
    }

    /// The minimum of a group of 32: added to each of its weights.
    fn minimum32(&mut self, group: usize, minimum: S::Float);

    /// Minimums of the eight groups of 32: `factor * m` is added to each weight. Word `j` holds the
    /// signed 16-bit integers of groups `2 j` (low half) and `2 j + 1`.
    fn minimums32(&mut self, pairs: [S::Int; 4], factor: S::Float);

    /// Minimums of the sixteen groups of 16, likewise.
    fn minimums16(&mut self, pairs: [S::Int; 8], factor: S::Float);
}

/// Codes as [`Lanes::dot`] wants them.
#[inline(always)]
pub(crate) fn raised<S: Lanes, L: Layout, const N: usize>(
    simd: S,
    mut codes: [S::Int; N],
) -> [S::Int; N] {
    if L::MAX.is_none() && S::SIGNED_OFFSET == START_OFFSET {
        // Adding 128 to a byte flips its sign bit.
        let sign = simd.splat_int(0x8080_8080_u32 as i32);
        for codes in &mut codes {
            *codes = simd.xor(*codes, sign);
        }
    }
    codes
}

/// Codes in their natural order, where there are byte tables.
#[inline(always)]
pub(crate) fn natural<S: Lanes>(simd: S, order: Order, codes: [S::Int; 8]) -> [S::Int; 8] {
    let mut natural = codes;
    for four in 0..2 {
        let [a, b, c, d] = [
            codes[4 * four],
            codes[4 * four + 1],
            codes[4 * four + 2],
            codes[4 * four + 3],
        ];
        for half in 0..2 {
            // Bytes 2 half and 2 half + 1 of each.
            let (first, second) = (2 * half as u8, 2 * half as u8 + 1);
            let from = [first, 4 + first, second, 4 + second];
            let (ab, cd) = (simd.pick([a, b], from), simd.pick([c, d], from));
            for byte in 0..2 {
                // The four codes that were byte j of vectors 4 four to 4 four + 3.
                let j = 2 * half + byte;
                let from = match byte {
                    0 => [0, 1, 4, 5],
                    _ => [2, 3, 6, 7],
                };
                natural[order.code(4 * four, j) / 4] = simd.pick([ab, cd], from);
            }
        }
    }
    match order {
        Order::Natural => codes,
        _ => natural,
    }
}

/// One block of each of `ROWS` rows of a matrix, in the file's bytes.
pub(crate) struct BlockRows<'a, B> {
    base: *const u8,
    stride: usize,
    bytes: PhantomData<&'a B>,
}

impl<'a, B> Clone for BlockRows<'a, B> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, B> Copy for BlockRows<'a, B> {}

#[allow(unsafe_code)]
impl<'a, B> BlockRows<'a, B> {
    /// The blocks at `base`, `base + stride`, ….
    ///
    /// # Safety
    ///
    /// For every row `r` below the `ROWS` of the instruction set that they are read with,
    /// `size_of::<B>()` bytes are readable at `base + r * stride` for the lifetime `'a`.
    #[inline(always)]
    pub(crate) unsafe fn new(base: *const u8, stride: usize) -> Self {
        BlockRows {
            base,
            stride,
            bytes: PhantomData,
        }
    }

    /// Sixteen bytes of each block, from byte `offset`: vector `j` holds bytes
    /// `offset + 4 j .. offset + 4 j + 4`.
    #[inline(always)]
    pub(crate) fn words4<S: Lanes>(self, simd: S, offset: usize) -> [S::Int; 4] {
        assert!(offset + 16 <= size_of::<B>());
        // SAFETY: the bytes are inside the blocks that `new` was promised.
        unsafe { simd.gather16(self.base.add(offset), self.stride) }
    }

    /// 32 bytes of each block, from byte `offset`.
    #[inline(always)]
    pub(crate) fn words8<S: Lanes>(self, simd: S, offset: usize) -> [S::Int; 8] {
        let [a, b, c, d] = self.words4(simd, offset);
        let [e, f, g, h] = self.words4(simd, offset + 16);
        [a, b, c, d, e, f, g, h]
    }

    /// Four bytes of each block, from byte `offset`.
    #[inline(always)]
    pub(crate) fn word<S: Lanes>(self, simd: S, offset: usize) -> S::Int {
        assert!(offset + 4 <= size_of::<B>());
        // SAFETY: the bytes are inside the blocks that `new` was promised.
        unsafe { simd.gather4(self.base.add(offset), self.stride) }
    }

    /// Two bytes of each block, zero-extended, from byte `offset`.
    #[inline(always)]
    pub(crate) fn half<S: Lanes>(self, simd: S, offset: usize) -> S::Int {
        assert!(offset + 2 <= size_of::<B>());
        // SAFETY: the bytes are inside the blocks that `new` was promised.
        unsafe { simd.gather2(self.base.add(offset), self.stride) }
    }
}

/// Repeats a body with a constant that counts from 0. Bodies that hold whole blocks in registers are
/// more than the compiler unrolls by itself, and what is indexed by a variable lies in memory.
macro_rules! unrolled {
    ($i:ident in 2, $body:block) => {
        unrolled!(@ $body $i 0 1)
    };
    ($i:ident in 4, $body:block) => {
        unrolled!(@ $body $i 0 1 2 3)
    };
    ($i:ident in 8, $body:block) => {
        unrolled!(@ $body $i 0 1 2 3 4 5 6 7)
    };
    ($i:ident in 16, $body:block) => {
        unrolled!(@ $body $i 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $body:block $i:ident $($number:literal)*) => {
        $({
            const $i: usize = $number;
            $body
        })*
    };
}

pub(crate) use unrolled;

// The helpers below are loops, not `map` with closures: a closure is a function of its own, which
// the compiler may leave uninlined and so compiled without the instruction set.

/// `a & mask`, vector by vector.
#[inline(always)]
pub(crate) fn and_each<S: Lanes, const N: usize>(
    simd: S,
    mut a: [S::Int; N],
    mask: S::Int,
) -> [S::Int; N] {
    for a in &mut a {
        *a = simd.and(*a, mask);
    }
    a
}

/// `a | b`, vector by vector.
#[inline(always)]
pub(crate) fn or_each<S: Lanes, const N: usize>(
    simd: S,
    mut a: [S::Int; N],
    b: [S::Int; N],
) -> [S::Int; N] {
    for (a, b) in a.iter_mut().zip(b) {
        *a = simd.or(*a, b);
    }
    a
}

/// Logical shift of 32-bit lanes to the left, vector by vector.
#[inline(always)]
pub(crate) fn shift_left_each<const BITS: i32, S: Lanes, const N: usize>(
    simd: S,
    mut a: [S::Int; N],
) -> [S::Int; N] {
    for a in &mut a {
        *a = simd.shift_left::<BITS>(*a);
    }
    a
}

/// Logical shift of 32-bit lanes to the right, vector by vector.
#[inline(always)]
pub(crate) fn shift_right_each<const BITS: i32, S: Lanes, const N: usize>(
    simd: S,
    mut a: [S::Int; N],
) -> [S::Int; N] {
    for a in &mut a {
        *a = simd.shift_right::<BITS>(*a);
    }
    a
}

/// The floats of `numbers`, each times `factor`: group scales of a block.
#[inline(always)]
pub(crate) fn scaled<S: Lanes, const N: usize>(
    simd: S,
    numbers: [S::Int; N],
    factor: S::Float,
) -> [S::Float; N] {
    let mut scales = floats(simd, numbers);
    for scale in &mut scales {
        *scale = simd.multiply_float(*scale, factor);
    }
    scales
}

/// Whole numbers as floats.
#[inline(always)]
pub(crate) fn floats<S: Lanes, const N: usize>(simd: S, numbers: [S::Int; N]) -> [S::Float; N] {
    let mut floats = [simd.splat_float(0.0); N];
    for (float, number) in floats.iter_mut().zip(numbers) {
        *float = simd.to_float(number);
    }
    floats
}

/// The low nibbles of all bytes, and the high ones.
#[inline(always)]
pub(crate) fn nibbles<S: Lanes, const N: usize>(simd: S, bytes: [S::Int; N]) -> [[S::Int; N]; 2] {
    let mut high = bytes;
    for high in &mut high {
        *high = simd.high_nibbles(*high);
    }
    [and_each(simd, bytes, simd.splat_int(0x0f0f_0f0f)), high]
}

/// The low and the high nibbles of all bytes of `low`, each below the bits of `high` that `mask` leaves.
#[inline(always)]
pub(crate) fn nibbles_below<S: OneRow>(
    simd: S,
    low: S::Int,
    high: [S::Int; 2],
    mask: i32,
) -> [S::Int; 2] {
    let mut codes = [low, simd.shift_right::<4>(low)];
    for (codes, high) in codes.iter_mut().zip(high) {
        *codes = simd.select_bits(simd.splat_int(0x0f0f_0f0f), *codes, high);
        *codes = simd.and(*codes, simd.splat_int(mask));
    }
    codes
}

/// Two halves as one.
#[inline(always)]
pub(crate) fn joined<T: Copy>(low: [T; 4], high: [T; 4]) -> [T; 8] {
    [
        low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3],
    ]
}

/// The four bytes of each lane, unsigned.
#[inline(always)]
pub(crate) fn bytes<S: Lanes>(simd: S, word: S::Int) -> [S::Int; 4] {
    let mask = simd.splat_int(0xff);
    [
        simd.and(word, mask),
        simd.and(simd.shift_right::<8>(word), mask),
        simd.and(simd.shift_right::<16>(word), mask),
        simd.shift_right::<24>(word),
    ]
}

/// The four bytes of each lane, signed.
#[inline(always)]
pub(crate) fn signed_bytes<S: Lanes>(simd: S, word: S::Int) -> [S::Int; 4] {
    // Raised by 128 they are unsigned; taking 128 away again extends the sign.
    let raised = simd.xor(word, simd.splat_int(0x8080_8080_u32 as i32));
    let mut bytes = bytes(simd, raised);
    for byte in &mut bytes {
        *byte = simd.subtract_int(*byte, simd.splat_int(128));
    }
    bytes
}

/// The four unsigned bytes of each lane as pairs of 16-bit integers: the first two bytes, and the
/// last two.
#[inline(always)]
pub(crate) fn byte_pairs<S: Lanes>(simd: S, word: S::Int) -> [S::Int; 2] {
    let (low, high) = (simd.splat_int(0xff), simd.splat_int(0x00ff_0000));
    let first = simd.and(simd.shift_left::<8>(word), high);
    let last = simd.and(simd.shift_right::<8>(word), high);
    [
        simd.or(simd.and(word, low), first),
        simd.or(simd.and(simd.shift_right::<16>(word), low), last),
    ]
}
