//! [`Activations`] while they are filled: where the values of a block of a panel go, in which of the
//! forms that kernels read.
//!
//! Who fills what is the business of jobs; how values are made codes, that of [`super::quantize`], and
//! where the numbers of a block go, that of [`super::columns`].

use super::columns::Columns;
use super::quantize::Blocks;
use super::{Activations, PAIRED, Panels, Precision, apart, bf16, part};
use crate::aligned::LINE;
use crate::formats::SUPER;
use crate::isa::{Cpu, Simd, WIDTH};
use crate::jobs::SharedOutput;
use std::ops::Range;

/// Activations that several threads fill, different blocks of different panels of columns at once.
pub(crate) struct Filling<'a> {
    cpu: Cpu,
    columns: usize,
    len: usize,
    precision: Precision,
    panels: Panels,
    /// Lanes of the kernels' vectors.
    rows: usize,
    codes: SharedOutput<'a, i32>,
    floats: SharedOutput<'a, f32>,
    /// bfloat16, in one of the two ways.
    pairs: SharedOutput<'a, i32>,
    parted: SharedOutput<'a, f32>,
}

/// Values of columns: (columns, `stride`), the first of them value `first` of column `column`.
#[derive(Clone, Copy)]
pub(crate) struct Values<'x> {
    pub(crate) x: &'x [f32],
    pub(crate) stride: usize,
    pub(crate) column: usize,
    pub(crate) first: usize,
}

impl<'x> Values<'x> {
    /// Some values of a column.
    #[inline(always)]
    fn of(self, column: usize, values: Range<usize>) -> &'x [f32] {
        let start = (column - self.column) * self.stride;
        &self.x[start + values.start - self.first..start + values.end - self.first]
    }
}

impl<'a> Filling<'a> {
    /// Will fill `into` with so many columns of `len` values.
    ///
    /// # Panics
    ///
    /// If that is more than `into` was made for.
    pub(crate) fn new(
        (columns, len): (usize, usize),
        precision: Precision,
        into: &'a mut Activations,
    ) -> Filling<'a> {
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
        Filling {
            cpu: into.cpu,
            columns,
            len,
            precision,
            panels: into.panels(),
            rows: into.cpu.matrix_rows(),
            codes: SharedOutput::new(&mut into.codes[..codes]),
            floats: SharedOutput::new(&mut into.floats[..floats]),
            pairs: SharedOutput::new(&mut into.pairs[..pairs]),
            parted: SharedOutput::new(&mut into.parted[..parted]),
        }
    }

    pub(crate) fn cpu(&self) -> Cpu {
        self.cpu
    }

    /// How many blocks a column has.
    pub(crate) fn blocks(&self) -> usize {
        self.len.div_ceil(SUPER)
    }

    /// The panels of the columns.
    pub(crate) fn panels(&self) -> Panels {
        self.panels
    }

    /// The values of some blocks of a column.
    #[inline(always)]
    pub(crate) fn values(&self, blocks: Range<usize>) -> Range<usize> {
        blocks.start * SUPER..self.len.min(blocks.end * SUPER)
    }

    /// Writes blocks of the `columns` of a panel, whose values `x` holds.
    ///
    /// # Safety
    ///
    /// No two threads write the same blocks of the same panel.
    #[allow(unsafe_code)]
    #[inline(always)]
    pub(crate) unsafe fn write<S: Simd>(
        &self,
        simd: S,
        (blocks, columns): (Range<usize>, Range<usize>),
        x: Values<'_>,
    ) {
        for block in blocks.clone() {
            let values = self.values(block..block + 1);
            if self.precision.serves(Precision::FLOAT) {
                // SAFETY: the caller's promise.
                unsafe { self.write_floats(&columns, &values, x) };
            }
            if self.precision.serves(Precision::BF16) {
                // SAFETY: the caller's promise.
                unsafe { self.write_bfloat16(&columns, &values, x) };
            }
        }
        if self.precision.serves(Precision::INT8) {
            // SAFETY: the caller's promise.
            unsafe { self.write_codes(simd, (blocks, columns), x) };
        }
    }

    /// Writes a block of values, and zeros up to a whole vector.
    ///
    /// # Safety
    ///
    /// As for [`Filling::write`].
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn write_floats(&self, columns: &Range<usize>, values: &Range<usize>, x: Values<'_>) {
        let len = self.len.next_multiple_of(WIDTH);
        let end = values.end.next_multiple_of(WIDTH);
        let width = columns.len();
        if !apart(self.columns) {
            let start = columns.start * len;
            let piece = start + values.start * width..start + end * width;
            // SAFETY: the values of a block of a panel, which nobody else writes.
            let out = unsafe { self.floats.piece(piece) };
            for (c, column) in columns.clone().enumerate() {
                interleave(x.of(column, values.clone()), &mut out[c..], width);
            }
            return;
        }
        for column in columns.clone() {
            let x = x.of(column, values.clone());
            let start = column * len;
            // SAFETY: as above.
            let out = unsafe { self.floats.piece(start + values.start..start + end) };
            let (out, rest) = out.split_at_mut(x.len());
            out.copy_from_slice(x);
            rest.fill(0.0);
        }
    }

    /// Writes a block of values, rounded to bfloat16.
    ///
    /// # Safety
    ///
    /// As for [`Filling::write`].
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn write_bfloat16(&self, columns: &Range<usize>, values: &Range<usize>, x: Values<'_>) {
        let len = self.len.next_multiple_of(PAIRED);
        for (c, column) in columns.clone().enumerate() {
            let x = x.of(column, values.clone());
            if self.pairs.len() > 0 {
                let mut words = [0; SUPER / 2];
                let count = bf16::pairs(x, &mut words);
                let at = (c, columns, values.start / 2, len / 2);
                // SAFETY: the caller's promise.
                unsafe { self.place(&self.pairs, &words[..count], at) };
            } else {
                let mut floats = [0.0; SUPER];
                let count = bf16::parted(x, &mut floats);
                let at = (c, columns, values.start, len);
                // SAFETY: the caller's promise.
                unsafe { self.place(&self.parted, &floats[..count], at) };
            }
        }
    }

    /// Writes numbers of the column number `c` of a panel of `columns`, those from `start` on of `len`.
    ///
    /// # Safety
    ///
    /// As for [`Filling::write`].
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn place<T: Copy>(
        &self,
        out: &SharedOutput<'_, T>,
        numbers: &[T],
        (c, columns, start, len): (usize, &Range<usize>, usize, usize),
    ) {
        let end = start + numbers.len();
        if apart(self.columns) {
            let first = (columns.start + c) * len;
            // SAFETY: as in `write_floats`.
            let out = unsafe { out.piece(first + start..first + end) };
            out.copy_from_slice(numbers);
            return;
        }
        let width = columns.len();
        let first = columns.start * len;
        // SAFETY: as in `write_floats`; the pieces of the panel's columns are taken one after the other.
        let out = unsafe { out.piece(first + start * width..first + end * width) };
        for (out, number) in out.chunks_exact_mut(width).zip(numbers) {
            out[c] = *number;
        }
    }

    /// Writes blocks of columns, quantized: two at a time, of neighbouring columns, or, of the last
    /// column of an odd number, one after the other.
    ///
    /// # Safety
    ///
    /// As for [`Filling::write`].
    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn write_codes<S: Simd>(
        &self,
        simd: S,
        (blocks, columns): (Range<usize>, Range<usize>),
        x: Values<'_>,
    ) {
        let width = columns.len();
        let numbers = (self.precision, self.rows);
        let mut padded = [[0.0; SUPER]; 2];
        let mut two = Blocks::ZERO;
        let even = width / 2 * 2;
        for block in blocks.clone() {
            for c in (0..even).step_by(2) {
                let column = columns.start + c;
                // Of the two that follow, the values are on their way meanwhile.
                let next = match c + 2 < even {
                    true => Some((column + 2, block)),
                    false => (block + 1 < blocks.end).then_some((columns.start, block + 1)),
                };
                if let Some((column, block)) = next {
                    let values = self.values(block..block + 1);
                    let one = x.of(column, values.clone());
                    expect(simd, [one, x.of(column + 1, values)]);
                }
                let at = [(column, block), (column + 1, block)];
                self.quantize(simd, at, x, &mut padded, &mut two);
                // SAFETY: the caller's promise.
                let words = unsafe { self.words(block, &columns) };
                two.write::<S, 2>(0, numbers, Columns::new(words, width, c));
            }
        }
        if even == width {
            return;
        }
        for block in blocks.clone().step_by(2) {
            let both = block..blocks.end.min(block + 2);
            let column = columns.end - 1;
            let at = [(column, block), (column, both.end - 1)];
            self.quantize(simd, at, x, &mut padded, &mut two);
            for (number, block) in both.enumerate() {
                // SAFETY: the caller's promise.
                let words = unsafe { self.words(block, &columns) };
                two.write::<S, 1>(number, numbers, Columns::new(words, width, even));
            }
        }
    }

    /// Quantizes two blocks of columns.
    #[inline(always)]
    fn quantize<S: Simd>(
        &self,
        simd: S,
        [(column, block), (other, last)]: [(usize, usize); 2],
        x: Values<'_>,
        [first, second]: &mut [[f32; SUPER]; 2],
        to: &mut Blocks,
    ) {
        let one = x.of(column, self.values(block..block + 1));
        let two = x.of(other, self.values(last..last + 1));
        to.quantize(simd, [whole(one, first), whole(two, second)]);
    }

    /// The words of a block of the `columns` of a panel.
    ///
    /// # Safety
    ///
    /// As for [`Filling::write`].
    #[allow(unsafe_code, clippy::mut_from_ref)]
    #[inline(always)]
    unsafe fn words(&self, block: usize, columns: &Range<usize>) -> &mut [i32] {
        let start = (block * self.columns + columns.start) * part::TOTAL;
        // SAFETY: the caller's promise.
        unsafe { self.codes.piece(start..start + columns.len() * part::TOTAL) }
    }
}

/// Asks for two blocks of values in the first-level cache, and for what lies behind them if they are not
/// whole.
#[inline(always)]
fn expect<S: Simd>(simd: S, blocks: [&[f32]; 2]) {
    const VALUES: usize = LINE / size_of::<f32>();
    for line in 0..SUPER / VALUES {
        for x in blocks {
            simd.prefetch_near(x.as_ptr().wrapping_add(line * VALUES).cast());
        }
    }
}

/// A block of values, in `padded` if they are fewer.
#[inline(always)]
fn whole<'x>(x: &'x [f32], padded: &'x mut [f32; SUPER]) -> &'x [f32; SUPER] {
    match x.try_into() {
        Ok(whole) => whole,
        Err(_) => {
            padded[..x.len()].copy_from_slice(x);
            padded[x.len()..].fill(0.0);
            padded
        }
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
