//! How values become codes, scales and sums.
//!
//! 32 values share a scale of few digits, `(1 + v / 16) · 2ᵉ`, which kernels can look up instead of
//! multiplying with it. Among the smallest such scale that holds the largest value, the one above,
//! and the one below, which cuts the largest value a little, the one with the smallest squared
//! error is taken: together they come as near as a scale of full precision does.
//!
//! Groups are quantized one after the other, along vectors ([`group`]), or sixteen at a time, one in each
//! lane ([`sixteen_groups`]), where a transposition is cheap. Both add in the same order.

use super::VARIANTS;
use crate::formats::SUPER;
use crate::isa::{Floats, Simd, WIDTH};
use crate::unpack::unrolled;

/// Values that share a scale.
const GROUP: usize = 32;

/// Groups in a block.
pub(super) const GROUPS: usize = SUPER / GROUP;

/// Words that the codes of a group fill.
pub(super) const GROUP_WORDS: usize = GROUP / 4;

const _: () = assert!(2 * GROUPS == WIDTH);

/// Largest magnitude of a code.
const MOST: f32 = 127.0;

/// Groups whose values are all smaller count as zeros: their products would underflow.
const SMALLEST: f32 = 1.0 / (1u128 << 90) as f32;

/// Groups with a larger value, or one that is not a number, poison their results: they become NaN.
const LARGEST: f32 = (1u128 << 100) as f32;

/// Adding and taking away 1.5 × 2^23 rounds to the nearest integer, ties to even; in between, the
/// lowest bits are those of the integer.
pub(super) const ROUND: f32 = 12_582_912.0;

/// Two blocks of values, quantized. Their groups take turns in the lanes of all that follows: the first
/// of one, the first of the other, the second of one.
pub(super) struct Blocks {
    /// Four codes to a word: (word of the group, lane).
    pub(super) codes: [[i32; WIDTH]; GROUP_WORDS],
    pub(super) scales: [Scale; WIDTH],
    /// Sums of the codes of each half of a group.
    pub(super) sums: [[i32; WIDTH]; 2],
}

impl Blocks {
    /// Blocks of nothing.
    pub(super) const ZERO: Blocks = Blocks {
        codes: [[0; WIDTH]; GROUP_WORDS],
        scales: [Scale::ONE; WIDTH],
        sums: [[0; WIDTH]; 2],
    };

    /// Quantizes two blocks of values.
    #[inline(always)]
    pub(super) fn quantize<S: Simd>(&mut self, simd: S, x: [&[f32; SUPER]; 2]) {
        if const { S::TRANSPOSES } && sixteen_groups(simd, x, self) {
            return;
        }
        for (i, x) in x.into_iter().enumerate() {
            for (g, x) in x.as_chunks::<GROUP>().0.iter().enumerate() {
                let lane = 2 * g + i;
                let mut codes = [0; GROUP_WORDS];
                let (scale, sums) = group(simd, x, &mut codes);
                for (to, word) in self.codes.iter_mut().zip(codes) {
                    to[lane] = word;
                }
                self.scales[lane] = scale;
                for (to, sum) in self.sums.iter_mut().zip(sums) {
                    to[lane] = sum;
                }
            }
        }
    }
}

/// A scale of five digits: the bits of a float of which the lowest nineteen are zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale(u32);

impl Scale {
    const ONE: Scale = Scale(0x3f80_0000);
    const NAN: Scale = Scale(0x7fc0_0000);

    /// From one scale to the next.
    const STEP: u32 = 1 << 19;

    /// The smallest scale that is not below `value`, which is positive and finite.
    #[inline(always)]
    fn at_least(value: f32) -> Scale {
        Scale((value.to_bits() + Scale::STEP - 1) & !(Scale::STEP - 1))
    }

    #[inline(always)]
    pub(super) fn value(self) -> f32 {
        f32::from_bits(self.0)
    }

    #[inline(always)]
    pub(super) fn variant(self) -> usize {
        (self.0 >> 19) as usize % VARIANTS
    }

    #[inline(always)]
    pub(super) fn exponent(self) -> f32 {
        match self.0 {
            bits if bits >= 0x7f80_0000 => f32::NAN,
            bits => (bits >> 23) as f32 - 127.0,
        }
    }

    /// One over the scale, rounded.
    #[inline(always)]
    fn inverse(self) -> f32 {
        const OF_MANTISSA: [u32; VARIANTS] = {
            let mut bits = [0; VARIANTS];
            let mut v = 0;
            while v < VARIANTS {
                bits[v] = (VARIANTS as f32 / (VARIANTS + v) as f32).to_bits();
                v += 1;
            }
            bits
        };
        // Taking the exponent away from that of the mantissa's inverse is exact.
        f32::from_bits(OF_MANTISSA[self.variant()] + (127 << 23) - (self.0 & 0x7f80_0000))
    }
}

/// Quantizes a group: its codes, four to a word, its scale, and the sums of each half's codes.
#[inline(always)]
fn group<S: Floats>(
    simd: S,
    x: &[f32; GROUP],
    codes: &mut [i32; GROUP_WORDS],
) -> (Scale, [i32; 2]) {
    // Magnitudes compare like their bits, and what is not a number is above all others.
    let mut magnitudes = [0u32; WIDTH];
    let (halves, _) = x.as_chunks::<WIDTH>();
    for half in halves {
        for (magnitude, x) in magnitudes.iter_mut().zip(half) {
            *magnitude = (*magnitude).max(x.abs().to_bits());
        }
    }
    let largest = magnitudes.into_iter().fold(0, u32::max);
    if largest < SMALLEST.to_bits() || largest > LARGEST.to_bits() {
        codes.fill(0);
        let scale = match largest {
            0..0x4000_0000 => Scale::ONE,
            _ => Scale::NAN,
        };
        return (scale, [0, 0]);
    }
    let fits = Scale::at_least(f32::from_bits(largest) * (1.0 / MOST));
    let vectors = [simd.load(&halves[0]), simd.load(&halves[1])];
    let mut best = (f32::INFINITY, fits);
    for scale in [
        fits,
        Scale(fits.0 + Scale::STEP),
        Scale(fits.0 - Scale::STEP),
    ] {
        // In units of the first scale, so that nothing overflows.
        let unit = scale.value() * fits.inverse();
        let error = squared_error(simd, vectors, scale) * (unit * unit);
        if error < best.0 {
            best = (error, scale);
        }
    }
    let scale = best.1;
    let inverse = simd.splat(scale.inverse());
    let round = simd.splat(ROUND);
    let mut sums = [0; 2];
    for (half, sum) in sums.iter_mut().enumerate() {
        let rounded = rounded(simd, simd.mul(vectors[half], inverse));
        // Sums of so few integers are exact.
        *sum = simd.sum(simd.sub(rounded, round)) as i32;
        let mut floats = [0.0; WIDTH];
        simd.store(rounded, &mut floats);
        let (floats, _) = floats.as_chunks::<4>();
        for (code, floats) in codes[half * WIDTH / 4..].iter_mut().zip(floats) {
            *code = word(floats);
        }
    }
    (scale, sums)
}

/// Quantizes the sixteen groups of two blocks, if all values are numbers that can be; tells whether they
/// are.
#[inline(always)]
fn sixteen_groups<S: Floats>(simd: S, x: [&[f32; SUPER]; 2], blocks: &mut Blocks) -> bool {
    // Value `i` of every group.
    let mut values = [simd.zero(); GROUP];
    for half in 0..2 {
        let mut rows = [simd.zero(); WIDTH];
        for (i, x) in x.into_iter().enumerate() {
            for (g, x) in x.as_chunks::<GROUP>().0.iter().enumerate() {
                rows[2 * g + i] = simd.load(&x.as_chunks().0[half]);
            }
        }
        values[half * WIDTH..][..WIDTH].copy_from_slice(&simd.transposed(&rows));
    }
    // In four chains, as each step waits for the one before.
    let mut low = [values[0], values[1], values[2], values[3]];
    let mut high = low;
    for x in values[4..].as_chunks::<4>().0 {
        for i in 0..4 {
            low[i] = simd.min(x[i], low[i]);
            high[i] = simd.max(x[i], high[i]);
        }
    }
    let low = simd.min(simd.min(low[0], low[1]), simd.min(low[2], low[3]));
    let high = simd.max(simd.max(high[0], high[1]), simd.max(high[2], high[3]));
    let largest = simd.max(simd.sub(simd.zero(), low), high);
    if simd.maximum(largest) > LARGEST {
        return false;
    }
    let mut floats = [0.0; WIDTH];
    simd.store(largest, &mut floats);
    let mut scales = [[0.0; WIDTH]; 3];
    for (lane, largest) in floats.into_iter().enumerate() {
        let fits = match largest < SMALLEST {
            true => Scale::ONE,
            false => Scale::at_least(largest * (1.0 / MOST)),
        };
        scales[0][lane] = fits.value();
        scales[1][lane] = Scale(fits.0 + Scale::STEP).value();
        scales[2][lane] = Scale(fits.0 - Scale::STEP).value();
    }
    let one = simd.splat(1.0);
    // In units of the first scale, as in `group`.
    let per_unit = simd.div(one, simd.load(&scales[0]));
    let mut best = (simd.splat(f32::INFINITY), simd.load(&scales[0]));
    let mut all = simd.zero();
    for (number, scale) in scales.iter().enumerate() {
        let scale = simd.load(scale);
        let unit = simd.mul(scale, per_unit);
        let inverse = simd.div(one, scale);
        // Only the last is below the one that fits.
        let error = match number {
            2 => squared_errors::<S, true>(simd, &values, inverse),
            _ => squared_errors::<S, false>(simd, &values, inverse),
        };
        let error = simd.mul(error, simd.mul(unit, unit));
        all = simd.add(all, error);
        let pair = (error, best.0);
        best = (
            simd.select_less(pair, error, best.0),
            simd.select_less(pair, scale, best.1),
        );
    }
    // What is not a number has no distance from a code.
    if simd.sum(all).is_nan() {
        return false;
    }
    let inverse = simd.div(one, best.1);
    for half in 0..2 {
        let mut sums = [0i32; WIDTH];
        for w in half * GROUP_WORDS / 2..(half + 1) * GROUP_WORDS / 2 {
            let mut fours = [[0.0; WIDTH]; 4];
            for (floats, &x) in fours.iter_mut().zip(&values[4 * w..]) {
                simd.store(rounded(simd, simd.mul(x, inverse)), floats);
                for (sum, rounded) in sums.iter_mut().zip(floats) {
                    *sum += whole(*rounded);
                }
            }
            for (lane, to) in blocks.codes[w].iter_mut().enumerate() {
                *to = word(&[
                    fours[0][lane],
                    fours[1][lane],
                    fours[2][lane],
                    fours[3][lane],
                ]);
            }
        }
        blocks.sums[half] = sums;
    }
    simd.store(best.1, &mut floats);
    for (to, scale) in blocks.scales.iter_mut().zip(floats) {
        *to = Scale(scale.to_bits());
    }
    true
}

/// The integer that was added to [`ROUND`].
#[inline(always)]
pub(super) fn whole(rounded: f32) -> i32 {
    let bits = rounded.to_bits().cast_signed();
    bits.wrapping_sub(ROUND.to_bits().cast_signed())
}

/// The lowest bytes of the bits of four numbers.
#[inline(always)]
fn word([a, b, c, d]: &[f32; 4]) -> i32 {
    let (a, b, c, d) = (a.to_bits(), b.to_bits(), c.to_bits(), d.to_bits());
    (a & 0xff | (b & 0xff) << 8 | (c & 0xff) << 16 | d << 24).cast_signed()
}

/// [`ROUND`] plus the nearest code.
#[inline(always)]
fn rounded<S: Floats>(simd: S, y: S::Vector) -> S::Vector {
    let rounded = simd.add(y, simd.splat(ROUND));
    let rounded = simd.min(rounded, simd.splat(ROUND + MOST));
    simd.max(rounded, simd.splat(ROUND - MOST))
}

/// The sum of the squared distances of 32 values from their codes, in units of the scale.
#[inline(always)]
fn squared_error<S: Floats>(simd: S, x: [S::Vector; 2], scale: Scale) -> f32 {
    let inverse = simd.splat(scale.inverse());
    let mut sum = simd.zero();
    for x in x {
        let y = simd.mul(x, inverse);
        let code = simd.sub(rounded(simd, y), simd.splat(ROUND));
        let difference = simd.sub(code, y);
        sum = simd.multiply_add(difference, difference, sum);
    }
    simd.sum(sum)
}

/// The [`squared_error`] of each lane's group. Unless the scale `CUTS` the largest value, no code needs
/// to be kept within bounds.
#[inline(always)]
fn squared_errors<S: Floats, const CUTS: bool>(
    simd: S,
    values: &[S::Vector; GROUP],
    inverse: S::Vector,
) -> S::Vector {
    let mut sums = [simd.zero(); WIDTH];
    unrolled!(I in 16, {
        for half in 0..2 {
            let y = simd.mul(values[half * WIDTH + I], inverse);
            let mut code = simd.round(y);
            if CUTS {
                code = simd.max(simd.min(code, simd.splat(MOST)), simd.splat(-MOST));
            }
            let difference = simd.sub(code, y);
            sums[I] = simd.multiply_add(difference, difference, sums[I]);
        }
    });
    // In the order of `Floats::sum`.
    for i in 0..8 {
        sums[i] = simd.add(sums[i], sums[i + 8]);
    }
    for i in 0..4 {
        sums[i] = simd.add(sums[i], sums[i + 4]);
    }
    for i in 0..2 {
        sums[i] = simd.add(sums[i], sums[i + 2]);
    }
    sums[0] = simd.add(sums[0], sums[1]);
    sums[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Cpu, Kernel};

    /// Blocks of values of all kinds come out the same for every instruction set, sixteen groups at a time
    /// or one after the other.
    #[test]
    fn blocks_are_the_same_everywhere() {
        struct Two<'a>(&'a [f32]);
        impl Kernel for Two<'_> {
            type Output = Blocks;

            #[inline(always)]
            fn run<S: Simd>(self, simd: S) -> Blocks {
                let mut blocks = Blocks::ZERO;
                let mut padded = [[0.0; SUPER]; 2];
                padded.as_flattened_mut()[..self.0.len()].copy_from_slice(self.0);
                blocks.quantize(simd, padded.each_ref());
                blocks
            }
        }
        let mut state = 1u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 40
        };
        let unusual = [
            f32::NAN,
            f32::INFINITY,
            -f32::INFINITY,
            2e30,
            -2e30,
            1e-30,
            0.0,
        ];
        for round in 0..300 {
            let len = [512, 512, 256, 32, 500][round % 5];
            let mut values: Vec<f32> = (0..len)
                .map(|_| random() as f32 / (1 << 23) as f32 - 1.0)
                .collect();
            // Groups of many magnitudes, some of them all zeros, or as good as zeros.
            for group in values.chunks_mut(GROUP) {
                let factor = match random() % 8 {
                    0 => 0.0,
                    1 => 1e-29,
                    2 => f32::MIN_POSITIVE,
                    _ => (random() as f32 / (1 << 20) as f32 - 8.0).exp2(),
                };
                group.iter_mut().for_each(|x| *x *= factor);
            }
            if round % 3 == 2 {
                let place = random() as usize % len;
                values[place] = unusual[round / 3 % unusual.len()];
            }
            let expected = Cpu::SCALAR.run(Two(&values));
            for cpu in Cpu::all() {
                let found = cpu.run(Two(&values));
                assert_eq!(found.scales, expected.scales, "{} {round}", cpu.isa());
                assert_eq!(found.codes, expected.codes, "{} {round}", cpu.isa());
                assert_eq!(found.sums, expected.sums, "{} {round}", cpu.isa());
            }
        }
    }

    #[test]
    fn scales_are_the_smallest_of_five_digits_that_hold_the_value() {
        for (value, expected) in [
            (1.0, 1.0),
            (1.001, 1.0625),
            (1.97, 2.0),
            (0.3, 0.3125),
            (1e-20, 1.0164395e-20),
        ] {
            let scale = Scale::at_least(value);
            assert!((scale.value() / expected - 1.0).abs() < 1e-6, "{value}");
            let whole = (1.0 + scale.variant() as f32 / 16.0) * scale.exponent().exp2();
            assert_eq!(whole, scale.value());
            assert!((scale.inverse() * scale.value() - 1.0).abs() < 1e-7);
        }
    }

    /// Rounding errors of numbers that lie anyhow between two codes have a mean square of a twelfth
    /// of the step's; with a scale of full precision, 127 / largest, that of these values is
    /// `exact`. The scale of few digits may not be worse by more than a hundredth.
    #[test]
    fn scales_of_few_digits_lose_nothing() {
        struct Measure<'a>(&'a [f32]);
        impl Kernel for Measure<'_> {
            type Output = (f64, f64);

            #[inline(always)]
            fn run<S: Simd>(self, simd: S) -> (f64, f64) {
                let (mut found, mut exact) = (0.0, 0.0);
                for x in self.0.as_chunks::<GROUP>().0 {
                    let mut words = [0; GROUP / 4];
                    let (scale, sums) = group(simd, x, &mut words);
                    let codes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                    let total: i32 = codes.iter().map(|&code| i32::from(code as i8)).sum();
                    assert_eq!(sums[0] + sums[1], total);
                    let largest = x.iter().fold(0.0f32, |a, x| a.max(x.abs()));
                    let full = f64::from(largest) / 127.0;
                    for (x, code) in x.iter().zip(codes) {
                        let x = f64::from(*x);
                        let value = f64::from(code as i8) * f64::from(scale.value());
                        found += (x - value).powi(2);
                        exact += (x - (x / full).round() * full).powi(2);
                    }
                }
                (found, exact)
            }
        }
        let mut state = 1u64;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        // Sums of four uniform numbers: nearly normal.
        let values: Vec<f32> = (0..64_000)
            .map(|_| uniform() + uniform() + uniform() + uniform())
            .collect();
        for cpu in Cpu::all() {
            let (found, exact) = cpu.run(Measure(&values));
            assert!(found < 1.01 * exact, "{}: {}", cpu.isa(), found / exact);
        }
    }
}
