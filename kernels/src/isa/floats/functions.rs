//! Functions of one variable on vectors, the same bits on every instruction set.
//!
//! The polynomials are minimax fits in double precision of the relative error of the function
//! over the interval named beside them; their coefficients are rounded to single precision. The
//! errors stated are the largest found over a dense sweep of all floats, against double precision.

use super::Floats;

/// eˣ within 1 unit in the last place, subnormal results included; 0 for -∞, ∞ for what
/// overflows, NaN for NaN.
#[inline(always)]
pub(crate) fn exp<S: Floats>(simd: S, x: S::Vector) -> S::Vector {
    // (eʳ - 1 - r) / r² for |r| ≤ ln 2 / 2, lowest power first.
    const P: [f32; 5] = [
        0.499_999_94,
        0.166_665_21,
        0.041_668_39,
        0.008_368_745,
        0.001_381_453_8,
    ];
    // ln 2 in two parts; the product of the first with a small whole number is not exact, but it
    // is inside a fused multiply-add.
    const LN_2_HIGH: f32 = std::f32::consts::LN_2;
    const LN_2_LOW: f32 = -1.904_654_3e-9;
    // Beyond these the result is 0 or ∞. The bound comes first, so that a NaN passes.
    let x = simd.max(simd.splat(-104.0), x);
    let x = simd.min(simd.splat(89.0), x);
    let n = simd.round(simd.mul(x, simd.splat(std::f32::consts::LOG2_E)));
    let r = simd.multiply_add(n, simd.splat(-LN_2_HIGH), x);
    let r = simd.multiply_add(n, simd.splat(-LN_2_LOW), r);
    let one = simd.splat(1.0);
    let p = polynomial(simd, r, P);
    let p = simd.multiply_add(p, r, one);
    let p = simd.multiply_add(p, r, one);
    simd.scale_by_power_of_two(p, n)
}

/// 2ˣ for x ≤ 0 within 2.1 units in the last place, subnormal results included; 0 for -∞, NaN for
/// NaN. Of the exponential functions the one with the fewest multiplications: none reduces the
/// argument.
#[inline(always)]
pub(crate) fn exp2<S: Floats>(simd: S, x: S::Vector) -> S::Vector {
    // (2ʳ - 1) / r for |r| ≤ 1/2, lowest power first. The first is near ln 2 but not that: it is
    // fitted with the others.
    #[allow(clippy::approx_constant)]
    const P: [f32; 5] = [
        0.693_147,
        0.240_222_42,
        0.055_507_336,
        0.009_671_513,
        0.001_326_472_7,
    ];
    // Below this the result is 0. The bound comes first, so that a NaN passes.
    let x = simd.max(simd.splat(-160.0), x);
    let n = simd.round(x);
    let r = simd.sub(x, n);
    let p = simd.multiply_add(polynomial(simd, r, P), r, simd.splat(1.0));
    simd.scale_by_power_of_two(p, n)
}

/// tanh x within 3 units in the last place.
#[inline(always)]
pub(crate) fn tanh<S: Floats>(simd: S, x: S::Vector) -> S::Vector {
    // (tanh x / x - 1) / x² in powers of x² for |x| ≤ 0.625.
    const P: [f32; 5] = [
        -0.333_332_84,
        0.133_314_9,
        -0.053_743_497,
        0.020_650_579,
        -0.005_717_037,
    ];
    let square = simd.mul(x, x);
    let p = simd.mul(polynomial(simd, square, P), square);
    let near = simd.multiply_add(p, x, x);
    // tanh x = 1 - 2 / (e²ˣ + 1), which cancels only where it is not used.
    let one = simd.splat(1.0);
    let power = exp(simd, simd.add(x, x));
    let far = simd.sub(one, simd.div(simd.splat(2.0), simd.add(power, one)));
    simd.select_less((square, simd.splat(0.625 * 0.625)), near, far)
}

/// 1 / (1 + e⁻ˣ) within 3 units in the last place; 0 below -88.7, where the result is hardly normal.
#[inline(always)]
pub(crate) fn sigmoid<S: Floats>(simd: S, x: S::Vector) -> S::Vector {
    let one = simd.splat(1.0);
    let power = exp(simd, simd.sub(simd.zero(), x));
    simd.div(one, simd.add(one, power))
}

/// The error function within 3 units in the last place.
#[inline(always)]
pub(crate) fn erf<S: Floats>(simd: S, x: S::Vector) -> S::Vector {
    // erf x / x in powers of x² for |x| ≤ 1.
    const NEAR: [f32; 7] = [
        std::f32::consts::FRAC_2_SQRT_PI,
        -0.376_126_26,
        0.112_835_854,
        -0.026_853_811,
        0.005_188_327_7,
        -0.000_801_009_25,
        7.853_858e-5,
    ];
    // -ln(1 - erf x) for 1 ≤ x ≤ 4; erf 4 rounds to 1.
    const FAR: [f32; 7] = [
        0.000_353_708_92,
        1.127_04,
        0.638_225_6,
        0.103_037_44,
        -0.021_805_352,
        0.002_939_615_9,
        -0.000_185_574_9,
    ];
    let zero = simd.zero();
    let one = simd.splat(1.0);
    let square = simd.mul(x, x);
    let near = simd.mul(polynomial(simd, square, NEAR), x);
    let size = simd.max(simd.sub(zero, x), x);
    let size = simd.min(simd.splat(4.0), size);
    let log = polynomial(simd, size, FAR);
    let far = simd.sub(one, exp(simd, simd.sub(zero, log)));
    let far = simd.select_less((x, zero), simd.sub(zero, far), far);
    simd.select_less((square, one), near, far)
}

/// `Σ coefficients[i] · xⁱ` by Horner's rule.
#[inline(always)]
fn polynomial<S: Floats, const N: usize>(
    simd: S,
    x: S::Vector,
    coefficients: [f32; N],
) -> S::Vector {
    let mut sum = simd.splat(coefficients[N - 1]);
    for i in (0..N - 1).rev() {
        sum = simd.multiply_add(sum, x, simd.splat(coefficients[i]));
    }
    sum
}
