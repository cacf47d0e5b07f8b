//! Filling [`Activations`]: which thread prepares what, in which of the forms that kernels read.
//!
//! How values are made codes is the business of [`super::quantize`].

use super::quantize::Block;
use super::{Activations, PAIRED, Panels, Precision, apart, bf16, part};
use crate::formats::SUPER;
use crate::isa::{Cpu, Kernel, Simd, WIDTH};
use crate::jobs::{Claims, SharedOutput};
use std::ops::Range;

/// Blocks of columns that a thread claims at once, about: some microseconds of work.
const CLAIM: usize = 16;

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
        // Blocks are quantized two at a time.
        let run = CLAIM.div_ceil(width).next_multiple_of(2);
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
        while let Some(claim) = job.claims.claim() {
            let (blocks, columns) = job.piece(claim);
            for block in blocks.clone() {
                let values = block * SUPER..job.len.min((block + 1) * SUPER);
                if job.precision.serves(Precision::FLOAT) {
                    floats(job, &columns, &values);
                }
                if job.precision.serves(Precision::BF16) {
                    bfloat16(job, &columns, &values);
                }
            }
            if job.precision.serves(Precision::INT8) {
                for column in columns.clone() {
                    codes(simd, job, &blocks, (column, &columns));
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

/// Writes blocks of a column of a panel of `columns`, quantized.
#[inline(always)]
fn codes<S: Simd>(
    simd: S,
    job: &Prepare<'_>,
    blocks: &Range<usize>,
    (column, columns): (usize, &Range<usize>),
) {
    let all_columns = job.x.len() / job.len;
    let (c, width) = (column - columns.start, columns.len());
    let x = &job.x[column * job.len..][..job.len];
    let mut padded = [0.0; 2 * SUPER];
    let mut quantized = [Block::ZERO; 2];
    for first in blocks.clone().step_by(2) {
        let last = blocks.end.min(first + 2);
        let values = &x[first * SUPER..x.len().min(last * SUPER)];
        let values = match values.try_into() {
            Ok(values) => values,
            Err(_) => {
                padded[..values.len()].copy_from_slice(values);
                padded[values.len()..].fill(0.0);
                &padded
            }
        };
        Block::quantize_two(simd, values, &mut quantized);
        for (block, quantized) in (first..last).zip(&quantized) {
            let start = (block * all_columns + columns.start) * part::TOTAL;
            // SAFETY: as in `floats`; the pieces of the panel's columns are taken one after the other.
            #[allow(unsafe_code)]
            let out = unsafe { job.codes.piece(start..start + width * part::TOTAL) };
            quantized.write_codes::<S>(c, width, out);
            quantized.write_numbers((job.precision, job.rows), width, &mut out[c..]);
        }
    }
}
