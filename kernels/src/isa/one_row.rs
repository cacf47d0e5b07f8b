//! The vocabulary of rows that are read in the order of the file: vectors of 64 consecutive bytes of
//! *one* row, and of what becomes of its groups of weights, a group in each lane.
//!
//! The products of a group lie across lanes only until they are summed, and integers may be summed in
//! any order; floats are then added with rows across lanes. So what comes of it has the same bits as
//! where rows lie across lanes from the beginning ([`Lanes`]).

#[cfg(target_arch = "x86_64")]
mod avx512;

use super::{Lanes, WIDTH};

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

    /// The sums of products of four codes each with the bytes of the words at `x`. Signed codes have
    /// [`Lanes::SIGNED_OFFSET`] added.
    ///
    /// # Safety
    ///
    /// Sixteen words are readable at `x`.
    #[inline(always)]
    unsafe fn dot_bytes(self, _codes: Self::Int, _x: *const i32) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// The sums of each eight consecutive lanes of all vectors.
    #[inline(always)]
    fn sums_of_eights(self, _vectors: [Self::Int; 8]) -> Self::Int {
        unreachable!("IN_ORDER is false")
    }

    /// The half-precision numbers with which groups of `STRIDE` bytes, 32 to 62, begin, widened.
    ///
    /// # Safety
    ///
    /// The bytes of sixteen groups are readable.
    #[inline(always)]
    unsafe fn halves_of_groups<const STRIDE: usize>(self, _groups: *const u8) -> Self::Float {
        unreachable!("IN_ORDER is false")
    }

    /// Vectors of sixteen groups of each row as vectors of sixteen rows of each group.
    #[inline(always)]
    fn transposed_ints(self, _rows: &[Self::Int; WIDTH]) -> [Self::Int; WIDTH] {
        unreachable!("IN_ORDER is false")
    }

    /// The same, floats.
    #[inline(always)]
    fn transposed_floats(self, _rows: &[Self::Float; WIDTH]) -> [Self::Float; WIDTH] {
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
