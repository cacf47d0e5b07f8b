//! Floats as 16-bit whole numbers, two to a word: what the products of whole numbers are made of.
//!
//! A sum of products of two vectors of whole numbers is at most the product of their lengths
//! (Cauchy and Schwarz). So keys and queries are measured in a *unit* that makes their length, and
//! not only their largest element, whole numbers that are small enough: the sum over all dimensions
//! fits in 32 bits, whatever their number.

use super::{CHUNK, ROWS};
use crate::isa::{Floats, WIDTH};
use half::f16;

/// The largest 16-bit whole number.
pub(super) const SHORT_MOST: f32 = 32_767.0;

/// Below this a row is taken for zeros: the inverse of smaller numbers is not finite.
pub(super) const SMALLEST: f32 = 1e-30;

/// The length of a vector in its [`unit`]. Rounding to whole numbers adds at most half a unit in
/// each dimension, and so half the root of their number to the length: with [`MOST_DIMS`], 128. The
/// square of all must be below 2³¹; the rest, of 212, is for the rounding of the length itself.
const LENGTH: f32 = 46_000.0;

/// So many dimensions a key may have.
pub(super) const MOST_DIMS: usize = 1 << 16;

/// Pairs of dimensions of a [`Queries`].
pub(super) const PAIRS: usize = 16;

/// The queries of a block of rows for 32 dimensions, two whole numbers to a word.
pub(super) type Queries = [[i32; PAIRS]; ROWS];

/// The weights of a row for a chunk, two whole numbers to a word.
pub(super) type Weights = [i32; CHUNK / 2];

/// The sixteen floats, or as many as there are and zeros.
#[inline(always)]
pub(super) fn load<S: Floats>(simd: S, x: &[f32]) -> S::Vector {
    match x.first_chunk::<WIDTH>() {
        Some(x) => simd.load(x),
        None => simd.load_partial(x, 0.0),
    }
}

/// `x` between `-most` and `most`; a NaN becomes `most`.
#[inline(always)]
pub(super) fn bounded<S: Floats>(simd: S, x: S::Vector, most: f32) -> S::Vector {
    simd.max(simd.min(x, simd.splat(most)), simd.splat(-most))
}

/// The largest magnitude of `x`; a NaN has none.
#[inline(always)]
pub(super) fn magnitude<S: Floats>(simd: S, x: &[f32]) -> f32 {
    let mut most = simd.zero();
    for x in x.chunks(WIDTH) {
        let x = load(simd, x);
        most = simd.max(simd.max(x, simd.sub(simd.zero(), x)), most);
    }
    simd.maximum(most)
}

/// The largest magnitude of `x`, at most `bound`, or zero if it is too small to divide by.
#[inline(always)]
pub(super) fn largest<S: Floats>(simd: S, x: &[f32], bound: f32) -> f32 {
    let most = magnitude(simd, x).min(bound);
    if most > SMALLEST { most } else { 0.0 }
}

/// The largest magnitude of `x`, at most `bound`, and the unit of `x`: in it, elements are at most
/// [`SHORT_MOST`] and the length at most [`LENGTH`].
#[inline(always)]
pub(super) fn unit<S: Floats>(simd: S, x: &[f32], bound: f32) -> (f32, f32) {
    let most = largest(simd, x, bound);
    if most == 0.0 {
        return (0.0, 0.0);
    }
    // Relative to the largest, no square is too large.
    let inverse = simd.splat(1.0 / most);
    let mut squares = simd.zero();
    for x in x.chunks(WIDTH) {
        let x = simd.mul(bounded(simd, load(simd, x), most), inverse);
        squares = simd.multiply_add(x, x, squares);
    }
    let length = simd.sum(squares).sqrt();
    (most, most * (length / LENGTH).max(1.0 / SHORT_MOST))
}

/// The smallest 16-bit float that is not less, of what a key's or value's unit can be.
#[inline(always)]
pub(super) fn round_up(unit: f32) -> f16 {
    let near = f16::from_f32(unit);
    match near.to_f32() < unit {
        true => f16::from_bits(near.to_bits() + 1),
        false => near,
    }
}

/// Up to sixteen floats, with zeros after them, in units: the nearest whole numbers, none beyond
/// `bound`. `most` is the largest of all that have the unit.
#[inline(always)]
pub(super) fn shorten<S: Floats>(
    simd: S,
    x: &[f32],
    (most, unit): (f32, f32),
    bound: f32,
) -> [i32; WIDTH / 2] {
    let inverse = if unit > 0.0 { 1.0 / unit } else { 0.0 };
    let x = bounded(simd, load(simd, x), most);
    let x = bounded(simd, simd.mul(x, simd.splat(inverse)), bound);
    let mut words = [0; WIDTH / 2];
    simd.store_pairs(x, &mut words);
    words
}
