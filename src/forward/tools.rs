//! The steps of a pass over all tokens of a batch, each shared with the team where it pays.

use yareta_kernels::{Activations, Cpu, LayerNorm, MatMul, Matrix, Precision, Prepare};

use crate::arch::NormKind;
use crate::config::Config;
use crate::gguf::Gguf;
use crate::threads::Team;
use crate::weights::{Linear, Norm};

/// What every step needs.
#[derive(Clone, Copy)]
pub(super) struct Tools<'a> {
    pub(super) cpu: Cpu,
    pub(super) gguf: &'a Gguf,
    pub(super) team: &'a Team<'a>,
}

impl Tools<'_> {
    /// Each row of `out` is the norm of the row of `x`.
    pub(super) fn norm(self, config: &Config, norm: &Norm, x: &[f32], out: &mut [f32]) {
        let length = norm.weight.len();
        let rows = x.chunks_exact(length).zip(out.chunks_exact_mut(length));
        self.team
            .for_each(rows, |(x, out)| norm_row(self.cpu, config, norm, x, out));
    }

    /// `x += y`, and each row of `out` is the norm of the row of `x`.
    pub(super) fn add_and_norm(
        self,
        (config, norm): (&Config, &Norm),
        x: &mut [f32],
        y: &[f32],
        out: &mut [f32],
    ) {
        let length = norm.weight.len();
        let rows = x.chunks_exact_mut(length).zip(y.chunks_exact(length));
        let rows = rows.zip(out.chunks_exact_mut(length));
        self.team.for_each(rows, |((x, y), out)| {
            self.cpu.add(x, y);
            norm_row(self.cpu, config, norm, x, out);
        });
    }

    /// Each row of `x` becomes its norm.
    pub(super) fn norm_in_place(self, config: &Config, norm: &Norm, x: &mut [f32]) {
        let rows = x.chunks_exact_mut(norm.weight.len());
        self.team
            .for_each(rows, |row| norm_row_in_place(self.cpu, config, norm, row));
    }

    /// `x += y`, both rows of `length`.
    pub(super) fn add(self, length: usize, x: &mut [f32], y: &[f32]) {
        let rows = x.chunks_exact_mut(length).zip(y.chunks_exact(length));
        self.team.for_each(rows, |(x, y)| self.cpu.add(x, y));
    }

    /// Prepares the columns of `x`, each of `length`, for matrix products.
    pub(super) fn prepare(
        self,
        x: &[f32],
        length: usize,
        precision: Precision,
        into: &mut Activations,
    ) {
        let job = Prepare::new(x, length, precision, into);
        if x.len() == length {
            // One column is less work than a thread that comes to help costs.
            job.work();
        } else {
            self.team.run(&|| job.work());
        }
    }

    /// The products of all columns of `x` with each of the weights, in one operation. `next` is multiplied
    /// after them, if that is known.
    pub(super) fn multiply<const N: usize>(
        self,
        x: &Activations,
        mut products: [(&Linear, &mut [f32]); N],
        next: Option<&Linear>,
    ) {
        let mut next = next.map(|linear| linear.matrix.of(self.gguf));
        let expected = next.map_or(&[][..], |next| expected(next, x.columns()));
        let mut jobs = products
            .each_mut()
            .map(|(linear, out)| MatMul::new(linear.matrix.of(self.gguf), x, out));
        for job in jobs.iter_mut().rev() {
            job.followed_by(next);
            next = Some(job.weights());
        }
        self.team
            .run_before(&|| jobs.iter().for_each(MatMul::work), expected);
        for (linear, out) in products {
            if let Some(bias) = &linear.bias {
                let rows = out.chunks_exact_mut(bias.len());
                self.team.for_each(rows, |row| self.cpu.add(row, bias));
            }
        }
    }

    /// Gives queries or keys, (tokens, heads, `key_dim`), their norm, if they have one, and their
    /// positions, whose cosines and sines are in `angles`, (tokens, pairs, 2).
    pub(super) fn place(
        self,
        config: &Config,
        norm: Option<&Norm>,
        heads: &mut [f32],
        angles: &[f32],
    ) {
        let pairing = config.architecture.pairing;
        let angles = angles.chunks_exact(config.rope.dimensions);
        let per_token = heads.len() / angles.len().max(1);
        let rows = heads.chunks_exact_mut(per_token).zip(angles);
        self.team.for_each(rows, |(heads, angles)| {
            for head in heads.chunks_exact_mut(config.key_dim) {
                if let Some(norm) = norm {
                    norm_row_in_place(self.cpu, config, norm, head);
                }
                self.cpu.rotate(head, angles, pairing);
            }
        });
    }
}

/// What a helper that waits for a product of so many columns with `next` is expected to read.
pub(super) fn expected(next: Matrix<'_>, columns: usize) -> &[u8] {
    match columns {
        1 => next.beginning(1),
        _ => &[],
    }
}

fn norm_row(cpu: Cpu, config: &Config, norm: &Norm, x: &[f32], out: &mut [f32]) {
    let epsilon = config.norm_epsilon;
    match config.architecture.norm {
        NormKind::Rms => cpu.rms_norm(x, Some(&norm.weight), epsilon, out),
        NormKind::Layer => {
            let norm = LayerNorm {
                weight: Some(&norm.weight),
                bias: norm.bias.as_deref(),
                epsilon,
            };
            cpu.layer_norm(x, norm, out);
        }
    }
}

fn norm_row_in_place(cpu: Cpu, config: &Config, norm: &Norm, row: &mut [f32]) {
    // Rows are normed a part at a time only by value, so the input is copied: on the stack,
    // for the heads and widths that models have.
    const ON_STACK: usize = 1024;
    let mut stack = [0.0; ON_STACK];
    let mut heap = Vec::new();
    let copy = match stack.get_mut(..row.len()) {
        Some(copy) => copy,
        None => {
            heap.resize(row.len(), 0.0);
            &mut heap[..]
        }
    };
    copy.copy_from_slice(row);
    norm_row(cpu, config, norm, copy, row);
}
