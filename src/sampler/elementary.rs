//! `exp` and `ln` from IEEE additions, multiplications and divisions alone, in a fixed order, so
//! that every platform computes the same bits. System libraries differ in the last place, and a
//! draw that falls between two such results would give another text.
//!
//! Both reduce the argument as in Cody and Waite, *Software Manual for the Elementary Functions*
//! (1980), and then sum a Taylor series whose first omitted term is below the rounding error.

use std::f64::consts::{LOG2_E, SQRT_2};

/// ln 2 in two parts: the high one has 32 trailing zero bits, so small multiples of it are exact.
const LN2_HIGH: f64 = f64::from_bits(0x3FE6_2E42_FEE0_0000);
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// Adding and subtracting this rounds a number below 2^51 to an integer.
const ROUNDER: f64 = 6_755_399_441_055_744.0; // 1.5 · 2^52

/// 1 / n! for n from 13 down to 0: the remainder at |r| ≤ ln 2 / 2 is below 5e-18.
const INVERSE_FACTORIALS: [f64; 14] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    1.0 / 2.0,
    1.0,
    1.0,
];

/// e to the power of `x`, for x at most 0; 0 below -708, where the result would be subnormal.
pub(super) fn exp(x: f64) -> f64 {
    if x < -708.0 {
        return 0.0;
    }
    // x = n ln 2 + r
    let n = (x * LOG2_E + ROUNDER) - ROUNDER;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let power = INVERSE_FACTORIALS
        .iter()
        .fold(0.0, |sum, &coefficient| sum * r + coefficient);
    // n is in -1022..=1, so the exponent field stays inside 1..=1024
    power * f64::from_bits(((n as i64 + 1023) as u64) << 52)
}

/// The natural logarithm of a normal positive `x`.
pub(super) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52)); // in 1..2
    if mantissa > SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    // ln m = 2 artanh s with |s| ≤ 0.172: the terms beyond s^21 are below 2e-19
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = (0..=10)
        .rev()
        .fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    let n = exponent as f64;
    n * LN2_HIGH + (n * LN2_LOW + 2.0 * s * series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_roundings_of_the_system_s() {
        for step in 0..70_000 {
            let x = -f64::from(step) * 0.010_1;
            let (ours, theirs) = (exp(x), x.exp());
            assert!((ours - theirs).abs() <= 4.0 * f64::EPSILON * theirs, "{x}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1e300), 0.0);
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
    }

    #[test]
    fn ln_is_within_two_roundings_of_the_system_s() {
        for step in 1..50_000 {
            let x = f64::from(step) * 0.37;
            let (ours, theirs) = (ln(x), x.ln());
            let allowed = 2.0 * f64::EPSILON * theirs.abs().max(1.0);
            assert!((ours - theirs).abs() <= allowed, "{x}");
        }
        assert_eq!(ln(1.0), 0.0);
    }

    /// The bits are part of the promise of reproducible texts: these must never change.
    #[test]
    fn bits_are_pinned() {
        assert_eq!(exp(-1.0).to_bits(), 0x3FD7_8B56_362C_EF38);
        assert_eq!(ln(10.0).to_bits(), 0x4002_6BB1_BBB5_5516);
    }
}
