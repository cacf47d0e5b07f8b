//! Columns of activations, prepared once for all the matrix products that read them.
//!
//! For quantized weights a column becomes int8 codes with one scale per 32 values, and the sums of
//! its codes over groups, which carry the offsets and minimums of the weights ([`prepare`] says
//! how). For float weights it stays in floats, and for BF16 weights it is rounded to their precision
//! ([`bf16`]). In each case columns are interleaved in panels of as many as the matrix kernel keeps in
//! registers, but for a few columns of floats or bfloat16, which lie apart.

mod bf16;
mod columns;
mod filling;
mod prepare;
mod quantize;

pub(crate) use bf16::{PAIRED, SMALLEST_WEIGHT};
pub(crate) use filling::{Filling, Values};

pub use prepare::Prepare;

use crate::aligned::Aligned;
use crate::format::{BlockTask, Format};
use crate::formats::{Block, SUPER};
use crate::isa::{Cpu, WIDTH};
use crate::matmul::Weights;
use crate::pages::ask_for_huge_pages;
use std::ops::Range;

/// Where the parts of one block of a panel lie, in words per column; a part holds its words column
/// by column, `[word][column]`. Where the instruction set wants words of codes together
/// (`Lanes::WORDS`), that part is `[word / 2][column][word % 2]`.
///
/// A scale is `(1 + v / 16) · 2ᵉ`: it stands there as a whole, and as the variant `v` and the
/// exponent `e`, for kernels that look the product with a variant up and add the exponent.
pub(crate) mod part {
    use super::SUPER;

    /// Codes, four to a word.
    pub(crate) const CODES: usize = 0;
    /// −128 times the sum of the codes over each 32, as integers.
    pub(crate) const STARTS32: usize = CODES + SUPER / 4;
    /// The exponent of each 32's scale, a whole float.
    pub(crate) const EXPONENTS: usize = STARTS32 + 8;
    /// The variant of each 32's scale, as the place of its vector in a table of vectors of floats.
    pub(crate) const VARIANTS: usize = EXPONENTS + 8;
    /// The scale of each 32; a value is `scale * code`.
    pub(crate) const SCALES: usize = VARIANTS + 8;
    /// −128 times the sum of the codes over each 16.
    pub(crate) const STARTS16: usize = SCALES + 8;
    /// The sum of the values over each 32.
    pub(crate) const TOTALS32: usize = STARTS16 + 16;
    /// The same in units of [`UNIT32`], two 16-bit integers to a word.
    pub(crate) const PAIRS32: usize = TOTALS32 + 8;
    /// The power of two that [`PAIRS32`] count, and its exponent.
    pub(crate) const UNIT32: usize = PAIRS32 + 4;
    /// The sum of the values over each 16 in units of [`UNIT16`], two 16-bit integers to a word.
    pub(crate) const PAIRS16: usize = UNIT32 + 2;
    /// The power of two that [`PAIRS16`] count, and its exponent.
    pub(crate) const UNIT16: usize = PAIRS16 + 8;

    /// Words per column and block.
    pub(crate) const TOTAL: usize = UNIT16 + 2;
}

/// What the factor in the starts is: the offset of a signed byte made unsigned.
pub(crate) const START_OFFSET: i32 = 128;

/// Variants of a scale: its mantissa counts sixteenths.
pub(crate) const VARIANTS: usize = 16;

/// What a matrix product reads its activations as: a set, where products with several kinds of
/// weights read the same activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision(u8);

impl Precision {
    /// Floats.
    pub(crate) const FLOAT: Precision = Precision(1);
    /// int8 codes with a scale for every 32, and what takes away the offset of codes in groups of 32.
    pub(crate) const INT8: Precision = Precision(2);
    /// What takes away the offset of codes in groups of 16.
    pub(crate) const STARTS16: Precision = Precision(4);
    /// Sums over each 32, for minimums that are floats.
    pub(crate) const TOTALS32: Precision = Precision(8);
    /// Sums over each 32, for minimums that are integers.
    pub(crate) const PAIRS32: Precision = Precision(16);
    /// Sums over each 16, for minimums that are integers.
    pub(crate) const PAIRS16: Precision = Precision(32);
    /// bfloat16.
    pub(crate) const BF16: Precision = Precision(64);

    /// What a product with weights of `format` needs: floats for F32 and F16 weights, bfloat16 for
    /// BF16 weights, else int8 codes with a scale for every 32 values, and the sums that its offsets
    /// and minimums ask for.
    pub fn of(format: Format) -> Precision {
        struct Needs;
        impl BlockTask for Needs {
            type Output = Precision;

            fn run<B: Block + Weights>(self) -> Precision {
                B::PRECISION
            }
        }
        format.run(Needs)
    }

    /// What serves both `self` and `other`.
    pub const fn and(self, other: Precision) -> Precision {
        Precision(self.0 | other.0)
    }

    /// Whether all of `other` is served.
    pub(crate) const fn serves(self, other: Precision) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Columns prepared for matrix products. Made once with room for the largest use, and filled by
/// [`Prepare`] again and again.
#[derive(Debug)]
pub struct Activations {
    cpu: Cpu,
    /// Words of a column's codes that lie together.
    words: usize,
    columns: usize,
    len: usize,
    precision: Precision,
    codes: Vec<i32>, // (blocks, panels, part::TOTAL, width)
    /// Columns end with zeros, up to a whole number of vectors.
    floats: Aligned<f32>, // (columns, len) where they lie apart, else (panels, len, width)
    /// Rounded values likewise, two to a word, where the instruction set adds products of pairs.
    pairs: Aligned<i32>, // (columns, len / 2) or (panels, len / 2, width)
    /// The same as floats, where it does not.
    parted: Aligned<f32>, // (columns, len) or (panels, len, width)
}

/// With so many columns of floats or bfloat16 or fewer, each lies by itself, for kernels that read
/// rows in their order; more are interleaved in panels, for tiles, which then are faster.
const APART: usize = 32;

impl Activations {
    /// Room for `columns` columns of `len` values, or for fewer and shorter ones.
    pub fn with_capacity(cpu: Cpu, columns: usize, len: usize) -> Activations {
        const MEMORY: &str = "memory for activations";
        let (pairs, parted) = bf16_room(cpu, columns, len.next_multiple_of(PAIRED));
        Activations {
            cpu,
            words: cpu.matrix_shape().words,
            columns: 0,
            len: 0,
            precision: Precision(0),
            codes: vec![0; columns * len.div_ceil(SUPER) * part::TOTAL],
            floats: Aligned::zeros(columns * len.next_multiple_of(WIDTH)).expect(MEMORY),
            pairs: Aligned::zeros(pairs).expect(MEMORY),
            parted: Aligned::zeros(parted).expect(MEMORY),
        }
    }

    /// Bytes that [`Activations::with_capacity`] takes; saturates.
    pub fn bytes(cpu: Cpu, columns: usize, len: usize) -> usize {
        let (pairs, parted) = bf16_room(cpu, 1, len.div_ceil(PAIRED).saturating_mul(PAIRED));
        let words = len
            .div_ceil(SUPER)
            .saturating_mul(part::TOTAL)
            .saturating_add(len.div_ceil(WIDTH).saturating_mul(WIDTH))
            .saturating_add(pairs + parted);
        let aligned = Aligned::<f32>::bytes(0).unwrap_or(0);
        words
            .saturating_mul(columns)
            .saturating_mul(4)
            .saturating_add(3 * aligned)
    }

    /// Asks the system to hold them in huge pages, best before they are first filled.
    pub fn ask_for_huge_pages(&self) {
        ask_for_huge_pages(&self.codes);
        ask_for_huge_pages(&self.floats);
        ask_for_huge_pages(&self.pairs);
        ask_for_huge_pages(&self.parted);
    }

    /// Columns now held.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Values per column.
    pub fn column_len(&self) -> usize {
        self.len
    }

    /// Whether all numbers are the same, bit for bit.
    #[cfg(test)]
    pub(crate) fn same_as(&self, other: &Activations) -> bool {
        let bits = |floats: &[f32]| floats.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        self.codes == other.codes
            && bits(&self.floats) == bits(&other.floats)
            && self.pairs[..] == other.pairs[..]
            && bits(&self.parted) == bits(&other.parted)
    }

    pub(crate) fn cpu(&self) -> Cpu {
        self.cpu
    }

    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// Words of a column's codes that lie together.
    #[inline(always)]
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// The panels that the columns are held in.
    pub(crate) fn panels(&self) -> Panels {
        let shape = self.cpu.matrix_shape();
        Panels::new(self.columns, shape.columns, shape.full_columns)
    }

    /// The words of a block of a panel: (`part::TOTAL`, width).
    #[inline(always)]
    pub(crate) fn block_codes(&self, block: usize, columns: Range<usize>) -> &[i32] {
        let first = (block * self.columns + columns.start) * part::TOTAL;
        &self.codes[first..first + columns.len() * part::TOTAL]
    }

    /// Whether each column of floats lies by itself.
    #[inline(always)]
    pub(crate) fn apart(&self) -> bool {
        apart(self.columns)
    }

    /// Whether bfloat16 lie two to a word.
    #[inline(always)]
    pub(crate) fn in_pairs(&self) -> bool {
        !self.pairs.is_empty()
    }

    /// The floats of columns that lie apart: for each its vectors.
    #[inline(always)]
    pub(crate) fn column_floats(&self, column: usize) -> &[[f32; WIDTH]] {
        debug_assert!(self.apart());
        column_of(&self.floats, column, self.len.next_multiple_of(WIDTH))
    }

    /// The floats of a panel: (len, width).
    #[inline(always)]
    pub(crate) fn panel_floats(&self, columns: &Range<usize>) -> &[f32] {
        debug_assert!(!self.apart());
        panel_of(&self.floats, columns, self.len.next_multiple_of(WIDTH))
    }

    /// The pairs of columns that lie apart: for each its vectors.
    #[inline(always)]
    pub(crate) fn column_pairs(&self, column: usize) -> &[[i32; WIDTH]] {
        debug_assert!(self.apart());
        column_of(&self.pairs, column, self.len.next_multiple_of(PAIRED) / 2)
    }

    /// The pairs of a panel: (len / 2, width).
    #[inline(always)]
    pub(crate) fn panel_pairs(&self, columns: &Range<usize>) -> &[i32] {
        debug_assert!(!self.apart());
        panel_of(&self.pairs, columns, self.len.next_multiple_of(PAIRED) / 2)
    }

    /// The rounded floats of columns that lie apart: for each its vectors.
    #[inline(always)]
    pub(crate) fn column_parted(&self, column: usize) -> &[[f32; WIDTH]] {
        debug_assert!(self.apart());
        column_of(&self.parted, column, self.len.next_multiple_of(PAIRED))
    }

    /// The rounded floats of a panel: (len, width).
    #[inline(always)]
    pub(crate) fn panel_parted(&self, columns: &Range<usize>) -> &[f32] {
        debug_assert!(!self.apart());
        panel_of(&self.parted, columns, self.len.next_multiple_of(PAIRED))
    }
}

/// Words of pairs, and floats, that bfloat16 activations take.
fn bf16_room(cpu: Cpu, columns: usize, padded: usize) -> (usize, usize) {
    match cpu.dots_bf16() {
        true => (columns * (padded / 2), 0),
        false => (0, columns * padded),
    }
}

/// The vectors of a column of `len` numbers that lies apart.
#[inline(always)]
fn column_of<T>(numbers: &[T], column: usize, len: usize) -> &[[T; WIDTH]] {
    let vectors = len / WIDTH;
    &numbers.as_chunks().0[column * vectors..(column + 1) * vectors]
}

/// The numbers of a panel of columns of `len`.
#[inline(always)]
fn panel_of<'a, T>(numbers: &'a [T], columns: &Range<usize>, len: usize) -> &'a [T] {
    &numbers[columns.start * len..columns.end * len]
}

/// Whether each of so many columns of floats lies by itself.
#[inline(always)]
fn apart(columns: usize) -> bool {
    columns <= APART
}

/// Columns divided into panels: as many of full width as there are, if there are many; if there
/// are few, panels whose widths differ by at most one, so that none is so narrow that it costs
/// more than its share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels {
    columns: usize,
    full_width: usize,
    /// Panels of full width, before those of nearly equal width.
    full: usize,
    /// Panels of nearly equal width.
    equal: usize,
}

/// With so many full panels, what does not fill one is a small part of the whole.
const MANY: usize = 8;

/// With so many, columns are many where what does not fill one can be added to it, so that no panel is
/// narrow.
const MANY_WIDENED: usize = 5;

impl Panels {
    /// Panels of at most `width` columns, and of `full_width`, which is not more, where there are many.
    pub(crate) fn new(columns: usize, width: usize, full_width: usize) -> Panels {
        debug_assert!(full_width <= width);
        let many = if full_width < width {
            MANY_WIDENED
        } else {
            MANY
        };
        let full = match columns / full_width {
            full if full < many => 0,
            // The rest and one full panel are a panel that is not too wide.
            full if (1..=width - full_width).contains(&(columns % full_width)) => full - 1,
            full => full,
        };
        Panels {
            columns,
            full_width,
            full,
            equal: (columns - full * full_width).div_ceil(width),
        }
    }

    /// How many panels.
    pub(crate) fn count(self) -> usize {
        self.full + self.equal
    }

    /// How many panels there are of full width before all others, where there are many; else 0.
    pub(crate) fn full(self) -> usize {
        self.full
    }

    /// The columns of a panel.
    pub(crate) fn get(self, panel: usize) -> Range<usize> {
        if panel < self.full {
            return panel * self.full_width..(panel + 1) * self.full_width;
        }
        let first = self.full * self.full_width;
        let panel = panel - self.full;
        let rest = self.columns - first;
        let (width, wider) = (rest / self.equal, rest % self.equal);
        let start = first + panel * width + panel.min(wider);
        start..start + width + usize::from(panel < wider)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_cover_every_column_once() {
        for (width, full_width) in [(4, 4), (8, 8), (8, 6)] {
            for columns in 0..200 {
                let panels = Panels::new(columns, width, full_width);
                let mut next = 0;
                for panel in 0..panels.count() {
                    let columns = panels.get(panel);
                    assert_eq!(columns.start, next);
                    assert!((1..=width).contains(&columns.len()));
                    assert!(panel >= panels.full() || columns.len() == full_width);
                    next = columns.end;
                }
                assert_eq!(next, columns);
            }
        }
    }

    #[test]
    fn few_columns_are_divided_evenly() {
        let widths = |columns, full_width| {
            let panels = Panels::new(columns, 8, full_width);
            (0..panels.count())
                .map(|panel| panels.get(panel).len())
                .collect::<Vec<_>>()
        };
        assert_eq!(widths(9, 8), [5, 4]);
        assert_eq!(widths(17, 8), [6, 6, 5]);
        assert_eq!(widths(66, 8), [8, 8, 8, 8, 8, 8, 8, 8, 2]);
        assert_eq!(widths(66, 6), [6; 11]);
        assert_eq!(widths(67, 6), [6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 7]);
        assert_eq!(widths(69, 6), [6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 3]);
    }
}
