//! The hidden values of a feed-forward network, for many columns: two products, the activation, and
//! the preparation for the third, block by block.
//!
//! A prompt of 512 tokens has 23 MB of hidden values in a model of 1.1 billion weights and twice that
//! in one of seven. As two matrices they would go to memory and come back. Here a thread computes 256
//! of them for every column, up to 512 columns at a time, whose sums stay in its cache as they have
//! been added up, and leaves the codes that the next product reads. It is the same arithmetic in the
//! same order as with whole matrices.

#![allow(unsafe_code)]

use super::tiled::{COLUMNS, WIDEST};
use super::{Matrix, Rows};
use crate::activations::{Activations, Filling, Precision, Values};
use crate::aligned::Aligned;
use crate::formats::SUPER;
use crate::isa::{Kernel, Simd, first_level_bytes};
use crate::jobs::{Claims, SharedOutput};
use crate::rows::Activation;
use std::ops::Range;

/// Tasks that one of the last blocks is divided into, so that threads end at nearly the same time.
const PARTS: usize = 4;

/// What the hidden values are computed from.
#[derive(Clone, Copy)]
pub struct HiddenInputs<'a> {
    /// The matrix of the gate and its bias, if there is a gate.
    pub gate: Option<(Matrix<'a>, Option<&'a [f32]>)>,
    /// The matrix beside it, or the only one, and its bias.
    pub up: (Matrix<'a>, Option<&'a [f32]>),
    /// The function of the gate, or of the only product.
    pub activation: Activation,
    /// The columns.
    pub x: &'a Activations,
}

/// A job that computes `f(gate · x + bias) * (up · x + bias)`, or `f(up · x + bias)` if there is no
/// gate, and prepares it for the product with the next matrix.
pub struct Hidden<'a> {
    inputs: HiddenInputs<'a>,
    to: Filling<'a>,
    /// Columns of a task: ranges of panels.
    groups: usize,
    /// Tasks of a block with all panels of a group.
    whole: usize,
    tasks: Claims,
    slots: Claims,
    memory: SharedOutput<'a, f32>, // (slots, 2, columns, 256)
    near: usize,
}

/// Working memory for [`Hidden`].
#[derive(Debug)]
pub struct HiddenScratch {
    slots: usize,
    /// Columns that there is room for.
    columns: usize,
    memory: Aligned<f32>,
}

impl HiddenScratch {
    /// Memory for up to `threads` threads at a time and `columns` columns; `None` if there is not that
    /// much. More threads may share a job, but those find nothing to do.
    pub fn new(threads: usize, columns: usize) -> Option<HiddenScratch> {
        Some(HiddenScratch {
            slots: threads.max(1),
            columns,
            memory: Aligned::zeros(HiddenScratch::floats(threads, columns)?)?,
        })
    }

    /// Bytes that [`new`](HiddenScratch::new) takes; `None` if they cannot be counted.
    pub fn bytes(threads: usize, columns: usize) -> Option<usize> {
        Aligned::<f32>::bytes(HiddenScratch::floats(threads, columns)?)
    }

    fn floats(threads: usize, columns: usize) -> Option<usize> {
        slot_floats(columns).checked_mul(threads.max(1))
    }
}

/// Floats of a thread's memory: two blocks of each column of a task.
fn slot_floats(columns: usize) -> usize {
    2 * SUPER * columns.min(COLUMNS)
}

impl<'a> Hidden<'a> {
    /// With so many columns or fewer, matrices are multiplied one after the other as they lie in memory,
    /// and their results are small: that is not this job's work.
    pub const MOST_FEW: usize = 96;

    /// Whether hidden values of so many columns are computed by this job.
    pub fn pays(columns: usize) -> bool {
        columns > Hidden::MOST_FEW
    }

    /// Will fill `to` with the hidden values, in `precision`.
    ///
    /// # Panics
    ///
    /// If matrices, biases and columns do not fit each other, columns are not prepared for the matrices,
    /// there are no more than are few ([`pays`](Hidden::pays)), or more than `to` or `scratch` were made
    /// for, or `to` is for another instruction set than `x`.
    pub fn new(
        inputs: HiddenInputs<'a>,
        scratch: &'a mut HiddenScratch,
        precision: Precision,
        to: &'a mut Activations,
    ) -> Hidden<'a> {
        let HiddenInputs { gate, up, x, .. } = inputs;
        let rows = up.0.rows();
        for (matrix, bias) in [Some(up), gate].into_iter().flatten() {
            assert_eq!(matrix.cols(), x.column_len(), "length of the activations");
            assert_eq!(matrix.rows(), rows, "length of the hidden values");
            assert!(bias.is_none_or(|bias| bias.len() == rows), "bias");
            let precision = x.precision();
            assert!(
                precision.serves(matrix.precision()),
                "precision of the activations"
            );
        }
        let columns = x.columns();
        assert!(Hidden::pays(columns), "{columns} columns are few");
        assert!(columns <= scratch.columns && rows > 0, "too many columns");
        // The panels of one are those of the other.
        assert_eq!(x.cpu(), to.cpu(), "instruction set of the activations");
        let to = Filling::new((columns, rows), precision, to);
        let panels = x.panels();
        // There are more panels than groups, so that none is empty.
        let fits = |groups: &usize| {
            let parts = (0..*groups).map(|group| split(panels.count(), *groups, group));
            parts
                .map(|part| panels_columns(x, &part).len())
                .all(|columns| columns <= COLUMNS)
        };
        let groups = (columns.div_ceil(COLUMNS)..)
            .find(fits)
            .expect("a panel is not that wide");
        let blocks = to.blocks();
        let divided = match scratch.slots {
            1 => 0,
            slots => slots.min(blocks),
        };
        let whole = (blocks - divided) * groups;
        Hidden {
            inputs,
            to,
            groups,
            whole,
            tasks: Claims::new(whole + divided * groups * PARTS),
            slots: Claims::new(scratch.slots),
            memory: SharedOutput::new(&mut scratch.memory),
            near: first_level_bytes(),
        }
    }

    /// Computes blocks until none is left. Any number of threads may call it at once; each takes as much
    /// of its stack as with [`MatMul::work`](super::MatMul::work).
    pub fn work(&self) {
        let Some(slot) = self.slots.claim() else {
            return;
        };
        let floats = self.memory.len() / self.slots.len();
        while let Some(task) = self.tasks.claim() {
            let (block, panels) = self.task(task);
            if panels.is_empty() {
                continue;
            }
            // SAFETY: no two threads have the same slot, and each has one piece of it at a time.
            let memory = unsafe { self.memory.piece(slot * floats..(slot + 1) * floats) };
            self.compute(block, panels, memory);
        }
    }

    /// The block and the panels of a task.
    fn task(&self, task: usize) -> (usize, Range<usize>) {
        let panels = self.to.panels().count();
        let group = |group| split(panels, self.groups, group);
        match task.checked_sub(self.whole) {
            None => (task / self.groups, group(task % self.groups)),
            Some(part) => {
                let panels = group(part / PARTS % self.groups);
                let of_group = split(panels.len(), PARTS, part % PARTS);
                let block = self.whole / self.groups + part / PARTS / self.groups;
                let start = panels.start;
                (block, start + of_group.start..start + of_group.end)
            }
        }
    }

    /// Computes a block of hidden values of the columns of some panels.
    fn compute(&self, block: usize, panels: Range<usize>, memory: &mut [f32]) {
        let HiddenInputs {
            gate,
            up,
            activation,
            x,
        } = self.inputs;
        let columns = panels_columns(x, &panels);
        let rows = self.to.values(block..block + 1);
        let half = memory.len() / 2;
        let (first, second) = memory.split_at_mut(half);
        let product = |(matrix, _): (Matrix<'_>, _), out: &mut [f32]| {
            Rows {
                weights: matrix,
                x,
                panels: panels.clone(),
                out: &SharedOutput::new(out),
                stride: 0,
                sums: true,
                // What comes next of this matrix.
                then: matrix.start_of(match rows.end < matrix.rows() {
                    true => rows.end,
                    false => rows.start,
                }),
                rows: rows.clone(),
                near: self.near,
            }
            .multiply();
        };
        product(gate.unwrap_or(up), first);
        if gate.is_some() {
            product(up, second);
        }
        let cpu = x.cpu();
        let mut values = [[0.0; SUPER * WIDEST]; 2];
        for panel in panels {
            let of_panel = x.panels().get(panel);
            let take =
                |(matrix, bias): (Matrix<'_>, Option<&[f32]>), sums: &[f32], to: &mut [f32]| {
                    let lanes = matrix.cpu(x).matrix_rows();
                    cpu.run(Take {
                        sums,
                        lanes,
                        columns: columns.len(),
                        some: of_panel.start - columns.start..of_panel.end - columns.start,
                        rows: rows.len(),
                        to,
                    });
                    if let Some(bias) = bias {
                        for column in to.chunks_exact_mut(SUPER) {
                            cpu.add(&mut column[..rows.len()], &bias[rows.clone()]);
                        }
                    }
                };
            let [values, others] = &mut values;
            let values = &mut values[..of_panel.len() * SUPER];
            take(gate.unwrap_or(up), first, values);
            if gate.is_some() {
                let others = &mut others[..values.len()];
                take(up, second, others);
                cpu.activate_multiply(activation, values, others);
            } else {
                cpu.activate(activation, values);
            }
            cpu.run(Fill {
                to: &self.to,
                piece: (block..block + 1, of_panel.clone()),
                x: Values {
                    x: values,
                    stride: SUPER,
                    column: of_panel.start,
                    first: rows.start,
                },
            });
        }
    }
}

/// Part `part` of `parts` nearly equal ones of `0..count`.
fn split(count: usize, parts: usize, part: usize) -> Range<usize> {
    count * part / parts..count * (part + 1) / parts
}

/// The columns of some panels.
fn panels_columns(x: &Activations, panels: &Range<usize>) -> Range<usize> {
    let all = x.panels();
    all.get(panels.start).start..all.get(panels.end - 1).end
}

/// Copies the results of some columns from where they have been added up.
struct Take<'t> {
    sums: &'t [f32], // (panels of rows, columns, lanes)
    lanes: usize,
    columns: usize,
    some: Range<usize>,
    rows: usize,
    to: &'t mut [f32], // (columns, 256)
}

impl Kernel for Take<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _simd: S) {
        match self.lanes {
            16 => self.copy::<16>(),
            8 => self.copy::<8>(),
            4 => self.copy::<4>(),
            1 => self.copy::<1>(),
            lanes => unreachable!("vectors of {lanes} rows"),
        }
    }
}

impl Take<'_> {
    #[inline(always)]
    fn copy<const LANES: usize>(self) {
        let panels = self.sums.chunks_exact(self.columns * LANES);
        for (panel, start) in panels.zip((0..self.rows).step_by(LANES)) {
            let (columns, _) = panel.as_chunks::<LANES>();
            let columns = &columns[self.some.clone()];
            let count = LANES.min(self.rows - start);
            for (sums, to) in columns.iter().zip(self.to.chunks_exact_mut(SUPER)) {
                let to = &mut to[start..start + count];
                match <&mut [f32; LANES]>::try_from(&mut *to) {
                    Ok(to) => *to = *sums,
                    // The last lanes are the rows of a panel that is not whole.
                    Err(_) => to.copy_from_slice(&sums[LANES - count..]),
                }
            }
        }
    }
}

/// Prepares a block of the columns of a panel.
struct Fill<'f, 'a> {
    to: &'f Filling<'a>,
    piece: (Range<usize>, Range<usize>),
    x: Values<'f>,
}

impl Kernel for Fill<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        // SAFETY: tasks are different pairs of a block and a range of panels.
        unsafe { self.to.write(simd, self.piece, self.x) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Cpu;
    use crate::{Format, MatMul, Prepare};

    /// Numbers that repeat late.
    fn numbers(seed: u64, count: usize) -> Vec<f32> {
        let mut state = seed;
        (0..count)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// What a case of the test below is made of.
    struct Case {
        format: &'static str,
        /// Format of the matrix that reads the hidden values.
        next: &'static str,
        columns: usize,
        rows: usize,
        gated: bool,
        biased: bool,
    }

    /// The prepared hidden values are, bit for bit, those of whole matrices multiplied one after the
    /// other, for any number of threads.
    #[test]
    fn hidden_values_are_those_of_whole_matrices() {
        const COLS: usize = 64;
        let case = |format, next, columns, rows, gated, biased| Case {
            format,
            next,
            columns,
            rows,
            gated,
            biased,
        };
        let cases = [
            case("Q8_0", "Q4_K", 97, 512, true, false),
            case("Q8_0", "Q6_K", 131, 800, true, true),
            case("F32", "F32", 98, 300, true, true),
            case("Q4_0", "BF16", 102, 257, false, true),
            case("BF16", "F16", 99, 64, false, false),
            // Fewer rows than a vector has lanes.
            case("Q8_0", "Q8_0", 112, 5, true, false),
            // More columns than a task.
            case("Q4_0", "Q4_0", 1030, 288, true, true),
        ];
        for case in cases {
            let named = |name: &str| {
                let all = Format::ALL.iter();
                *all.clone().find(|format| format.name() == name).unwrap()
            };
            let (format, precision) = (named(case.format), Precision::of(named(case.next)));
            let (rows, columns) = (case.rows, case.columns);
            let bytes = [1, 2].map(|seed| {
                let mut bytes = vec![0; format.row_bytes(COLS).unwrap() * rows];
                let weights = numbers(seed, rows * COLS);
                format.encode(&weights, None, &mut bytes);
                bytes
            });
            let [gate, up] = bytes
                .each_ref()
                .map(|bytes| Matrix::new(format, rows, COLS, bytes).unwrap());
            let biases = [3, 4].map(|seed| numbers(seed, rows));
            let bias = |which: usize| case.biased.then_some(&biases[which][..]);
            let values = numbers(5, columns * COLS);
            for cpu in Cpu::all() {
                // Scalar code takes its time.
                if cpu.isa() == crate::Isa::Scalar && columns > 500 {
                    continue;
                }
                let mut x = Activations::with_capacity(cpu, columns, COLS);
                Prepare::new(&values, COLS, up.precision(), &mut x).work();
                let product = |matrix, bias: Option<&[f32]>| {
                    let mut out = vec![0.0; columns * rows];
                    MatMul::new(matrix, &x, &mut out).work();
                    for column in out.chunks_exact_mut(rows) {
                        if let Some(bias) = bias {
                            cpu.add(column, bias);
                        }
                    }
                    out
                };
                let activation = Activation::Silu;
                let mut hidden = product(if case.gated { gate } else { up }, bias(0));
                match case.gated {
                    true => cpu.activate_multiply(activation, &mut hidden, &product(up, bias(1))),
                    false => cpu.activate(activation, &mut hidden),
                }
                let mut expected = Activations::with_capacity(cpu, columns, rows);
                Prepare::new(&hidden, rows, precision, &mut expected).work();
                for threads in [1, 3] {
                    let mut scratch = HiddenScratch::new(threads, columns).unwrap();
                    let mut found = Activations::with_capacity(cpu, columns, rows);
                    let inputs = HiddenInputs {
                        gate: case.gated.then_some((gate, bias(0))),
                        up: (up, bias(usize::from(case.gated))),
                        activation,
                        x: &x,
                    };
                    let job = Hidden::new(inputs, &mut scratch, precision, &mut found);
                    std::thread::scope(|scope| {
                        // One more than there is room for.
                        (0..threads).for_each(|_| drop(scope.spawn(|| job.work())));
                        job.work();
                    });
                    let name = format!("{} {} {columns} {rows}", cpu.isa(), case.format);
                    assert!(found.same_as(&expected), "{name}, {threads} threads");
                }
            }
        }
    }
}
