//! Columns of activations, prepared once for all the matrix products that read them.
//!
//! For quantized weights a column becomes int8 codes with one scale per 256 values, and the sums of
//! its codes over groups of 32 and 16, which carry the offsets and minimums of the weights. For
//! float weights it stays in floats. Either way columns are interleaved in panels of as many as the
//! matrix kernel keeps in registers.

use crate::formats::SUPER;
use crate::isa::{Cpu, Kernel, Simd};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Where the parts of one block of a panel lie, in words per column; a part holds its words column
/// by column, `[word][column]`.
pub(crate) mod part {
    use super::SUPER;

    /// Codes, four to a word.
    pub(crate) const CODES: usize = 0;
    /// Sums of codes over each 32, as integers.
    pub(crate) const SUMS32: usize = CODES + SUPER / 4;
    /// Sums of codes over each 16, as integers.
    pub(crate) const SUMS16: usize = SUMS32 + 8;
    /// Sums over each 32, two 16-bit integers to a word.
    pub(crate) const PAIRS32: usize = SUMS16 + 16;
    /// Sums over each 16, two 16-bit integers to a word.
    pub(crate) const PAIRS16: usize = PAIRS32 + 4;
    /// Sums over each 32, as floats.
    pub(crate) const FLOATS32: usize = PAIRS16 + 8;
    /// The sum over all 256, as an integer.
    pub(crate) const SUM256: usize = FLOATS32 + 8;
    /// The scale: a value is `scale * code`.
    pub(crate) const SCALE: usize = SUM256 + 1;
    /// Words per column and block, rounded up to whole cache lines for sixteen columns.
    pub(crate) const TOTAL: usize = 112;

    const _: () = assert!(SCALE < TOTAL);
}

/// What a matrix product reads its activations as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Int8 codes: every quantized weight format.
    Int8,
    /// Floats: F32, F16 and BF16 weights.
    Float,
    /// Both, where products with both kinds of weights read the same activations.
    Both,
}

impl Precision {
    /// What serves both `self` and `other`.
    pub fn and(self, other: Precision) -> Precision {
        if self == other { self } else { Precision::Both }
    }

    pub(crate) fn int8(self) -> bool {
        self != Precision::Float
    }

    pub(crate) fn float(self) -> bool {
        self != Precision::Int8
    }
}

/// Columns prepared for matrix products. Made once with room for the largest use, and filled by
/// [`Prepare`] again and again.
#[derive(Debug)]
pub struct Activations {
    cpu: Cpu,
    columns: usize,
    len: usize,
    precision: Precision,
    codes: Vec<i32>,  // (panels, blocks, part::TOTAL, width)
    floats: Vec<f32>, // (panels, len, width)
}

impl Activations {
    /// Room for `columns` columns of `len` values, or for fewer and shorter ones.
    pub fn with_capacity(cpu: Cpu, columns: usize, len: usize) -> Activations {
        let blocks = len.div_ceil(SUPER);
        Activations {
            cpu,
            columns: 0,
            len: 0,
            precision: Precision::Both,
            codes: vec![0; columns * blocks * part::TOTAL],
            floats: vec![0.0; columns * len],
        }
    }

    /// Bytes that [`Activations::with_capacity`] takes; saturates.
    pub fn bytes(columns: usize, len: usize) -> usize {
        let words = len
            .div_ceil(SUPER)
            .saturating_mul(part::TOTAL)
            .saturating_add(len);
        words.saturating_mul(columns).saturating_mul(4)
    }

    /// Columns now held.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Values per column.
    pub fn column_len(&self) -> usize {
        self.len
    }

    pub(crate) fn cpu(&self) -> Cpu {
        self.cpu
    }

    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    /// The panels that the columns are held in.
    pub(crate) fn panels(&self) -> Panels {
        Panels::new(self.columns, self.cpu.matrix_columns())
    }

    /// The words of a panel: (blocks, `part::TOTAL`, width).
    pub(crate) fn panel_codes(&self, columns: &Range<usize>) -> &[i32] {
        let per_column = self.len.div_ceil(SUPER) * part::TOTAL;
        &self.codes[columns.start * per_column..columns.end * per_column]
    }

    /// The floats of a panel: (len, width).
    pub(crate) fn panel_floats(&self, columns: &Range<usize>) -> &[f32] {
        &self.floats[columns.start * self.len..columns.end * self.len]
    }
}

/// Columns divided into panels whose widths differ by at most one, so that no panel is so narrow
/// that it costs more than its share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels {
    columns: usize,
    count: usize,
}

impl Panels {
    /// Panels of at most `width` columns.
    pub(crate) fn new(columns: usize, width: usize) -> Panels {
        Panels {
            columns,
            count: columns.div_ceil(width),
        }
    }

    /// How many panels.
    pub(crate) fn count(self) -> usize {
        self.count
    }

    /// The columns of a panel.
    pub(crate) fn get(self, panel: usize) -> Range<usize> {
        let (width, wider) = (self.columns / self.count, self.columns % self.count);
        let start = panel * width + panel.min(wider);
        start..start + width + usize::from(panel < wider)
    }
}

/// A job that fills [`Activations`] from columns of floats.
pub struct Prepare<'a> {
    cpu: Cpu,
    x: &'a [f32], // (columns, len)
    len: usize,
    precision: Precision,
    panels: Panels,
    next: AtomicUsize,
    slots: Vec<Mutex<Slot<'a>>>,
}

/// The memory of one panel.
struct Slot<'a> {
    codes: &'a mut [i32],
    floats: &'a mut [f32],
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
        let panels = into.panels();
        let per_column = len.div_ceil(SUPER) * part::TOTAL;
        let codes = if precision.int8() {
            columns * per_column
        } else {
            0
        };
        let floats = if precision.float() { columns * len } else { 0 };
        assert!(
            codes <= into.codes.len() && floats <= into.floats.len(),
            "too many columns"
        );
        let mut codes = &mut into.codes[..codes];
        let mut floats = &mut into.floats[..floats];
        let mut slots = Vec::with_capacity(panels.count());
        for panel in 0..panels.count() {
            let width = panels.get(panel).len();
            let (head, tail) = codes.split_at_mut((width * per_column).min(codes.len()));
            codes = tail;
            let (float_head, float_tail) = floats.split_at_mut((width * len).min(floats.len()));
            floats = float_tail;
            slots.push(Mutex::new(Slot {
                codes: head,
                floats: float_head,
            }));
        }
        Prepare {
            cpu: into.cpu,
            x,
            len,
            precision,
            panels,
            next: AtomicUsize::new(0),
            slots,
        }
    }

    /// Prepares panels until none is left. Any number of threads may call it at once.
    pub fn work(&self) {
        loop {
            let panel = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(slot) = self.slots.get(panel) else {
                return;
            };
            // Each panel is claimed once, so the lock is never waited for.
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            let columns = self.panels.get(panel);
            let x = &self.x[columns.start * self.len..columns.end * self.len];
            if self.precision.float() {
                interleave(x, self.len, slot.floats);
            }
            if self.precision.int8() {
                self.cpu.run(Quantize {
                    x,
                    len: self.len,
                    out: slot.codes,
                });
            }
        }
    }
}

/// Writes columns (width, len) as (len, width).
fn interleave(x: &[f32], len: usize, out: &mut [f32]) {
    let width = x.len() / len;
    if width == 1 {
        out.copy_from_slice(x);
        return;
    }
    for (c, column) in x.chunks_exact(len).enumerate() {
        for (out, &x) in out.chunks_exact_mut(width).zip(column) {
            out[c] = x;
        }
    }
}

/// Quantizes the columns of a panel.
struct Quantize<'a> {
    x: &'a [f32], // (width, len)
    len: usize,
    out: &'a mut [i32], // (blocks, part::TOTAL, width)
}

impl Kernel for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        let width = self.x.len() / self.len;
        for (c, column) in self.x.chunks_exact(self.len).enumerate() {
            let blocks = self.out.chunks_exact_mut(part::TOTAL * width);
            for (x, out) in column.chunks(SUPER).zip(blocks) {
                let mut values = [0.0; SUPER];
                values[..x.len()].copy_from_slice(x);
                quantize_block(&values, width, &mut out[c..]);
            }
        }
    }
}

/// Quantizes 256 values into one column of a panel of `width`; `out` begins at that column.
#[inline(always)]
fn quantize_block(x: &[f32; SUPER], width: usize, out: &mut [i32]) {
    // Magnitudes compare like their bits, and a NaN is above them all: it comes out as the scale.
    let mut largest = [0u32; 16];
    for x in x.chunks_exact(16) {
        for (largest, x) in largest.iter_mut().zip(x) {
            *largest = (*largest).max(x.abs().to_bits());
        }
    }
    let largest = f32::from_bits(largest.into_iter().fold(0, u32::max));
    // Below this the square underflows, and so would every product.
    let (inverse, scale) = if largest < 1e-30 {
        (0.0, 0.0)
    } else {
        (127.0 / largest, largest / 127.0)
    };
    // Adding and taking away 1.5 × 2^23 rounds to the nearest integer, ties to even.
    const ROUND: f32 = 12_582_912.0;
    let mut codes = [0i32; SUPER];
    for (code, x) in codes.iter_mut().zip(x) {
        let bits = (x * inverse + ROUND).to_bits() as i32;
        *code = bits.wrapping_sub(ROUND.to_bits() as i32).clamp(-127, 127);
    }
    let mut sums = [0i32; 16];
    for (sum, codes) in sums.iter_mut().zip(codes.chunks_exact(16)) {
        *sum = codes.iter().sum();
    }
    for (word, codes) in codes.chunks_exact(4).enumerate() {
        let bytes = [
            codes[0] as u8,
            codes[1] as u8,
            codes[2] as u8,
            codes[3] as u8,
        ];
        out[(part::CODES + word) * width] = i32::from_le_bytes(bytes);
    }
    let pair = |low: i32, high: i32| (low & 0xffff) | (high << 16);
    for group in 0..8 {
        let sum = sums[2 * group] + sums[2 * group + 1];
        out[(part::SUMS32 + group) * width] = sum;
        out[(part::FLOATS32 + group) * width] = (sum as f32).to_bits() as i32;
        out[(part::PAIRS16 + group) * width] = pair(sums[2 * group], sums[2 * group + 1]);
    }
    for pair32 in 0..4 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| sums[4 * pair32 + i]);
        out[(part::PAIRS32 + pair32) * width] = pair(a + b, c + d);
    }
    for (group, &sum) in sums.iter().enumerate() {
        out[(part::SUMS16 + group) * width] = sum;
    }
    out[part::SUM256 * width] = sums.iter().sum();
    out[part::SCALE * width] = scale.to_bits() as i32;
}
