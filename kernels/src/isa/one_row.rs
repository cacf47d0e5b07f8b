//! The vocabulary of rows that are read in the order of the file: vectors of 64 consecutive bytes of
//! *one* row, and of what becomes of its groups of weights, a group in each lane.
//!
//! The products of a group lie across lanes only until they are summed, and integers may be summed in
//! any order; floats are then added with rows across lanes. So what comes of it has the same bits as
//! where rows lie across lanes from the beginning ([`Lanes`]).

#[cfg(target_arch = "x86_64")]
mod avx512;

use super::{Lanes, WIDTH};

/// The bytes of sixteen groups, and nothing in vectors behind them.
pub(crate) type Bytes<S> = [<S as Lanes>::Int; 5];

/// Operations on bytes and groups of one row: there are any only where [`OneRow::IN_ORDER`], where vectors
/// have [`WIDTH`] lanes.
///
/// Methods are `#[inline(always)]` in every implementation.
#[allow(unsafe_code)]
pub(crate) trait OneRow: Lanes {
    /// Whether sums across lanes are cheap enough for rows to be read in the order of the file.
    const IN_ORDER: bool = false;

    /// 32 bytes of each of two places.
    ///
    /// # Safety
    ///
    /// They are readable.
    #[inline(always)]
    unsafe fn load_halves(self, _from: [*const u8; 2]) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// 32-bit lanes shifted to the right, and what falls out put in on the left: by `LOW` in the first
    /// half of the vector, by `HIGH` in the second.
    #[inline(always)]
    fn rotate_halves<const LOW: i32, const HIGH: i32>(self, _a: Self::Int) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// The bits of `a` where those of `mask` are set, and else those of `b`.
    #[inline(always)]
    fn select_bits(self, _mask: Self::Int, _a: Self::Int, _b: Self::Int) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// The bytes of sixteen groups of `STRIDE` bytes, at least 64, vector by vector; the last vector
    /// ends where they end.
    ///
    /// # Safety
    ///
    /// They are readable.
    #[inline(always)]
    unsafe fn bytes_of_groups<const STRIDE: usize>(self, _groups: *const u8) -> Bytes<Self> {
        unreachable!("IN_ORDER is false")
    }

    /// Of the groups from `4 * NUMBER` on, four, sixteen bytes each from byte `OFFSET` on. All begin at
    /// even bytes.
    #[inline(always)]
    fn sixteens_of_groups<const STRIDE: usize, const OFFSET: usize, const NUMBER: usize>(
        self,
        _bytes: &Bytes<Self>,
    ) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// The half-precision numbers with which all of those groups begin, in the first half.
    #[inline(always)]
    fn halves_in_bytes<const STRIDE: usize>(self, _bytes: &Bytes<Self>) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// Lane `i` is word `from[i]` of two times eight, shifted to the right, signed.
    #[inline(always)]
    fn eights(self, _words: [&[i32; 8]; 2], _from: &[usize; WIDTH], _shift: u32) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// The quarters of two vectors of words whose numbers, below eight, are `quarters`.
    #[inline(always)]
    fn quarters(self, _words: &[i32; 2 * WIDTH], _quarters: &[usize; 4]) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// The sums of products of four codes each with the bytes of `x`, added to `sums`. Signed codes have
    /// [`Lanes::SIGNED_OFFSET`] added.
    #[inline(always)]
    fn dot_bytes(self, _sums: Self::Int, _codes: Self::Int, _x: Self::Int) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// The sums of the lanes of each quarter: of quarter `q` of vector `i` in lane `4 q + i`. Lanes are
    /// below 2¹⁵ in magnitude where `SHORT` is 1, the sums of two as well where it is 2.
    #[inline(always)]
    fn sums_of_quarters<const SHORT: usize>(self, _vectors: [Self::Int; 4]) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// The sums of quarters 0 and 1, and of quarters 2 and 3, of both vectors, lane by lane, in this
    /// order.
    #[inline(always)]
    fn sums_of_pairs_of_quarters(self, _vectors: [Self::Int; 2]) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// Sixteen signed bytes of each of two places, widened to 16 bits.
    ///
    /// # Safety
    ///
    /// They are readable.
    #[inline(always)]
    unsafe fn load_bytes_widened(self, _from: [*const i8; 2]) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// Words, shifted to the right, that then fit 16 bits, a sign included, as 16-bit integers.
    #[inline(always)]
    fn narrowed(self, _words: [&[i32; WIDTH]; 2], _shift: u32) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// The sums of the products of 16 groups of 32 weights, in order, where those of each 16 are multiplied
    /// with one of 32 `scales`, 16-bit integers: of the quarters of two vectors for each 128 weights,
    /// whose lanes are below 2¹⁵ in magnitude, and of `more`, 16-bit integers as well, then shifted to the
    /// left.
    #[inline(always)]
    fn scaled_sums(
        self,
        _vectors: [[Self::Int; 4]; 2],
        _scales: Self::Int,
        (_more, _shift): (Self::Int, u32),
    ) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// The half-precision numbers with which groups of `STRIDE` bytes, 32 to 62, begin, widened: the bits
    /// of floats.
    ///
    /// # Safety
    ///
    /// The bytes of sixteen groups are readable.
    #[inline(always)]
    unsafe fn halves_of_groups<const STRIDE: usize>(self, _groups: *const u8) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// Sums of sixteen groups, which fit 16 bits, and sixteen half-precision numbers.
    #[inline(always)]
    fn packed(self, _sums: Self::Int, _halves: Self::Int) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// Such sums and numbers of sixteen rows, of each group those of all rows.
    #[inline(always)]
    fn unpacked(self, _rows: &[Self::Int; WIDTH]) -> ([Self::Int; WIDTH], [Self::Float; WIDTH]) {
        unreachable!("IN_ORDER is false")
    }

    /// Vectors of sixteen groups of each row as vectors of sixteen rows of each group.
    #[inline(always)]
    fn transposed_ints(self, _rows: &[Self::Int; WIDTH]) -> [Self::Int; WIDTH] {
        unreachable!("IN_ORDER is false")
    }
}

impl OneRow for super::Scalar {}

#[cfg(target_arch = "x86_64")]
impl OneRow for super::avx2::Avx2 {}

#[cfg(target_arch = "x86_64")]
impl OneRow for super::avx2::AvxVnni {}

#[cfg(target_arch = "aarch64")]
impl OneRow for super::neon::Neon {}

#[cfg(target_arch = "aarch64")]
impl OneRow for super::neon::NeonDot {}

#[cfg(target_arch = "aarch64")]
impl OneRow for super::neon::NeonI8mm {}
