//! The vocabulary of the row operations and of attention: vectors of sixteen consecutive floats.
//!
//! Every instruction set presents the same sixteen lanes, in as many registers as it needs, and
//! the same order of every sum. Each operation is exactly rounded or exactly defined here, so
//! results are the same bits on all of them, except for the payload of a NaN.
//!
//! The functions of one variable ([`exp`], [`exp2`], [`tanh`], [`sigmoid`], [`erf`]) are written once, in
//! this vocabulary. What is computed with vectors is the business of `rows` and `attention`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod functions;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

pub(crate) use functions::{erf, exp, exp2, sigmoid, tanh};

/// Lanes of a vector.
pub(crate) const WIDTH: usize = 16;

/// Operations on sixteen consecutive floats.
///
/// Implementations are `#[inline(always)]`, so that they are compiled with the features of the
/// kernel that they are part of. Code that uses them must be too, closures included.
pub(crate) trait Floats: Copy + Send + Sync + 'static {
    /// Sixteen floats.
    type Vector: Copy;
    /// Sixteen 32-bit whole numbers.
    type Whole: Copy;
    /// Sixteen pairs of 16-bit whole numbers.
    type Pairs: Copy;
    /// One pair, in every lane.
    type Pair: Copy;

    /// Vectors that fit in the registers beside what a multiply-add loop needs for its operands.
    const ACCUMULATORS: usize;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::Vector;
    /// The sixteen floats.
    fn load(self, from: &[f32; WIDTH]) -> Self::Vector;
    /// The sixteen 16-bit IEEE floats, widened; exact.
    fn load_f16(self, from: &[u16; WIDTH]) -> Self::Vector;
    /// The sixteen bfloat16, widened; exact.
    fn load_bf16(self, from: &[u16; WIDTH]) -> Self::Vector;
    /// The first bfloat16 of each of sixteen pairs, in the lower half of a word, widened; exact.
    fn load_first_bf16(self, from: &[u32; WIDTH]) -> Self::Vector;
    /// The second ones.
    fn load_second_bf16(self, from: &[u32; WIDTH]) -> Self::Vector;
    /// Writes the lanes.
    fn store(self, x: Self::Vector, to: &mut [f32; WIDTH]);
    /// Writes the lanes as 16-bit IEEE floats, rounded to nearest, ties to even; what is too
    /// large becomes an infinity.
    fn store_f16(self, x: Self::Vector, to: &mut [u16; WIDTH]);

    /// `a + b`.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a - b`.
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a · b`.
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a / b`.
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a · b + c`, rounded once.
    fn multiply_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `a > b ? a : b`, so `b` where one of them is NaN.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a < b ? a : b`, so `b` where one of them is NaN.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a < b ? yes : no` for the pair `(a, b)`, so `no` where one of them is NaN.
    fn select_less(
        self,
        pair: (Self::Vector, Self::Vector),
        yes: Self::Vector,
        no: Self::Vector,
    ) -> Self::Vector;
    /// The nearest whole number, ties to even.
    fn round(self, x: Self::Vector) -> Self::Vector;
    /// `x · 2ⁿ`, rounded once, for whole `n` with `|n| ≤ 250` and `0.5 < x < 2`; NaN where
    /// `x` is NaN and `n` whole or NaN.
    fn scale_by_power_of_two(self, x: Self::Vector, n: Self::Vector) -> Self::Vector;

    /// All lanes zero.
    fn no_products(self) -> Self::Whole;
    /// Sixteen pairs of signed bytes, the first of a pair the lower, widened.
    fn load_pairs(self, from: &[u16; WIDTH]) -> Self::Pairs;
    /// Sixteen pairs of 16-bit whole numbers.
    fn load_words(self, from: &[u16; 2 * WIDTH]) -> Self::Pairs;
    /// The pair of 16-bit whole numbers, the first the lower half, in every lane.
    fn splat_pair(self, b: i32) -> Self::Pair;
    /// `sum + a · b`, where the product is that of the pairs' first numbers plus that of their
    /// second ones, modulo 2³².
    fn add_products(self, sum: Self::Whole, a: Self::Pairs, b: Self::Pair) -> Self::Whole;
    /// [`add_products`](Floats::add_products) with a pair that is read for this alone.
    #[inline(always)]
    fn add_products_of(self, sum: Self::Whole, a: Self::Pairs, b: &i32) -> Self::Whole {
        self.add_products(sum, a, self.splat_pair(*b))
    }
    /// The sixteen whole numbers.
    fn load_whole(self, from: &[i32; WIDTH]) -> Self::Whole;
    /// Writes the lanes.
    fn store_whole(self, x: Self::Whole, to: &mut [i32; WIDTH]);
    /// The nearest floats, ties to even.
    fn whole_to_float(self, x: Self::Whole) -> Self::Vector;
    /// Writes the nearest whole numbers, ties to even, two to a word, the first the lower. All
    /// must fit in 16 bits.
    fn store_pairs(self, x: Self::Vector, to: &mut [i32; WIDTH / 2]);

    /// The sum of the lanes: lane `i + 8` is added to lane `i`, then 4, 2 and 1 apart.
    fn sum(self, x: Self::Vector) -> f32;
    /// The [`sum`](Floats::sum) of each of at most sixteen vectors: that of `x[r][c]` in lane
    /// `r W + c`. Other lanes are anything.
    #[inline(always)]
    fn sums<const R: usize, const W: usize>(self, x: &[[Self::Vector; W]; R]) -> Self::Vector {
        assert!(R * W <= WIDTH);
        let mut sums = [0.0; WIDTH];
        for r in 0..R {
            for c in 0..W {
                sums[r * W + c] = self.sum(x[r][c]);
            }
        }
        self.load(&sums)
    }

    /// Whether there is [`transposed`](Floats::transposed): where it takes few instructions.
    const TRANSPOSES: bool = false;
    /// Lane `i` of each vector in vector `i`.
    #[inline(always)]
    fn transposed(self, _rows: &[Self::Vector; WIDTH]) -> [Self::Vector; WIDTH] {
        unreachable!("TRANSPOSES is false")
    }

    /// The maximum of the lanes, by [`max`](Floats::max) in the order of [`sum`](Floats::sum).
    fn maximum(self, x: Self::Vector) -> f32;

    /// Asks for the memory at `at` to be brought near; nothing is read, so it may be anywhere.
    fn prefetch<T>(self, at: *const T);

    /// All lanes zero.
    #[inline(always)]
    fn zero(self) -> Self::Vector {
        self.splat(0.0)
    }

    /// The first sixteen floats of `from`, `fill` where it is shorter.
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> Self::Vector {
        let mut all = [fill; WIDTH];
        for (to, from) in all.iter_mut().zip(from) {
            *to = *from;
        }
        self.load(&all)
    }

    /// Writes as many lanes as `to` has room for.
    #[inline(always)]
    fn store_partial(self, x: Self::Vector, to: &mut [f32]) {
        let mut all = [0.0; WIDTH];
        self.store(x, &mut all);
        for (to, from) in to.iter_mut().zip(all) {
            *to = from;
        }
    }
}

#[cfg(test)]
mod tests;
