//! Matrix products of weights in any format with columns of activations.
//!
//! Kernels treat `ROWS` rows of weights at once, one per lane, and go through a row in blocks of 256
//! weights. There are two regimes:
//!
//! - **One column**, or a few: the memory bus is the limit. The weights of a block are
//!   unpacked into registers and multiplied there and then; while one panel of rows is computed the
//!   next is prefetched in the order in which it lies in memory. With one column, some formats'
//!   rows are read one after the other, and lie across lanes only when groups have been summed.
//! - **Many columns** ([`tiled`]): the integer units are the limit. A block of a panel is unpacked
//!   once into a tile that stays in the first-level cache, and the tile is multiplied with all
//!   columns, as many at a time as the registers hold; or two tiles are, of two panels.
//!
//! Float weights need no unpacking: with few columns they are multiplied one row after the other,
//! sixteen consecutive weights across lanes ([`float`]).
//!
//! Both do the same arithmetic in the same order, and so does every instruction set: the products
//! of a group of 32 weights are summed exactly in integers; within a block of 256, for each group in
//! ascending order, `t = float(sum) * (scale * activation scale) + t`, rounded once, where integer
//! minimums come first of all; then `y = t + y`. (Groups of 16: `u = float(first) * scale`,
//! `u = float(last) * scale + u`, `t = u * activation scale + t`. Where their scales are whole numbers
//! in a unit that 256 weights share, these belong to the exact sum of 32: if they are small, its scale
//! is the unit; if they have eight bits, as in Q6_K, it is of 24 bits and so still exact as a float, the
//! unit is left out, and at the end `t = t * unit`.) An activation scale has few digits, so that its
//! product with any format's scale loses no bits that matter and can be looked up. So an element of the
//! result has the same bits however many columns were multiplied at once and whoever computed it.
//!
//! Float weights: in a block of 256, sixteen sums, `s[j] = w[16 i + j] * x[16 i + j] + s[j]` for `i`
//! in ascending order, rounded once; then `s[j] + s[j + 8]` for `j < 8`, of these those that are 4
//! apart, then 2 and 1; and `y = t + y`. Behind the end of a row there are zeros up to a whole number
//! of sixteen.
//!
//! BF16 weights are multiplied with activations rounded to bfloat16 (nearest, ties to even; what is
//! less than 2⁻⁷² counts as zero), and are taken in pairs: sixteen sums, `s[j] = w[k + 1] * x[k + 1] +
//! s[j]` and then `s[j] = w[k] * x[k] + s[j]`, where `k = 32 i + 2 j`, for `i` in ascending order, each
//! rounded once. The rest is as above, with zeros up to a whole number of 32.

mod ahead;
mod float;
mod hidden;
mod quantized;
mod tiled;

pub use hidden::{Hidden, HiddenInputs, HiddenScratch};

use crate::activations::{Activations, Precision};
use crate::aligned::LINE;
use crate::format::{BlockTask, Format};
use crate::formats::Block;
use crate::isa::{Cpu, Kernel, Lanes, Simd, first_level_bytes};
use crate::jobs::{Ranges, SharedOutput};
use std::marker::PhantomData;
use std::ops::Range;

/// A matrix of weights in the bytes of a file: `rows` rows of `cols` consecutive weights.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    format: Format,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    bytes: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// The matrix in `bytes`; `None` if a row is not whole blocks of `format`, or `bytes` is not
    /// `rows` such rows.
    pub fn new(format: Format, rows: usize, cols: usize, bytes: &'a [u8]) -> Option<Matrix<'a>> {
        let row_bytes = format.row_bytes(cols)?;
        (row_bytes.checked_mul(rows)? == bytes.len()).then_some(Matrix {
            format,
            rows,
            cols,
            row_bytes,
            bytes,
        })
    }

    /// The weight format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Number of rows: the length of a column of the result.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Weights per row: the length of a column of activations.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The bytes of the whole matrix.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of one row.
    pub fn row(&self, row: usize) -> &'a [u8] {
        &self.bytes[row * self.row_bytes..(row + 1) * self.row_bytes]
    }

    /// Where a row lies, which need not be there.
    fn start_of(&self, row: usize) -> *const u8 {
        self.bytes.as_ptr().wrapping_add(row * self.row_bytes)
    }

    /// What multiplies panels of its rows with such columns.
    fn cpu(&self, x: &Activations) -> Cpu {
        match self.rows {
            // Fewer rows than a vector has lanes: one at a time, which gives the same bits.
            rows if rows < x.cpu().matrix_rows() => Cpu::SCALAR,
            _ => x.cpu(),
        }
    }

    /// How many rows threads claim at once where there are so many columns, at least and at most.
    fn claims(&self, columns: usize) -> (usize, usize) {
        let rows_of = |bytes: usize| bytes / self.row_bytes.max(1);
        let (least, most) = match columns {
            1 => (rows_of(LEAST_BYTES), rows_of(MOST_BYTES)),
            _ => (CHUNK_ROWS, 2 * CHUNK_ROWS),
        };
        // A small matrix is divided among a few threads all the same.
        let least = least
            .min(self.rows / 8)
            .next_multiple_of(ROWS_MULTIPLE)
            .max(ROWS_MULTIPLE);
        (least, most.max(least))
    }

    /// The bytes from the row on with which the thread that comes as number `number` is expected to begin
    /// a product with one column; nothing if that cannot be told.
    pub fn beginning(&self, number: usize) -> &'a [u8] {
        let row = match number {
            0 => 0,
            1 => Ranges::middle(self.rows, self.claims(1).0),
            _ => self.rows,
        };
        &self.bytes[row * self.row_bytes..]
    }

    /// What a product with this matrix reads its activations as.
    pub fn precision(&self) -> Precision {
        Precision::of(self.format)
    }
}

/// A job that computes `out[c, r] = sum over k of weights[r, k] * x[c, k]`.
pub struct MatMul<'a> {
    weights: Matrix<'a>,
    x: &'a Activations,
    out: SharedOutput<'a, f32>,
    claims: Ranges,
    /// Bytes of the first-level cache.
    near: usize,
    /// The matrix that is multiplied next, from where the first thread and the second are expected to
    /// begin; nothing if it is not known.
    next: [&'a [u8]; 2],
}

/// Bytes of weights that a thread claims at once when there is one column, at least: so few that
/// threads finish together.
const LEAST_BYTES: usize = 64 << 10;

/// The same, at most: so many that the stream of weights is seldom interrupted.
const MOST_BYTES: usize = 1 << 20;

/// Rows that a thread claims at once when there are several columns: so many at the end, twice as many
/// before, whose sums then are in one buffer.
const CHUNK_ROWS: usize = 64;

/// Rows of a chunk are a multiple of this, which every instruction set's rows per vector divides.
const ROWS_MULTIPLE: usize = 16;

/// Bytes of a first-level cache in which weights that are asked for ahead are worth their place.
const ROOMY: usize = 48 << 10;

impl<'a> MatMul<'a> {
    /// Will write the product to `out`, column after column of `weights.rows()` values.
    ///
    /// # Panics
    ///
    /// If the columns of `x` are not `weights.cols()` long or were not prepared in the precision of
    /// `weights`, or `out` is not of `x.columns()` columns.
    pub fn new(weights: Matrix<'a>, x: &'a Activations, out: &'a mut [f32]) -> MatMul<'a> {
        assert_eq!(x.column_len(), weights.cols, "length of the activations");
        assert_eq!(
            out.len(),
            x.columns() * weights.rows,
            "length of the result"
        );
        let precision = weights.precision();
        assert!(
            x.precision().serves(precision),
            "precision of the activations"
        );
        MatMul {
            weights,
            x,
            out: SharedOutput::new(out),
            claims: Ranges::new(weights.rows, weights.claims(x.columns())),
            near: first_level_bytes(),
            next: [&[]; 2],
        }
    }

    /// Tells which matrix will be multiplied next, if that is known: where there is one column, its first
    /// rows are asked for with the last of this one, so that the stream of weights goes on.
    pub fn followed_by(&mut self, next: Option<Matrix<'a>>) {
        if let Some(next) = next.filter(|_| self.x.columns() == 1) {
            self.next = [0, 1].map(|number| next.beginning(number));
        }
    }

    /// The matrix that is multiplied.
    pub fn weights(&self) -> Matrix<'a> {
        self.weights
    }

    /// Will do what is best where the first-level cache has so many bytes, instead of what is best here:
    /// the same results, for tests and for counts of instructions that do not depend on the machine.
    pub fn with_first_level_cache(mut self, bytes: usize) -> MatMul<'a> {
        self.near = bytes;
        self
    }

    /// Computes chunks of rows until none is left. Any number of threads may call it at once; each takes
    /// up to about 300 KB of its stack.
    pub fn work(&self) {
        if self.x.columns() == 0 || self.weights.cols == 0 {
            return;
        }
        // The next claim is made ahead, so that its first rows are on their way when it begins.
        let owner = self.claims.join();
        let mut claim = owner.claim();
        while let Some(claimed) = claim {
            claim = owner.claim();
            let next = self
                .next
                .get(owner.number())
                .filter(|next| !next.is_empty());
            let then = match (&claim, next) {
                (Some(rows), _) => self.weights.start_of(rows.start),
                (None, Some(next)) => next.as_ptr(),
                (None, None) => self.weights.start_of(claimed.start),
            };
            Rows {
                weights: self.weights,
                x: self.x,
                panels: 0..self.x.panels().count(),
                out: &self.out,
                stride: self.weights.rows,
                sums: false,
                then,
                rows: claimed,
                near: self.near,
            }
            .multiply();
        }
    }
}

impl BlockTask for &Rows<'_> {
    type Output = ();

    fn run<B: Block + Weights>(self) {
        let cpu = match B::any_rows(self.x) {
            true => self.x.cpu(),
            false => self.weights.cpu(self.x),
        };
        cpu.run(RowsOf::<B> {
            rows: self,
            block: PhantomData,
        });
    }
}

struct RowsOf<'r, 'a, B> {
    rows: &'r Rows<'a>,
    block: PhantomData<B>,
}

impl<B: Weights> Kernel for RowsOf<'_, '_, B> {
    type Output = ();

    const BYTE_TABLES: bool = B::BYTE_TABLES;

    const DOTS_BF16: bool = B::DOTS_BF16;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // A copy that nothing else can reach, so that no number of it is read twice.
        let rows = self.rows.clone();
        B::multiply(simd, &rows);
    }
}

/// A block type that the kernels can multiply: every format's.
pub(crate) trait Weights {
    /// What a product with them reads its activations as.
    const PRECISION: Precision;

    /// Whether they are unpacked with [`Lanes::BYTE_TABLES`] where there are any.
    const BYTE_TABLES: bool = false;

    /// Whether they are multiplied with [`Lanes::DOTS_BF16`] where that is an instruction.
    const DOTS_BF16: bool = false;

    /// Whether a product with these columns does with fewer rows than a vector has lanes.
    #[inline(always)]
    fn any_rows(_x: &Activations) -> bool {
        false
    }

    /// Multiplies the rows that have been claimed.
    fn multiply<S: Simd>(simd: S, rows: &Rows<'_>);
}

/// Rows to multiply, columns of activations, and where the results go: what the kernels see of a job.
#[derive(Clone)]
pub(crate) struct Rows<'a> {
    weights: Matrix<'a>,
    x: &'a Activations,
    /// The panels of columns: all, unless columns are many.
    panels: Range<usize>,
    out: &'a SharedOutput<'a, f32>,
    /// From the results of a column to those of the next.
    stride: usize,
    /// Whether results are left where they are added up instead: (panels of rows, columns, rows of a
    /// vector), of the rows and columns that are multiplied alone. The columns are many, at most
    /// [`tiled::COLUMNS`].
    sums: bool,
    /// The rows, which nobody else multiplies with these columns.
    rows: Range<usize>,
    /// Where the weights lie that are multiplied after these: these again, if there are none.
    then: *const u8,
    /// Bytes of the first-level cache.
    near: usize,
}

impl Rows<'_> {
    /// Multiplies them.
    fn multiply(&self) {
        self.weights.format.run(self);
    }

    /// Where the result of a row in a column goes.
    #[inline(always)]
    fn place(&self, column: usize, row: usize) -> usize {
        column * self.stride + row
    }

    /// Asks for the places of the results of `rows` in `column`, to be written.
    #[inline(always)]
    fn expect<S: Lanes>(&self, simd: S, rows: &Range<usize>, column: usize) {
        let start = self
            .out
            .address()
            .wrapping_add(self.place(column, rows.start));
        for line in (0..rows.len() * size_of::<f32>()).step_by(LINE) {
            simd.prefetch_to_write(start.wrapping_byte_add(line).cast());
        }
    }

    /// Where the results of some rows in `column` go.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    #[inline(always)]
    fn results(&self, column: usize, rows: Range<usize>) -> &mut [f32] {
        assert!(self.rows.start <= rows.start && rows.end <= self.rows.end);
        let start = self.place(column, rows.start);
        // SAFETY: the rows are among those of this thread, which nobody else multiplies with these
        // columns, so nobody else has a piece with their results.
        unsafe { self.out.piece(start..start + rows.len()) }
    }

    /// Writes the results of some rows from number `row` on in `column`.
    #[allow(unsafe_code)]
    #[inline(always)]
    fn write(&self, column: usize, row: usize, results: &[f32]) {
        assert!(self.rows.start <= row && row + results.len() <= self.rows.end);
        let start = self.place(column, row);
        // SAFETY: as in `results`, whose slice as an argument costs callers registers.
        let out = unsafe { self.out.piece(start..start + results.len()) };
        out.copy_from_slice(results);
    }

    /// Writes the results of a panel in `column`.
    #[allow(unsafe_code)]
    #[inline(always)]
    fn store<S: Lanes>(&self, simd: S, panel: &tiled::Panel<'_>, column: usize, results: S::Float) {
        let rows = &panel.rows;
        debug_assert!(self.rows.start <= rows.start && rows.end <= self.rows.end);
        if rows.len() == S::ROWS {
            let start = self.place(column, rows.start);
            // SAFETY: as in `results`; the piece is as many floats as a vector has.
            unsafe {
                let out = self.out.piece(start..start + rows.len());
                return simd.store_float(out.as_mut_ptr(), results);
            }
        }
        let mut lanes = [0.0; ROWS_MULTIPLE];
        // SAFETY: there are at least as many lanes as a vector has.
        unsafe { simd.store_float(lanes.as_mut_ptr(), results) };
        self.write(column, rows.start, &lanes[panel.skip..][..rows.len()]);
    }
}
