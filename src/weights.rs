//! The tensors of a model, bound by name and checked against the model's numbers.
//!
//! A matrix stays where it is in the file: what is kept of it is where its rows lie. Only norms,
//! biases and frequency factors are decoded, a few numbers per layer. Where projections are fused
//! in one tensor (q, k and v; gate and up), each becomes a range of its rows, so that nothing
//! beyond this module sees the difference.
//!
//! Every tensor of the file must find its place: one that nobody asked for could be a bias that
//! silently goes missing from the sum, so it is an error. And what is optional is so for a model,
//! not for a layer: a layer without the gate that the others have is a broken file, not a variant.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use yareta_kernels::{Format, Matrix, Precision};

use crate::arch::{NormKind, Residual};
use crate::config::{Config, Experts};
use crate::gguf::{Gguf, TensorInfo};
use crate::vector::Vector;
use crate::{Error, Result};

/// All weights of a model.
#[derive(Debug)]
pub(crate) struct Weights {
    pub(crate) embedding: MatrixAt, // (vocabulary, width)
    pub(crate) layers: Vec<Layer>,
    pub(crate) output_norm: Norm,
    pub(crate) output: Linear, // (vocabulary, width)
    /// What the angle of each pair is divided by, (rope dimensions / 2).
    pub(crate) rope_factors: Option<Vector>,
}

/// The weights of one layer.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attention_norm: Norm,
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    /// Norms of each head of the queries and keys.
    pub(crate) query_norm: Option<Norm>,
    pub(crate) key_norm: Option<Norm>,
    pub(crate) attention_output: Linear,
    /// Norm of what the attention adds.
    pub(crate) attention_post_norm: Option<Norm>,
    /// `None` where the feed-forward network reads what the attention reads, beside it.
    pub(crate) feed_forward_norm: Option<Norm>,
    pub(crate) feed_forward: FeedForward,
    /// Norm of what the feed-forward network adds.
    pub(crate) feed_forward_post_norm: Option<Norm>,
}

/// The second half of a layer.
#[derive(Debug)]
pub(crate) enum FeedForward {
    Dense(Mlp),
    Experts {
        router: Linear, // (experts, width)
        experts: Vec<Mlp>,
    },
}

impl FeedForward {
    /// The matrix that is multiplied first.
    pub(crate) fn first(&self) -> &Linear {
        match self {
            FeedForward::Dense(mlp) => mlp.first(),
            FeedForward::Experts { router, .. } => router,
        }
    }
}

/// `down(activation(up(x)))`, or `down(activation(gate(x)) * up(x))`.
#[derive(Debug)]
pub(crate) struct Mlp {
    pub(crate) gate: Option<Linear>,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
}

impl Mlp {
    /// The matrix that is multiplied first.
    pub(crate) fn first(&self) -> &Linear {
        self.gate.as_ref().unwrap_or(&self.up)
    }
}

/// A matrix and perhaps a bias.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) matrix: MatrixAt,
    pub(crate) bias: Option<Vector>, // (rows)
}

/// Weight and perhaps bias of a norm.
#[derive(Debug)]
pub(crate) struct Norm {
    pub(crate) weight: Vector,
    pub(crate) bias: Option<Vector>,
}

/// Where the rows of a matrix lie in the file.
#[derive(Clone, Debug)]
pub(crate) struct MatrixAt {
    tensor: Arc<TensorInfo>,
    bytes: Range<usize>, // of the tensor's
    format: Format,
    rows: usize,
    cols: usize,
}

impl MatrixAt {
    /// The matrix in the mapped file.
    pub(crate) fn of<'a>(&self, gguf: &'a Gguf) -> Matrix<'a> {
        let bytes = &gguf.bytes(&self.tensor)[self.bytes.clone()];
        let matrix = Matrix::new(self.format, self.rows, self.cols, bytes);
        matrix.expect("the length was checked when the matrix was bound")
    }

    /// What a product with it reads its activations as.
    pub(crate) fn precision(&self) -> Precision {
        Precision::of(self.format)
    }

    fn row_range(&self, rows: Range<usize>) -> MatrixAt {
        let row_bytes = self.bytes.len() / self.rows;
        let start = self.bytes.start + rows.start * row_bytes;
        MatrixAt {
            bytes: start..start + rows.len() * row_bytes,
            rows: rows.len(),
            ..self.clone()
        }
    }
}

impl Linear {
    fn row_range(&self, rows: Range<usize>) -> Linear {
        Linear {
            matrix: self.matrix.row_range(rows.clone()),
            bias: self.bias.as_ref().map(|bias| bias.slice(rows)),
        }
    }
}

impl Weights {
    /// Binds the tensors of `gguf`; after each layer calls `progress` with the layers done, which
    /// may end the binding with an error.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::TensorShape`] or [`Error::TensorType`] naming the first
    /// tensor that is wrong, [`Error::UnknownTensor`] naming one that has no place in the model,
    /// [`Error::LayersDiffer`] naming one that only some layers have.
    pub(crate) fn bind(
        gguf: &Gguf,
        config: &Config,
        mut progress: impl FnMut(usize) -> Result<()>,
    ) -> Result<Weights> {
        let mut binder = Binder {
            gguf,
            config,
            bound: HashSet::new(),
        };
        let embedding = binder.matrix("token_embd.weight", &[config.width, config.vocabulary])?;
        let output_norm = binder.norm("output_norm", config.width)?;
        let output = match binder.linear_if_present("output", config.width, config.vocabulary)? {
            Some(output) => output,
            None => Linear {
                matrix: embedding.clone(),
                bias: binder.vector("output.bias", config.vocabulary)?,
            },
        };
        let rope_factors = binder.vector("rope_freqs.weight", config.rope.dimensions / 2)?;
        let mut layers = Vec::new();
        for layer in 0..config.layers {
            layers.push(binder.layer(layer)?);
            progress(layer + 1)?;
        }
        binder.finish()?;
        Ok(Weights {
            embedding,
            layers,
            output_norm,
            output,
            rope_factors,
        })
    }
}

/// Tensors that hold nothing that metadata does not say better: frequencies of rotary positions
/// and causal masks, as older converters wrote them.
fn is_redundant(name: &str) -> bool {
    [
        ".attn_rot_embd",
        ".rotary_emb.inv_freq",
        ".rope_freqs.weight",
        ".attn.masked_bias",
    ]
    .iter()
    .any(|part| name.contains(part))
}

/// A file whose tensors are being bound.
struct Binder<'a> {
    gguf: &'a Gguf,
    config: &'a Config,
    bound: HashSet<&'a str>,
}

impl<'a> Binder<'a> {
    fn layer(&mut self, layer: usize) -> Result<Layer> {
        let config = self.config;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let (query, key, value) = self.query_key_value(layer)?;
        let heads = config.heads * config.value_dim;
        Ok(Layer {
            attention_norm: self.norm(&name("attn_norm"), config.width)?,
            query,
            key,
            value,
            query_norm: self.norm_if_present(&name("attn_q_norm"), config.key_dim)?,
            key_norm: self.norm_if_present(&name("attn_k_norm"), config.key_dim)?,
            attention_output: self.linear(&name("attn_output"), heads, config.width)?,
            attention_post_norm: self
                .norm_if_present(&name("post_attention_norm"), config.width)?,
            feed_forward_norm: match config.residual {
                Residual::Sequential => Some(self.norm(&name("ffn_norm"), config.width)?),
                Residual::Parallel => self.norm_if_present(&name("ffn_norm"), config.width)?,
            },
            feed_forward: self.feed_forward(layer)?,
            feed_forward_post_norm: self.norm_if_present(&name("post_ffw_norm"), config.width)?,
        })
    }

    fn query_key_value(&mut self, layer: usize) -> Result<(Linear, Linear, Linear)> {
        let config = self.config;
        let name = |part: &str| format!("blk.{layer}.{part}");
        let queries = config.heads * config.key_dim;
        let keys = config.kv_heads * config.key_dim;
        let values = config.kv_heads * config.value_dim;
        let all = self.sum(&[queries, keys, values])?;
        if let Some(fused) = self.linear_if_present(&name("attn_qkv"), config.width, all)? {
            return Ok((
                fused.row_range(0..queries),
                fused.row_range(queries..queries + keys),
                fused.row_range(queries + keys..all),
            ));
        }
        Ok((
            self.linear(&name("attn_q"), config.width, queries)?,
            self.linear(&name("attn_k"), config.width, keys)?,
            self.linear(&name("attn_v"), config.width, values)?,
        ))
    }

    fn feed_forward(&mut self, layer: usize) -> Result<FeedForward> {
        let Some(experts) = self.config.experts else {
            return Ok(FeedForward::Dense(self.mlp(layer)?));
        };
        let router = format!("blk.{layer}.ffn_gate_inp");
        let router = self.linear(&router, self.config.width, experts.count)?;
        let stacked = format!("blk.{layer}.ffn_up_exps.weight");
        let experts = if self.gguf.tensor(&stacked).is_some() {
            self.stacked_experts(layer, experts)?
        } else {
            self.single_experts(layer, experts)?
        };
        Ok(FeedForward::Experts { router, experts })
    }

    fn mlp(&mut self, layer: usize) -> Result<Mlp> {
        let (width, hidden) = (self.config.width, self.config.hidden);
        let name = |part: &str| format!("blk.{layer}.{part}");
        let gate = self.linear_if_present(&name("ffn_gate"), width, hidden)?;
        let both = self.sum(&[hidden, hidden])?;
        let up = self.gguf.tensor(&name("ffn_up.weight"));
        let fused =
            gate.is_none() && up.is_some_and(|up| up.shape().get(1) == Some(&(both as u64)));
        let (gate, up) = if fused {
            let fused = self.linear(&name("ffn_up"), width, both)?;
            let gate = fused.row_range(0..hidden);
            (Some(gate), fused.row_range(hidden..both))
        } else {
            (gate, self.linear(&name("ffn_up"), width, hidden)?)
        };
        let down = self.linear(&name("ffn_down"), hidden, width)?;
        Ok(Mlp { gate, up, down })
    }

    /// Experts whose matrices lie one behind the other in one tensor.
    fn stacked_experts(&mut self, layer: usize, experts: Experts) -> Result<Vec<Mlp>> {
        let (width, hidden) = (self.config.width, self.config.hidden);
        let mut stack = |part: &str, cols: usize, rows: usize| {
            let name = format!("blk.{layer}.{part}_exps.weight");
            let stack = self.matrix(&name, &[cols, rows, experts.count])?;
            Ok((0..experts.count).map(move |expert| Linear {
                matrix: stack.row_range(expert * rows..(expert + 1) * rows),
                bias: None,
            }))
        };
        let gate = stack("ffn_gate", width, hidden)?;
        let up = stack("ffn_up", width, hidden)?;
        let down = stack("ffn_down", hidden, width)?;
        Ok(gate
            .zip(up)
            .zip(down)
            .map(|((gate, up), down)| Mlp {
                gate: Some(gate),
                up,
                down,
            })
            .collect())
    }

    /// Experts with tensors of their own, as files from before 2024-04 have them.
    fn single_experts(&mut self, layer: usize, experts: Experts) -> Result<Vec<Mlp>> {
        let (width, hidden) = (self.config.width, self.config.hidden);
        (0..experts.count)
            .map(|expert| {
                let name = |part: &str| format!("blk.{layer}.{part}.{expert}");
                Ok(Mlp {
                    gate: Some(self.linear(&name("ffn_gate"), width, hidden)?),
                    up: self.linear(&name("ffn_up"), width, hidden)?,
                    down: self.linear(&name("ffn_down"), hidden, width)?,
                })
            })
            .collect()
    }

    /// `name.weight` and, if present, `name.bias`.
    fn linear(&mut self, name: &str, cols: usize, rows: usize) -> Result<Linear> {
        Ok(Linear {
            matrix: self.matrix(&format!("{name}.weight"), &[cols, rows])?,
            bias: self.vector(&format!("{name}.bias"), rows)?,
        })
    }

    fn linear_if_present(
        &mut self,
        name: &str,
        cols: usize,
        rows: usize,
    ) -> Result<Option<Linear>> {
        match self.gguf.tensor(&format!("{name}.weight")) {
            Some(_) => self.linear(name, cols, rows).map(Some),
            None => Ok(None),
        }
    }

    fn norm(&mut self, name: &str, len: usize) -> Result<Norm> {
        let weight = format!("{name}.weight");
        let bias = self.vector(&format!("{name}.bias"), len)?;
        // The tensors of an RMS norm have no bias to apply.
        let kind = self.config.architecture.norm;
        if bias.is_some() && kind == NormKind::Rms {
            return Err(Error::UnknownTensor {
                tensor: format!("{name}.bias"),
            });
        }
        match self.vector(&weight, len)? {
            Some(weight) => Ok(Norm { weight, bias }),
            None => Err(Error::MissingTensor { tensor: weight }),
        }
    }

    fn norm_if_present(&mut self, name: &str, len: usize) -> Result<Option<Norm>> {
        match self.gguf.tensor(&format!("{name}.weight")) {
            Some(_) => self.norm(name, len).map(Some),
            None => Ok(None),
        }
    }

    /// The rows of a matrix, or of a stack of matrices, of `shape`, fastest dimension first.
    fn matrix(&mut self, name: &str, shape: &[usize]) -> Result<MatrixAt> {
        let tensor = self.find(name, shape)?.ok_or(Error::MissingTensor {
            tensor: name.into(),
        })?;
        let format = supported(self.gguf, tensor)?;
        let cols = shape[0];
        let matrix = MatrixAt {
            tensor: Arc::new(tensor.clone()),
            bytes: 0..tensor.byte_len(),
            format,
            // The product was checked when the file was opened, as that of the tensor's shape.
            rows: shape[1..].iter().product(),
            cols,
        };
        let bytes = self.gguf.bytes(tensor);
        match Matrix::new(format, matrix.rows, cols, bytes) {
            Some(_) => Ok(matrix),
            None => Err(Error::TensorType {
                tensor: name.into(),
                found: format!("{format}, with rows of {cols} weights that are not whole blocks"),
            }),
        }
    }

    /// The numbers of a tensor that is decoded: a norm, a bias, frequency factors.
    fn vector(&mut self, name: &str, len: usize) -> Result<Option<Vector>> {
        let Some(tensor) = self.find(name, &[len])? else {
            return Ok(None);
        };
        let format = supported(self.gguf, tensor)?;
        match Vector::new(self.gguf, tensor, format, len) {
            Some(vector) => Ok(Some(vector)),
            None => Err(Error::TensorType {
                tensor: name.into(),
                found: format.to_string(),
            }),
        }
    }

    /// The tensor called `name`, if it is there: then it must have `shape`.
    fn find(&mut self, name: &str, shape: &[usize]) -> Result<Option<&'a TensorInfo>> {
        let Some(tensor) = self.gguf.tensor(name) else {
            return Ok(None);
        };
        let expected = shape.iter().map(|&length| length as u64);
        // Trailing dimensions of 1 say nothing.
        let found = tensor.shape().iter().copied();
        let longest = shape.len().max(tensor.shape().len());
        let ones = || std::iter::repeat(1);
        if !expected
            .clone()
            .chain(ones())
            .take(longest)
            .eq(found.chain(ones()).take(longest))
        {
            return Err(Error::TensorShape {
                tensor: name.into(),
                expected: expected.collect(),
                found: tensor.shape().into(),
            });
        }
        self.bound.insert(tensor.name());
        Ok(Some(tensor))
    }

    /// A sum of lengths, none of which any tensor could have if it overflows.
    fn sum(&self, lengths: &[usize]) -> Result<usize> {
        lengths
            .iter()
            .try_fold(0_usize, |sum, &length| sum.checked_add(length))
            .ok_or_else(|| Error::KeyValue {
                key: format!("{}.feed_forward_length", self.config.architecture.name),
                reason: "too large".into(),
            })
    }

    /// Makes sure that every layer has the tensors of every other, and that none was left over.
    fn finish(self) -> Result<()> {
        self.layers_agree()?;
        let left = self
            .gguf
            .tensors()
            .iter()
            .find(|tensor| !self.bound.contains(tensor.name()) && !is_redundant(tensor.name()));
        match left {
            None => Ok(()),
            Some(tensor) => Err(Error::UnknownTensor {
                tensor: tensor.name().into(),
            }),
        }
    }

    /// Makes sure that what one layer has, all have.
    fn layers_agree(&self) -> Result<()> {
        let parts = || {
            self.gguf.tensors().iter().filter_map(|tensor| {
                let name = tensor.name();
                layer_part(name).filter(|_| self.bound.contains(name))
            })
        };
        let mut layers_with: HashMap<&str, Vec<usize>> = HashMap::new();
        for (layer, part) in parts() {
            layers_with.entry(part).or_default().push(layer);
        }
        // In the order of the file, so that one file always gives one error.
        let differing = parts().find(|(_, part)| layers_with[part].len() < self.config.layers);
        let Some((other, part)) = differing else {
            return Ok(());
        };
        let having: HashSet<usize> = layers_with[part].iter().copied().collect();
        match (0..self.config.layers).find(|layer| !having.contains(layer)) {
            None => Ok(()),
            Some(layer) => Err(Error::LayersDiffer {
                tensor: format!("blk.{layer}.{part}"),
                other,
            }),
        }
    }
}

/// The layer and the rest of the name of a tensor that belongs to one.
fn layer_part(name: &str) -> Option<(usize, &str)> {
    let (layer, part) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((layer.parse().ok()?, part))
}

/// The format of a tensor that can be computed with.
fn supported(gguf: &Gguf, tensor: &TensorInfo) -> Result<Format> {
    let unsupported = |found: String| Error::TensorType {
        tensor: tensor.name().into(),
        found,
    };
    let name = tensor.tensor_type().name();
    if gguf.is_big_endian() {
        return Err(unsupported(format!("{name} in big-endian order")));
    }
    let format = tensor.tensor_type().format();
    format.ok_or_else(|| unsupported(name.into()))
}
