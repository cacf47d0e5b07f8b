//! Where the numbers of quantized blocks go: the words of [`super::part`], of a column of a panel or of
//! two that are neighbours.
//!
//! How values are made codes is the business of [`super::quantize`].

use super::quantize::{Blocks, GROUP_WORDS, GROUPS, ROUND, Scale, whole};
use super::{Precision, START_OFFSET, part};
use crate::formats::SUPER;
use crate::isa::{Lanes, WIDTH};

impl Blocks {
    /// Writes `N` of the blocks, from number `first` on, to neighbouring columns of a panel: the codes,
    /// and what else `precision` wants for vectors of `rows` lanes.
    #[inline(always)]
    pub(super) fn write<S: Lanes, const N: usize>(
        &self,
        first: usize,
        (precision, rows): (Precision, usize),
        mut to: Columns<'_>,
    ) {
        to.put_codes::<S, N>(&self.codes, first);
        let mut sums = [0; WIDTH];
        let mut starts = [[0; WIDTH]; 3];
        let mut exponents = [0; WIDTH];
        let mut variants = [0; WIDTH];
        let mut scales = [0; WIDTH];
        for lane in 0..WIDTH {
            let [low, high] = [self.sums[0][lane], self.sums[1][lane]];
            sums[lane] = low + high;
            starts[0][lane] = -START_OFFSET * (low + high);
            starts[1][lane] = -START_OFFSET * low;
            starts[2][lane] = -START_OFFSET * high;
            let scale = self.scales[lane];
            exponents[lane] = scale.exponent().to_bits().cast_signed();
            variants[lane] = (scale.variant() * rows) as i32;
            scales[lane] = scale.value().to_bits().cast_signed();
        }
        let [starts, low, high] = &starts;
        to.put::<N, 1>(part::STARTS32, [starts], first);
        to.put::<N, 1>(part::EXPONENTS, [&exponents], first);
        to.put::<N, 1>(part::VARIANTS, [&variants], first);
        to.put::<N, 1>(part::SCALES, [&scales], first);
        let wants = |sums: Precision| precision.serves(sums);
        if wants(Precision::STARTS16) {
            to.put::<N, 2>(part::STARTS16, [low, high], first);
        }
        if wants(Precision::TOTALS32) || wants(Precision::PAIRS32) {
            let totals = totals(&sums, &self.scales);
            if wants(Precision::TOTALS32) {
                let mut bits = [0; WIDTH];
                for (bits, total) in bits.iter_mut().zip(totals) {
                    *bits = total.to_bits().cast_signed();
                }
                to.put::<N, 1>(part::TOTALS32, [&bits], first);
            }
            if wants(Precision::PAIRS32) {
                let pairs = Pairs::of(&[totals]);
                to.put_pairs::<N, 1>((part::PAIRS32, part::UNIT32), &pairs, first);
            }
        }
        if wants(Precision::PAIRS16) {
            let [low, high] = &self.sums;
            let pairs = Pairs::of(&[totals(low, &self.scales), totals(high, &self.scales)]);
            to.put_pairs::<N, 2>((part::PAIRS16, part::UNIT16), &pairs, first);
        }
    }
}

/// The sums of values that sums of codes stand for.
#[inline(always)]
fn totals(sums: &[i32; WIDTH], scales: &[Scale; WIDTH]) -> [f32; WIDTH] {
    let mut totals = [0.0; WIDTH];
    for lane in 0..WIDTH {
        totals[lane] = sums[lane] as f32 * scales[lane].value();
    }
    totals
}

/// Totals of two blocks as 16-bit integers in units of a power of two, for each block the smallest for
/// which they fit.
struct Pairs<const H: usize> {
    /// The integers of each part of a group.
    integers: [[i32; WIDTH]; H],
    /// The unit and its exponent, floats.
    units: [[i32; 2]; 2],
}

impl<const H: usize> Pairs<H> {
    /// Of `H` totals for each group.
    #[inline(always)]
    fn of(totals: &[[f32; WIDTH]; H]) -> Self {
        let mut largest = [0u32; WIDTH];
        for totals in totals {
            for (largest, total) in largest.iter_mut().zip(totals) {
                *largest = (*largest).max(total.abs().to_bits());
            }
        }
        for lanes in [8, 4, 2] {
            for lane in 0..lanes {
                largest[lane] = largest[lane].max(largest[lane + lanes]);
            }
        }
        let mut units = [[0; 2]; 2];
        let mut inverse = [0.0; WIDTH];
        for i in 0..2 {
            let largest = largest[i];
            let exponent = ((f32::from_bits(largest) / 32767.0).to_bits() + 0x7f_ffff) >> 23;
            let (exponent, power) = match largest {
                0 => (0.0, 1.0),
                _ if exponent >= 255 => (f32::NAN, f32::NAN),
                _ => (exponent as f32 - 127.0, f32::from_bits(exponent << 23)),
            };
            units[0][i] = power.to_bits().cast_signed();
            units[1][i] = exponent.to_bits().cast_signed();
            for inverse in inverse[i..].iter_mut().step_by(2) {
                *inverse = 1.0 / power;
            }
        }
        let mut integers = [[0; WIDTH]; H];
        for (integers, totals) in integers.iter_mut().zip(totals) {
            for lane in 0..WIDTH {
                integers[lane] = whole(totals[lane] * inverse[lane] + ROUND);
            }
        }
        Pairs { integers, units }
    }
}

/// Neighbouring columns of a block of a panel, to be written.
pub(super) struct Columns<'o> {
    words: &'o mut [i32], // (words, width)
    width: usize,
    first: usize,
}

impl<'o> Columns<'o> {
    /// The columns of `words`, of a panel of `width`, from `first` on.
    #[inline(always)]
    pub(super) fn new(words: &'o mut [i32], width: usize, first: usize) -> Self {
        assert!(first < width && words.len() == part::TOTAL * width);
        Columns {
            words,
            width,
            first,
        }
    }

    /// So many words from `word` on, of all columns.
    #[inline(always)]
    fn rows(&mut self, word: usize, count: usize) -> &mut [i32] {
        &mut self.words[word * self.width..][..count * self.width]
    }

    /// Writes the numbers of `N` blocks from number `first` on, `H` for each group, from word `word` on.
    #[inline(always)]
    fn put<const N: usize, const H: usize>(
        &mut self,
        word: usize,
        numbers: [&[i32; WIDTH]; H],
        first: usize,
    ) {
        let (width, c) = (self.width, self.first);
        let rows = self.rows(word, GROUPS * H);
        for (g, rows) in rows.chunks_exact_mut(H * width).enumerate() {
            for (row, numbers) in rows.chunks_exact_mut(width).zip(numbers) {
                row[c..][..N].copy_from_slice(&numbers[2 * g + first..][..N]);
            }
        }
    }

    /// Writes codes likewise.
    #[inline(always)]
    fn put_codes<S: Lanes, const N: usize>(
        &mut self,
        codes: &[[i32; WIDTH]; GROUP_WORDS],
        first: usize,
    ) {
        if S::WORDS == 1 {
            return self.put::<N, GROUP_WORDS>(part::CODES, codes.each_ref(), first);
        }
        let (width, c) = (self.width, self.first);
        let rows = self.rows(part::CODES, SUPER / 4);
        for (n, rows) in rows.chunks_exact_mut(S::WORDS * width).enumerate() {
            for i in 0..N {
                let to = &mut rows[(c + i) * S::WORDS..][..S::WORDS];
                for (w, to) in to.iter_mut().enumerate() {
                    let word = n * S::WORDS + w;
                    *to = codes[word % GROUP_WORDS][word / GROUP_WORDS * 2 + first + i];
                }
            }
        }
    }

    /// Writes pairs of integers, and their unit, to the words named.
    #[inline(always)]
    fn put_pairs<const N: usize, const H: usize>(
        &mut self,
        (word, unit): (usize, usize),
        pairs: &Pairs<H>,
        first: usize,
    ) {
        let (width, c) = (self.width, self.first);
        let rows = self.rows(word, GROUPS * H / 2);
        for (n, row) in rows.chunks_exact_mut(width).enumerate() {
            for (i, to) in row[c..][..N].iter_mut().enumerate() {
                let integer = |half: usize| pairs.integers[half % H][half / H * 2 + first + i];
                *to = (integer(2 * n) & 0xffff) | (integer(2 * n + 1) << 16);
            }
        }
        for (row, unit) in self.rows(unit, 2).chunks_exact_mut(width).zip(pairs.units) {
            row[c..][..N].copy_from_slice(&unit[first..][..N]);
        }
    }
}
