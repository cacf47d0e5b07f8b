//! Columns of activations, prepared once for all the matrix products that read them.
//!
//! For quantized weights a column becomes int8 codes with one scale per 256 values, or per 32 for
//! formats of small blocks, and the sums of its codes over groups, which carry the offsets and
//! minimums of the weights. For float weights it stays in floats. Either way columns are interleaved in panels of as many as the
//! matrix kernel keeps in registers.

use crate::format::Format;
use crate::formats::SUPER;
use crate::isa::{Cpu, Kernel, Simd};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Where the parts of one block of a panel lie, in words per column; a part holds its words column
/// by column, `[word][column]`. Codes and sums over 32 lie at the same place at both grains.
pub(crate) mod part {
    use super::SUPER;

    /// Codes, four to a word.
    pub(crate) const CODES: usize = 0;
    /// Sums of codes over each 32, as integers.
    pub(crate) const SUMS32: usize = CODES + SUPER / 4;

    /// Coarse: sums of codes over each 16, as integers.
    pub(crate) const SUMS16: usize = SUMS32 + 8;
    /// Coarse: sums over each 32, two 16-bit integers to a word.
    pub(crate) const PAIRS32: usize = SUMS16 + 16;
    /// Coarse: sums over each 16, two 16-bit integers to a word.
    pub(crate) const PAIRS16: usize = PAIRS32 + 4;
    /// Coarse: the sum over all 256, as an integer.
    pub(crate) const SUM256: usize = PAIRS16 + 8;
    /// Coarse: the scale of all 256; a value is `scale * code`.
    pub(crate) const SCALE: usize = SUM256 + 1;

    /// Fine: the scale of each 32.
    pub(crate) const SCALES32: usize = SUMS32 + 8;
    /// Fine: the sum of the values over each 32: the sum of the codes times the scale.
    pub(crate) const TOTALS32: usize = SCALES32 + 8;

    /// Words per column and block, at either grain.
    pub(crate) const TOTAL: usize = 104;

    const _: () = assert!(SCALE < TOTAL && TOTALS32 + 8 <= TOTAL);
}

/// How many activations share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grain {
    /// 256: for formats whose own blocks are of 256 weights.
    Coarse,
    /// 32: for formats whose own blocks are of 32 weights.
    Fine,
}

/// What a matrix product reads its activations as: a set, where products with several kinds of
/// weights read the same activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precision {
    coarse: bool,
    fine: bool,
    float: bool,
}

impl Precision {
    /// What a product with weights of `format` needs: floats for float weights, else int8 codes
    /// with a scale for every 32 or 256 values, as many as the format's blocks have weights.
    pub fn of(format: Format) -> Precision {
        let float = format.is_float();
        let fine = format.block_len() == 32;
        Precision {
            coarse: !float && !fine,
            fine,
            float,
        }
    }

    /// What serves both `self` and `other`.
    pub fn and(self, other: Precision) -> Precision {
        Precision {
            coarse: self.coarse || other.coarse,
            fine: self.fine || other.fine,
            float: self.float || other.float,
        }
    }

    /// Everything.
    const ALL: Precision = Precision {
        coarse: true,
        fine: true,
        float: true,
    };
}

/// Columns prepared for matrix products. Made once with room for the largest use, and filled by
/// [`Prepare`] again and again.
#[derive(Debug)]
pub struct Activations {
    cpu: Cpu,
    columns: usize,
    len: usize,
    precision: Precision,
    coarse: Vec<i32>, // (panels, blocks, part::TOTAL, width)
    fine: Vec<i32>,   // the same
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
            precision: Precision::ALL,
            coarse: vec![0; columns * blocks * part::TOTAL],
            fine: vec![0; columns * blocks * part::TOTAL],
            floats: vec![0.0; columns * len],
        }
    }

    /// Bytes that [`Activations::with_capacity`] takes; saturates.
    pub fn bytes(columns: usize, len: usize) -> usize {
        let words = len
            .div_ceil(SUPER)
            .saturating_mul(2 * part::TOTAL)
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
    pub(crate) fn panel_codes(&self, grain: Grain, columns: &Range<usize>) -> &[i32] {
        let per_column = self.len.div_ceil(SUPER) * part::TOTAL;
        let codes = match grain {
            Grain::Coarse => &self.coarse,
            Grain::Fine => &self.fine,
        };
        &codes[columns.start * per_column..columns.end * per_column]
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
    coarse: &'a mut [i32],
    fine: &'a mut [i32],
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
        let count = |wanted: bool, per_column: usize| if wanted { columns * per_column } else { 0 };
        let coarse = count(precision.coarse, per_column);
        let fine = count(precision.fine, per_column);
        let floats = count(precision.float, len);
        assert!(
            coarse <= into.coarse.len() && fine <= into.fine.len() && floats <= into.floats.len(),
            "too many columns"
        );
        let mut coarse = &mut into.coarse[..coarse];
        let mut fine = &mut into.fine[..fine];
        let mut floats = &mut into.floats[..floats];
        let mut slots = Vec::with_capacity(panels.count());
        for panel in 0..panels.count() {
            let width = panels.get(panel).len();
            slots.push(Mutex::new(Slot {
                coarse: take(&mut coarse, width * per_column),
                fine: take(&mut fine, width * per_column),
                floats: take(&mut floats, width * len),
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
            let len = self.len;
            if self.precision.float {
                interleave(x, len, slot.floats);
            }
            if self.precision.coarse {
                let out = &mut *slot.coarse;
                let grain = Grain::Coarse;
                self.cpu.run(Quantize { x, len, grain, out });
            }
            if self.precision.fine {
                let out = &mut *slot.fine;
                let grain = Grain::Fine;
                self.cpu.run(Quantize { x, len, grain, out });
            }
        }
    }
}

/// Takes the first `count` values away from `rest`, or all of them if there are fewer.
fn take<'a, T>(rest: &mut &'a mut [T], count: usize) -> &'a mut [T] {
    let count = count.min(rest.len());
    let (taken, left) = std::mem::take(rest).split_at_mut(count);
    *rest = left;
    taken
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
    grain: Grain,
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
                match self.grain {
                    Grain::Coarse => coarse_block(&values, width, &mut out[c..]),
                    Grain::Fine => fine_block(&values, width, &mut out[c..]),
                }
            }
        }
    }
}

/// Quantizes 256 values with one scale into one column of a panel of `width`; `out` begins at that
/// column.
#[inline(always)]
fn coarse_block(x: &[f32; SUPER], width: usize, out: &mut [i32]) {
    let (codes, scale) = quantized(x);
    let mut sums = [0i32; 16];
    for (sum, codes) in sums.iter_mut().zip(codes.chunks_exact(16)) {
        *sum = codes.iter().sum();
    }
    write_codes(&codes, part::CODES, width, out);
    let pair = |low: i32, high: i32| (low & 0xffff) | (high << 16);
    for group in 0..8 {
        let (low, high) = (sums[2 * group], sums[2 * group + 1]);
        out[(part::SUMS32 + group) * width] = low + high;
        out[(part::PAIRS16 + group) * width] = pair(low, high);
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

/// Quantizes 256 values with a scale for each 32.
#[inline(always)]
fn fine_block(x: &[f32; SUPER], width: usize, out: &mut [i32]) {
    let (groups, _) = x.as_chunks::<32>();
    for (group, x) in groups.iter().enumerate() {
        let (codes, scale) = quantized(x);
        let sum: i32 = codes.iter().sum();
        write_codes(&codes, part::CODES + 8 * group, width, out);
        out[(part::SUMS32 + group) * width] = sum;
        out[(part::SCALES32 + group) * width] = scale.to_bits() as i32;
        out[(part::TOTALS32 + group) * width] = (sum as f32 * scale).to_bits() as i32;
    }
}

/// Codes of at most 127 in magnitude and their scale.
#[inline(always)]
fn quantized<const N: usize>(x: &[f32; N]) -> ([i32; N], f32) {
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
    let mut codes = [0i32; N];
    for (code, x) in codes.iter_mut().zip(x) {
        let bits = (x * inverse + ROUND).to_bits() as i32;
        *code = bits.wrapping_sub(ROUND.to_bits() as i32).clamp(-127, 127);
    }
    (codes, scale)
}

/// Writes codes four to a word, from word `first` on.
#[inline(always)]
fn write_codes(codes: &[i32], first: usize, width: usize, out: &mut [i32]) {
    let (words, _) = codes.as_chunks::<4>();
    for (word, codes) in words.iter().enumerate() {
        let bytes = codes.map(|code| code as u8);
        out[(first + word) * width] = i32::from_le_bytes(bytes);
    }
}
