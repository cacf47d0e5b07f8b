//! [`Activations`] while they are filled: where the values of a block of a panel go, in which of the
//! forms that kernels read.
//!
//! Who fills what is the business of jobs; how values are made codes, that of [`super::quantize`].

use super::quantize::Block;
use super::{Activations, PAIRED, Panels, Precision, apart, bf16, part};
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

    /// Writes blocks of columns, quantized: two at a time, of one column or two, because so many are
    /// quantized at once.
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
        let count = width * blocks.len();
        let mut padded = [[0.0; SUPER]; 2];
        let mut quantized = [Block::ZERO; 2];
        for first in (0..count).step_by(2) {
            let at = |i: usize| (i / blocks.len(), blocks.start + i % blocks.len());
            let values = |i: usize| match i < count {
                true => {
                    let (c, block) = at(i);
                    x.of(columns.start + c, self.values(block..block + 1))
                }
                false => &[],
            };
            let [one, other] = &mut padded;
            let two = [whole(values(first), one), whole(values(first + 1), other)];
            Block::quantize_two(simd, two, &mut quantized);
            for (i, quantized) in quantized.iter().enumerate().take(count - first) {
                let (c, block) = at(first + i);
                let start = (block * self.columns + columns.start) * part::TOTAL;
                // SAFETY: as in `place`.
                let out = unsafe { self.codes.piece(start..start + width * part::TOTAL) };
                quantized.write_codes::<S>(c, width, out);
                quantized.write_numbers((self.precision, self.rows), width, &mut out[c..]);
            }
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
