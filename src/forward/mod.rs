//! The forward pass: from tokens to logits, one formula for every architecture of the table.
//!
//! ```text
//! a = norm1(x)            y = attention(a)
//! f = norm2(x + y) if sequential, norm2(x) if parallel, a if there is no norm2
//! x' = x + y + ffn(f)     post-norms, if present, apply to y and to ffn(f)
//! ```
//!
//! The leader runs this sequential code; what is worth sharing is posted to its [`Team`]. Tokens
//! are the columns of every matrix product. Each result depends on its own column alone, in a
//! fixed order of arithmetic, so a prompt gives the same bits fed at once, in pieces or token by
//! token, on any number of threads.
//!
//! What the last layer computes of a token besides its key and value is used for its logits alone. So
//! that layer does so only for the tokens whose logits are wanted: of a prompt, for the last.

mod experts;
mod scratch;
mod tools;

pub(crate) use scratch::{LOGIT_COLUMNS, Scratch};

use yareta_kernels::{
    Activations, Attention, AttentionInputs, Cpu, Hidden, HiddenInputs, HiddenScratch, KvLayer,
    Matrix,
};

use crate::arch::Residual;
use crate::config::Config;
use crate::gguf::Gguf;
use crate::threads::Team;
use crate::weights::{FeedForward, Layer, Linear, Mlp, Weights};
use crate::{Error, Result};
use std::ops::Range;
use tools::{Tools, expected};

/// What a pass reads: everything about a model, immutable.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) cpu: Cpu,
    pub(crate) gguf: &'a Gguf,
    pub(crate) config: &'a Config,
    pub(crate) weights: &'a Weights,
    /// Angle per position of each pair of rotated elements, (pairs).
    pub(crate) frequencies: &'a [f64],
}

/// One forward pass over a batch of tokens.
pub(crate) struct Pass<'a> {
    parts: Parts<'a>,
    tools: Tools<'a>,
    cache: &'a mut [KvLayer],
    scratch: &'a mut Scratch,
    /// Position of the first token of the batch.
    position: usize,
    /// Number of tokens.
    tokens: usize,
}

impl<'a> Pass<'a> {
    /// A pass that writes the cache from `position` on.
    pub(crate) fn new(
        parts: Parts<'a>,
        team: &'a Team<'a>,
        cache: &'a mut [KvLayer],
        scratch: &'a mut Scratch,
        position: usize,
    ) -> Pass<'a> {
        Pass {
            parts,
            tools: Tools {
                cpu: parts.cpu,
                gguf: parts.gguf,
                team,
            },
            cache,
            scratch,
            position,
            tokens: 0,
        }
    }

    /// Runs `tokens`, at most the scratch's batch of them and all in the vocabulary, through all
    /// layers, the last of them for as much as the logits of the tokens of the numbers `wanted` need.
    /// Asks `cancelled` between layers.
    ///
    /// # Errors
    /// [`Error::Cancelled`]; then positions from the first of the batch on hold nothing.
    pub(crate) fn run(
        &mut self,
        tokens: &[u32],
        wanted: Range<usize>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<()> {
        self.tokens = tokens.len();
        self.embed(tokens);
        self.turn();
        let layers = &self.parts.weights.layers;
        for (index, layer) in layers.iter().enumerate() {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            let goes_on = match index + 1 == layers.len() {
                true => wanted.clone(),
                false => 0..tokens.len(),
            };
            self.attend(index, layer, goes_on.clone());
            if !goes_on.is_empty() {
                let next = match layers.get(index + 1) {
                    Some(layer) => &layer.query,
                    None => &self.parts.weights.output,
                };
                self.join(layer, goes_on, next);
            }
        }
        // What the last layer left.
        let width = self.parts.config.width;
        let wanted = rows(&wanted, width);
        let residual = &mut self.scratch.residual[wanted.clone()];
        self.tools
            .add(width, residual, &self.scratch.change[wanted]);
        Ok(())
    }

    /// Computes the logits of `count` tokens of the batch from `first` on, which were wanted, at most
    /// [`LOGIT_COLUMNS`]: (count, vocabulary).
    pub(crate) fn logits(&mut self, first: usize, count: usize) -> &[f32] {
        let Config {
            width, vocabulary, ..
        } = *self.parts.config;
        let weights = self.parts.weights;
        let scratch = &mut *self.scratch;
        let normed = &mut scratch.normed[..count * width];
        let residual = &scratch.residual[first * width..(first + count) * width];
        self.tools
            .norm(self.parts.config, &weights.output_norm, residual, normed);
        let logits = &mut scratch.logits[..count * vocabulary];
        let prepared = &mut scratch.prepared;
        let precision = weights.output.matrix.precision();
        self.tools.prepare(normed, width, precision, prepared);
        let first = weights.layers.first().map(|layer| &layer.query);
        self.tools
            .multiply(prepared, [(&weights.output, logits)], first);
        &scratch.logits[..count * vocabulary]
    }

    /// The vector of each token: its row of the embedding.
    fn embed(&mut self, tokens: &[u32]) {
        let width = self.parts.config.width;
        let matrix = self.parts.weights.embedding.of(self.parts.gguf);
        let rows = self.scratch.residual.chunks_exact_mut(width).zip(tokens);
        self.tools.team.for_each(rows, |(row, token)| {
            matrix.format().decode(matrix.row(*token as usize), row);
        });
    }

    /// Cosines and sines for the positions of the batch.
    fn turn(&mut self) {
        let rope = &self.parts.config.rope;
        let magnitude = f64::from(rope.magnitude());
        let frequencies = self.parts.frequencies;
        let first = self.position;
        let angles = &mut self.scratch.angles[..self.tokens * rope.dimensions];
        let rows = angles.chunks_exact_mut(rope.dimensions).enumerate();
        self.tools.team.for_each(rows, |(token, row)| {
            let position = (first + token) as f64;
            for (turn, frequency) in row.as_chunks_mut().0.iter_mut().zip(frequencies) {
                let (sin, cos) = (position * frequency).sin_cos();
                *turn = [(cos * magnitude) as f32, (sin * magnitude) as f32];
            }
        });
    }

    /// The first half of a layer: adds what the layer before left in `change`, stores keys and values,
    /// and leaves, for the tokens that go on, in `change` what the attention adds, and in `normed` what
    /// it read.
    fn attend(&mut self, index: usize, layer: &Layer, goes_on: Range<usize>) {
        let config = self.parts.config;
        let tokens = self.tokens;
        let Scratch {
            residual,
            normed,
            change,
            queries,
            keys,
            values,
            mixed,
            angles,
            prepared,
            attention,
            ..
        } = &mut *self.scratch;
        let normed = &mut normed[..tokens * config.width];
        let queries = &mut queries[..goes_on.len() * config.heads * config.key_dim];
        let keys = &mut keys[..tokens * config.kv_heads * config.key_dim];
        let values = &mut values[..tokens * config.kv_heads * config.value_dim];
        let mixed = &mut mixed[..goes_on.len() * config.heads * config.value_dim];
        let change = &mut change[..tokens * config.width];

        let residual = &mut residual[..tokens * config.width];
        let norm = &layer.attention_norm;
        match index {
            0 => self.tools.norm(config, norm, residual, normed),
            _ => {
                let norm = (config, norm);
                self.tools.add_and_norm(norm, residual, change, normed);
            }
        }
        let (query, key, value) = (&layer.query, &layer.key, &layer.value);
        let output = &layer.attention_output;
        let of_query = query.matrix.precision();
        let precision = key.matrix.precision().and(value.matrix.precision());
        let all = goes_on.len() == tokens;
        let precision = match all {
            true => precision.and(of_query),
            false => precision,
        };
        self.tools
            .prepare(normed, config.width, precision, prepared);
        let (key, value) = ((key, &mut *keys), (value, &mut *values));
        match all {
            true => {
                let query = (query, &mut *queries);
                self.tools
                    .multiply(prepared, [query, key, value], Some(output));
            }
            false => self.tools.multiply(prepared, [key, value], None),
        }
        let angles = &angles[..tokens * config.rope.dimensions];
        self.tools
            .place(config, layer.key_norm.as_ref(), keys, angles);
        let cache = &mut self.cache[index];
        cache.store(self.parts.cpu, self.position, keys, values);
        if goes_on.is_empty() {
            return;
        }
        if !all {
            let normed = &normed[rows(&goes_on, config.width)];
            self.tools.prepare(normed, config.width, of_query, prepared);
            self.tools
                .multiply(prepared, [(query, &mut *queries)], Some(output));
        }
        let angles = &angles[rows(&goes_on, config.rope.dimensions)];
        self.tools
            .place(config, layer.query_norm.as_ref(), queries, angles);

        let inputs = AttentionInputs {
            queries,
            heads: config.heads,
            cache,
            first_position: self.position + goes_on.start,
            scale: config.attention_scale,
            window: config.window,
            soft_cap: None,
            sinks: None,
            slopes: None,
        };
        let job = Attention::new(self.parts.cpu, inputs, attention, mixed);
        let next = expected(output.matrix.of(self.parts.gguf), goes_on.len());
        self.tools.team.run_before(&|| job.work(), next);

        let precision = output.matrix.precision();
        let length = config.heads * config.value_dim;
        self.tools.prepare(mixed, length, precision, prepared);
        let change = &mut change[rows(&goes_on, config.width)];
        let next = Some(layer.feed_forward.first());
        self.tools
            .multiply(prepared, [(output, &mut *change)], next);
        if let Some(norm) = &layer.attention_post_norm {
            self.tools.norm_in_place(config, norm, change);
        }
    }

    /// The second half of a layer, for the tokens that go on: adds what the attention gives, and leaves
    /// in `change` what the feed-forward network gives. `next` is multiplied after it.
    fn join(&mut self, layer: &Layer, goes_on: Range<usize>, next: &Linear) {
        let config = self.parts.config;
        let numbers = rows(&goes_on, config.width);
        let tools = self.tools;
        let residual = &mut self.scratch.residual[numbers.clone()];
        let normed = &mut self.scratch.normed[numbers.clone()];
        let change = &self.scratch.change[numbers.clone()];
        let norm = layer.feed_forward_norm.as_ref();
        match config.residual {
            Residual::Sequential => match norm {
                Some(norm) => tools.add_and_norm((config, norm), residual, change, normed),
                None => tools.add(config.width, residual, change),
            },
            Residual::Parallel => {
                if let Some(norm) = norm {
                    tools.norm(config, norm, residual, normed);
                }
                tools.add(config.width, residual, change);
            }
        }
        match &layer.feed_forward {
            FeedForward::Dense(mlp) => self.dense(mlp, numbers.clone(), next),
            FeedForward::Experts { router, experts } => {
                let layer = (router, &experts[..], next);
                experts::mix(tools, config, layer, self.scratch, goes_on);
            }
        }
        if let Some(norm) = &layer.feed_forward_post_norm {
            let change = &mut self.scratch.change[numbers];
            tools.norm_in_place(config, norm, change);
        }
    }

    /// `change = mlp(normed)`, of the numbers in that range of both.
    fn dense(&mut self, mlp: &Mlp, numbers: Range<usize>, next: &Linear) {
        let config = self.parts.config;
        let scratch = &mut *self.scratch;
        let hidden = HiddenBuffers {
            few: &mut scratch.hidden_few,
            many: &mut scratch.hidden_many,
            input: &mut scratch.prepared,
            output: &mut scratch.hidden,
            next,
        };
        let normed = &scratch.normed[numbers.clone()];
        let change = &mut scratch.change[numbers];
        hidden.compute(self.tools, config, mlp, (normed, change));
    }
}

/// The buffers of a feed-forward network.
struct HiddenBuffers<'a> {
    /// Products with the gate and beside it, of columns that are few.
    few: &'a mut [Vec<f32>; 2], // (tokens, hidden) each
    /// What is needed where they are many.
    many: &'a mut HiddenScratch,
    input: &'a mut Activations,
    output: &'a mut Activations,
    /// What is multiplied after the network.
    next: &'a Linear,
}

impl HiddenBuffers<'_> {
    /// `output = mlp(input)`, both (tokens, width).
    fn compute(self, tools: Tools, config: &Config, mlp: &Mlp, io: (&[f32], &mut [f32])) {
        let (input, output) = io;
        let next = Some(self.next);
        let tokens = input.len() / config.width;
        let mut precision = mlp.up.matrix.precision();
        if let Some(gate) = &mlp.gate {
            precision = precision.and(gate.matrix.precision());
        }
        tools.prepare(input, config.width, precision, self.input);
        let hidden = match Hidden::pays(tokens) {
            true => self.many_columns(tools, config, mlp),
            false => self.few_columns(tools, config, mlp, tokens),
        };
        tools.multiply(hidden, [(&mlp.down, output)], next);
    }
}

impl<'a> HiddenBuffers<'a> {
    /// The hidden values of many columns, prepared.
    fn many_columns(self, tools: Tools, config: &Config, mlp: &Mlp) -> &'a Activations {
        let part = |linear| product(tools.gguf, linear);
        let inputs = HiddenInputs {
            gate: mlp.gate.as_ref().map(part),
            up: part(&mlp.up),
            activation: config.architecture.activation,
            x: self.input,
        };
        let precision = mlp.down.matrix.precision();
        let job = Hidden::new(inputs, self.many, precision, self.output);
        tools.team.run(&|| job.work());
        self.output
    }

    /// The hidden values of a few columns, prepared.
    fn few_columns(
        self,
        tools: Tools,
        config: &Config,
        mlp: &Mlp,
        tokens: usize,
    ) -> &'a Activations {
        let activation = config.architecture.activation;
        let [gate, up] = self
            .few
            .each_mut()
            .map(|few| &mut few[..tokens * config.hidden]);
        match &mlp.gate {
            Some(weights) => {
                let products = [(weights, &mut *gate), (&mlp.up, &mut *up)];
                tools.multiply(self.input, products, Some(&mlp.down));
                let rows = gate.chunks_exact_mut(config.hidden);
                let rows = rows.zip(up.chunks_exact(config.hidden));
                tools.team.for_each(rows, |(gate, up)| {
                    tools.cpu.activate_multiply(activation, gate, up);
                });
            }
            None => {
                tools.multiply(self.input, [(&mlp.up, &mut *gate)], Some(&mlp.down));
                tools
                    .team
                    .for_each(gate.chunks_exact_mut(config.hidden), |row| {
                        tools.cpu.activate(activation, row);
                    });
            }
        }
        let precision = mlp.down.matrix.precision();
        tools.prepare(gate, config.hidden, precision, self.output);
        self.output
    }
}

/// The numbers of some tokens, of which each has `length`.
fn rows(tokens: &Range<usize>, length: usize) -> Range<usize> {
    tokens.start * length..tokens.end * length
}

/// A matrix and its bias, as a job takes them.
fn product<'a>(gguf: &'a Gguf, linear: &'a Linear) -> (Matrix<'a>, Option<&'a [f32]>) {
    (linear.matrix.of(gguf), linear.bias.as_deref())
}
