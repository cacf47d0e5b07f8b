//! Filling [`Activations`]: how values become codes, scales and sums.
//!
//! 32 values share a scale of few digits, `(1 + v / 16) · 2ᵉ`, which kernels can look up instead of
//! multiplying with it. Among the smallest such scale that holds the largest value, the one above,
//! and the one below, which cuts the largest value a little, the one with the smallest squared
//! error is taken: together they come as near as a scale of full precision does.

use super::{Activations, PAIRED, Panels, Precision, START_OFFSET, VARIANTS, apart, bf16, part};
use crate::formats::SUPER;
use crate::isa::{Cpu, Floats, Kernel, Lanes, Simd, WIDTH};
use crate::jobs::{Claims, SharedOutput};
use std::ops::Range;

/// Values that share a scale.
const GROUP: usize = 32;

/// Groups in a block.
const GROUPS: usize = SUPER / GROUP;

/// Blocks of columns that a thread claims at once, about: some microseconds of work.
const CLAIM: usize = 16;

/// Largest magnitude of a code.
const MOST: f32 = 127.0;

/// Groups whose values are all smaller count as zeros: their products would underflow.
const SMALLEST: f32 = 1.0 / (1u128 << 90) as f32;

/// Groups with a larger value, or one that is not a number, poison their results: they become NaN.
const LARGEST: f32 = (1u128 << 100) as f32;

/// Adding and taking away 1.5 × 2^23 rounds to the nearest integer, ties to even; in between, the
/// lowest bits are those of the integer.
const ROUND: f32 = 12_582_912.0;

/// A job that fills [`Activations`] from columns of floats.
pub struct Prepare<'a> {
    cpu: Cpu,
    x: &'a [f32], // (columns, len)
    len: usize,
    precision: Precision,
    panels: Panels,
    /// Lanes of the kernels' vectors.
    rows: usize,
    /// Blocks that are claimed at once.
    run: usize,
    claims: Claims,
    codes: SharedOutput<'a, i32>,
    floats: SharedOutput<'a, f32>,
    /// bfloat16, in one of the two ways.
    pairs: SharedOutput<'a, i32>,
    parted: SharedOutput<'a, f32>,
}

impl<'a> Prepare<'a> {
    /// Will fill `into` with the columns of `x`, `len` values each.
    ///
    /// # Panics
    ///
    /// If `x` is not whole columns, or more than `into` was made for.
    pub fn new(
        x: &'a [f32],
        len: usize,
        precision: Precision,
        into: &'a mut Activations,
    ) -> Prepare<'a> {
        assert!(
            len > 0 && x.len().is_multiple_of(len),
            "columns of {len} in {} values",
            x.len()
        );
        let columns = x.len() / len;
        into.columns = columns;
        into.len = len;
        into.precision = precision;
        let blocks = len.div_ceil(SUPER);
        let room = |wanted: Precision, per_column: usize| match precision.serves(wanted) {
            true => columns * per_column,
            false => 0,
        };
        let codes = room(Precision::INT8, blocks * part::TOTAL);
        let floats = room(Precision::FLOAT, len.next_multiple_of(WIDTH));
        let bf16 = room(Precision::BF16, len.next_multiple_of(PAIRED));
        let (pairs, parted) = match into.in_pairs() {
            true => (bf16 / 2, 0),
            false => (0, bf16),
        };
        assert!(
            codes <= into.codes.len()
                && floats <= into.floats.len()
                && pairs <= into.pairs.len()
                && parted <= into.parted.len(),
            "too many columns"
        );
        let panels = into.panels();
        let width = columns.div_ceil(panels.count().max(1)).max(1);
        let run = CLAIM.div_ceil(width);
        Prepare {
            cpu: into.cpu,
            x,
            len,
            precision,
            panels,
            rows: into.cpu.matrix_rows(),
            run,
            claims: Claims::new(panels.count() * blocks.div_ceil(run)),
            codes: SharedOutput::new(&mut into.codes[..codes]),
            floats: SharedOutput::new(&mut into.floats[..floats]),
            pairs: SharedOutput::new(&mut into.pairs[..pairs]),
            parted: SharedOutput::new(&mut into.parted[..parted]),
        }
    }

    /// Prepares pieces until none is left. Any number of threads may call it at once.
    pub fn work(&self) {
        self.cpu.run(Work(self));
    }

    /// The blocks and the columns of a piece.
    #[inline(always)]
    fn piece(&self, claim: usize) -> (Range<usize>, Range<usize>) {
        let panels = self.panels.count();
        let first = claim / panels * self.run;
        let last = (first + self.run).min(self.len.div_ceil(SUPER));
        (first..last, self.panels.get(claim % panels))
    }
}

struct Work<'a, 'b>(&'b Prepare<'a>);

impl Kernel for Work<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let job = self.0;
        let all_columns = job.x.len() / job.len;
        while let Some(claim) = job.claims.claim() {
            let (blocks, columns) = job.piece(claim);
            let width = columns.len();
            for block in blocks {
                let values = block * SUPER..job.len.min((block + 1) * SUPER);
                if job.precision.serves(Precision::FLOAT) {
                    floats(job, &columns, &values);
                }
                if job.precision.serves(Precision::BF16) {
                    bfloat16(job, &columns, &values);
                }
                if job.precision.serves(Precision::INT8) {
                    let start = (block * all_columns + columns.start) * part::TOTAL;
                    // SAFETY: as above, with blocks for values.
                    #[allow(unsafe_code)]
                    let out = unsafe { job.codes.piece(start..start + width * part::TOTAL) };
                    for (c, column) in columns.clone().enumerate() {
                        let x = &job.x[column * job.len..][values.clone()];
                        quantize(simd, job, x, (c, width, &mut *out));
                    }
                }
            }
        }
    }
}

/// Writes a block of values of the columns of a panel, and zeros up to a whole vector.
#[inline(always)]
fn floats(job: &Prepare<'_>, columns: &Range<usize>, values: &Range<usize>) {
    let len = job.len.next_multiple_of(WIDTH);
    let end = values.end.next_multiple_of(WIDTH);
    let width = columns.len();
    if !apart(job.x.len() / job.len) {
        let start = columns.start * len;
        let piece = start + values.start * width..start + end * width;
        // SAFETY: claims are different pairs of panel and run of blocks, so no two write the same
        // values of the same columns.
        #[allow(unsafe_code)]
        let out = unsafe { job.floats.piece(piece) };
        for (c, column) in columns.clone().enumerate() {
            let x = &job.x[column * job.len..][values.clone()];
            interleave(x, &mut out[c..], width);
        }
        return;
    }
    for column in columns.clone() {
        let x = &job.x[column * job.len..][values.clone()];
        let start = column * len;
        // SAFETY: as above.
        #[allow(unsafe_code)]
        let out = unsafe { job.floats.piece(start + values.start..start + end) };
        let (out, rest) = out.split_at_mut(x.len());
        out.copy_from_slice(x);
        rest.fill(0.0);
    }
}

/// Writes a block of values of the columns of a panel, rounded to bfloat16.
#[inline(always)]
fn bfloat16(job: &Prepare<'_>, columns: &Range<usize>, values: &Range<usize>) {
    let len = job.len.next_multiple_of(PAIRED);
    for (c, column) in columns.clone().enumerate() {
        let x = &job.x[column * job.len..][values.clone()];
        if job.pairs.len() > 0 {
            let mut words = [0; SUPER / 2];
            let count = bf16::pairs(x, &mut words);
            let (start, len) = (values.start / 2, len / 2);
            place(job, &job.pairs, &words[..count], (c, columns, start, len));
        } else {
            let mut floats = [0.0; SUPER];
            let count = bf16::parted(x, &mut floats);
            let at = (c, columns, values.start, len);
            place(job, &job.parted, &floats[..count], at);
        }
    }
}

/// Writes numbers of the column number `c` of a panel of `columns`, those from `start` on of `len`.
#[inline(always)]
fn place<T: Copy>(
    job: &Prepare<'_>,
    out: &SharedOutput<'_, T>,
    numbers: &[T],
    (c, columns, start, len): (usize, &Range<usize>, usize, usize),
) {
    let end = start + numbers.len();
    if apart(job.x.len() / job.len) {
        let first = (columns.start + c) * len;
        // SAFETY: as in `floats`.
        #[allow(unsafe_code)]
        let out = unsafe { out.piece(first + start..first + end) };
        out.copy_from_slice(numbers);
        return;
    }
    let width = columns.len();
    let first = columns.start * len;
    // SAFETY: as in `floats`; the pieces of the panel's columns are taken one after the other.
    #[allow(unsafe_code)]
    let out = unsafe { out.piece(first + start * width..first + end * width) };
    for (out, number) in out.chunks_exact_mut(width).zip(numbers) {
        out[c] = *number;
    }
}

/// Writes a block of values of one column, and zeros behind them, to every `width`-th place.
#[inline(always)]
fn interleave(x: &[f32], out: &mut [f32], width: usize) {
    let (values, rest) = out.split_at_mut(out.len().min(x.len() * width));
    for (out, &x) in values.chunks_mut(width).zip(x) {
        out[0] = x;
    }
    for out in rest.chunks_mut(width) {
        out[0] = 0.0;
    }
}

/// Quantizes a block of values, at most 256, into column `c` of the block `out` of a panel of `width`.
#[inline(always)]
fn quantize<S: Simd>(
    simd: S,
    job: &Prepare<'_>,
    x: &[f32],
    (c, width, out): (usize, usize, &mut [i32]),
) {
    let mut padded = [0.0; SUPER];
    let x = match <&[f32; SUPER]>::try_from(x) {
        Ok(x) => x,
        Err(_) => {
            padded[..x.len()].copy_from_slice(x);
            &padded
        }
    };
    let mut block = Block {
        codes: [0; SUPER],
        scales: [Scale::ONE; GROUPS],
        sums: [[0; 2]; GROUPS],
    };
    let (groups, _) = x.as_chunks::<GROUP>();
    for (g, x) in groups.iter().enumerate() {
        let codes = &mut block.codes[g * GROUP..(g + 1) * GROUP];
        (block.scales[g], block.sums[g]) = group(simd, x, codes);
    }
    block.write_codes::<S>(c, width, out);
    block.write_numbers(job, width, &mut out[c..]);
}

/// A block of values, quantized.
struct Block {
    codes: [u8; SUPER],
    scales: [Scale; GROUPS],
    /// Sums of the codes of each half of each group.
    sums: [[i32; 2]; GROUPS],
}

impl Block {
    /// Writes the codes.
    #[inline(always)]
    fn write_codes<S: Lanes>(&self, c: usize, width: usize, out: &mut [i32]) {
        let (words, _) = self.codes.as_chunks::<4>();
        for (n, word) in words.iter().enumerate() {
            let (first, within) = (n / S::WORDS * S::WORDS, n % S::WORDS);
            let at = (part::CODES + first) * width + c * S::WORDS + within;
            out[at] = i32::from_le_bytes(*word);
        }
    }

    /// Writes what else the job's precision wants; `out` begins at the column.
    #[inline(always)]
    fn write_numbers(&self, job: &Prepare<'_>, width: usize, out: &mut [i32]) {
        for (g, (scale, [low, high])) in self.scales.iter().zip(self.sums).enumerate() {
            out[(part::STARTS32 + g) * width] = -START_OFFSET * (low + high);
            out[(part::EXPONENTS + g) * width] = scale.exponent().to_bits() as i32;
            out[(part::VARIANTS + g) * width] = (scale.variant() * job.rows) as i32;
            out[(part::SCALES + g) * width] = scale.value().to_bits() as i32;
        }
        if job.precision.serves(Precision::STARTS16) {
            for (half, sum) in self.sums.as_flattened().iter().enumerate() {
                out[(part::STARTS16 + half) * width] = -START_OFFSET * sum;
            }
        }
        let wants = |sums: Precision| job.precision.serves(sums);
        if wants(Precision::TOTALS32) || wants(Precision::PAIRS32) {
            let mut totals = [0.0; GROUPS];
            for (total, (scale, [low, high])) in
                totals.iter_mut().zip(self.scales.iter().zip(self.sums))
            {
                *total = (low + high) as f32 * scale.value();
            }
            if wants(Precision::TOTALS32) {
                for (g, total) in totals.iter().enumerate() {
                    out[(part::TOTALS32 + g) * width] = total.to_bits() as i32;
                }
            }
            if wants(Precision::PAIRS32) {
                write_pairs(&totals, (part::PAIRS32, part::UNIT32), width, out);
            }
        }
        if wants(Precision::PAIRS16) {
            let mut totals = [0.0; 2 * GROUPS];
            for (half, total) in totals.iter_mut().enumerate() {
                *total = self.sums[half / 2][half % 2] as f32 * self.scales[half / 2].value();
            }
            write_pairs(&totals, (part::PAIRS16, part::UNIT16), width, out);
        }
    }
}

/// Writes totals as 16-bit integers in units of a power of two, the smallest for which they fit.
#[inline(always)]
fn write_pairs(totals: &[f32], parts: (usize, usize), width: usize, out: &mut [i32]) {
    let mut largest = 0u32;
    for total in totals {
        largest = largest.max(total.abs().to_bits());
    }
    let (pairs, unit) = parts;
    let exponent = ((f32::from_bits(largest) / 32767.0).to_bits() + 0x7f_ffff) >> 23;
    let (exponent, power) = match largest {
        0 => (0.0, 1.0),
        _ if exponent >= 255 => (f32::NAN, f32::NAN),
        _ => (exponent as f32 - 127.0, f32::from_bits(exponent << 23)),
    };
    let inverse = 1.0 / power;
    let integer = |total: f32| {
        let bits = (total * inverse + ROUND).to_bits() as i32;
        bits.wrapping_sub(ROUND.to_bits() as i32)
    };
    let (words, _) = totals.as_chunks::<2>();
    for (j, [low, high]) in words.iter().enumerate() {
        out[(pairs + j) * width] = (integer(*low) & 0xffff) | (integer(*high) << 16);
    }
    out[unit * width] = power.to_bits() as i32;
    out[(unit + 1) * width] = exponent.to_bits() as i32;
}

/// A scale of five digits: the bits of a float of which the lowest nineteen are zero.
#[derive(Clone, Copy)]
struct Scale(u32);

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
    fn value(self) -> f32 {
        f32::from_bits(self.0)
    }

    #[inline(always)]
    fn variant(self) -> usize {
        (self.0 >> 19) as usize % VARIANTS
    }

    #[inline(always)]
    fn exponent(self) -> f32 {
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

/// Quantizes a group: its codes, as bytes, its scale, and the sums of each half's codes.
#[inline(always)]
fn group<S: Floats>(simd: S, x: &[f32; GROUP], codes: &mut [u8]) -> (Scale, [i32; 2]) {
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
        for (code, float) in codes[half * WIDTH..].iter_mut().zip(floats) {
            *code = float.to_bits() as u8;
        }
    }
    (scale, sums)
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
    let round = simd.splat(ROUND);
    let mut sum = simd.zero();
    for x in x {
        let y = simd.mul(x, inverse);
        let code = simd.sub(rounded(simd, y), round);
        let difference = simd.sub(code, y);
        sum = simd.multiply_add(difference, difference, sum);
    }
    simd.sum(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

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
                    let mut codes = [0; GROUP];
                    let (scale, sums) = group(simd, x, &mut codes);
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
