//! The numbers of a model, read from metadata and checked against each other.
//!
//! Responsible for every hyper-parameter: after [`Config::read`] no head count is 0, every
//! division is exact and no product overflows. Sizes are not bounded by what a file claims here
//! but by its tensors, whose shapes [`crate::weights`] checks against these numbers.

use crate::arch::{self, Architecture, Residual, ResidualRule};
use crate::gguf::{Gguf, Metadata};
use crate::{Error, Result};

/// The hyper-parameters of a model.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) architecture: &'static Architecture,
    /// Number of tokens.
    pub(crate) vocabulary: usize,
    /// Positions that the model was trained on.
    pub(crate) context: usize,
    /// Length of the vector that goes from layer to layer.
    pub(crate) width: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    /// Key and value heads: divides `heads`.
    pub(crate) kv_heads: usize,
    /// Length of a query and of a key.
    pub(crate) key_dim: usize,
    /// Length of a value.
    pub(crate) value_dim: usize,
    /// Hidden units of the feed-forward network, or of each expert.
    pub(crate) hidden: usize,
    pub(crate) norm_epsilon: f32,
    pub(crate) residual: Residual,
    /// Each token attends to itself and this many minus one before it; `None` for all.
    pub(crate) window: Option<usize>,
    /// What scores are multiplied with before the softmax.
    pub(crate) attention_scale: f32,
    pub(crate) experts: Option<Experts>,
    pub(crate) rope: Rope,
}

/// A router chooses among experts in place of one feed-forward network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Experts {
    pub(crate) count: usize,
    /// How many of them a token uses: 1 to `count`.
    pub(crate) used: usize,
}

/// Rotary positions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rope {
    /// Elements of a head that are rotated: even, at most the length of a key.
    pub(crate) dimensions: usize,
    /// Wavelengths go from 2π up to 2π times this.
    pub(crate) base: f32,
    pub(crate) scaling: Scaling,
    /// Scales the rotated elements.
    pub(crate) attention_factor: f32,
}

/// How positions beyond those of the first training are mapped.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scaling {
    None,
    /// All angles are divided by the factor.
    Linear {
        factor: f32,
    },
    /// Slow rotations are divided by the factor, fast ones are kept (Peng et al. 2023).
    Yarn {
        factor: f32,
        /// How much of the fast rotations is kept: 1 for all.
        extrapolation: f32,
        /// Rotations over the original context from which on they are kept entirely.
        fast: f32,
        /// Rotations up to which they are divided entirely.
        slow: f32,
        original_context: usize,
    },
}

impl Config {
    /// Reads and checks the hyper-parameters of `gguf`.
    ///
    /// # Errors
    /// [`Error::Architecture`] for one that is not in the table; [`Error::MissingKey`],
    /// [`Error::KeyType`] or [`Error::KeyValue`] naming the first key that is wrong.
    pub(crate) fn read(gguf: &Gguf) -> Result<Config> {
        let metadata = gguf.metadata();
        let name = metadata.require_string("general.architecture")?;
        let architecture = arch::find(name).ok_or_else(|| Error::Architecture {
            name: name.chars().take(64).collect(),
        })?;
        let keys = Keys {
            metadata,
            prefix: architecture.name,
        };
        let width = keys.require("embedding_length")?;
        let layers = keys.require("block_count")?;
        if layers > gguf.tensors().len() {
            let reason = format!(
                "{layers} layers in a file of {} tensors",
                gguf.tensors().len()
            );
            return Err(keys.bad("block_count", reason));
        }
        let heads = keys.require("attention.head_count")?;
        let kv_heads = keys.count("attention.head_count_kv")?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            let reason = format!("{kv_heads} key heads do not divide {heads} heads");
            return Err(keys.bad("attention.head_count_kv", reason));
        }
        let key_dim = keys.head_dim("attention.key_length", width, heads)?;
        let value_dim = keys.head_dim("attention.value_length", width, heads)?;
        if heads.checked_mul(key_dim.max(value_dim)).is_none() {
            return Err(keys.bad("attention.head_count", "the heads are too large".into()));
        }
        let context = keys.require("context_length")?;
        Ok(Config {
            architecture,
            vocabulary: vocabulary(&keys, gguf)?,
            context,
            width,
            layers,
            heads,
            kv_heads,
            key_dim,
            value_dim,
            hidden: keys.require("feed_forward_length")?,
            norm_epsilon: norm_epsilon(&keys, architecture)?,
            residual: residual(&keys, architecture)?,
            window: keys.count("attention.sliding_window")?,
            attention_scale: match keys.positive("attention.scale")? {
                Some(scale) => scale,
                None => 1.0 / (key_dim as f32).sqrt(),
            },
            experts: experts(&keys)?,
            rope: Rope::read(&keys, key_dim, context)?,
        })
    }
}

/// The metadata of one architecture.
struct Keys<'a> {
    metadata: &'a Metadata,
    prefix: &'static str,
}

impl Keys<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn bad(&self, name: &str, reason: String) -> Error {
        Error::KeyValue {
            key: self.key(name),
            reason,
        }
    }

    /// A count that the model cannot be without.
    fn require(&self, name: &str) -> Result<usize> {
        self.count(name)?.ok_or_else(|| Error::MissingKey {
            key: self.key(name),
        })
    }

    /// A count, which cannot be 0.
    fn count(&self, name: &str) -> Result<Option<usize>> {
        match self.metadata.u32(&self.key(name))? {
            Some(0) => Err(self.bad(name, "must not be 0".into())),
            count => Ok(count.map(|count| count as usize)),
        }
    }

    /// A factor: finite and above 0.
    fn positive(&self, name: &str) -> Result<Option<f32>> {
        match self.metadata.f32(&self.key(name))? {
            Some(value) if !(value.is_finite() && value > 0.0) => {
                Err(self.bad(name, format!("must be finite and above 0, found {value}")))
            }
            value => Ok(value),
        }
    }

    /// The length of a head: stated, or its share of the width.
    fn head_dim(&self, name: &str, width: usize, heads: usize) -> Result<usize> {
        match self.count(name)? {
            Some(length) => Ok(length),
            None if width.is_multiple_of(heads) => Ok(width / heads),
            None => {
                let reason = format!("{heads} heads do not divide a width of {width}");
                Err(self.bad("attention.head_count", reason))
            }
        }
    }
}

/// The size of the vocabulary: that of the list of tokens, if there is one.
fn vocabulary(keys: &Keys, gguf: &Gguf) -> Result<usize> {
    let stated = keys.count("vocab_size")?;
    let listed = keys
        .metadata
        .array("tokenizer.ggml.tokens")?
        .map(|tokens| tokens.len());
    match (stated, listed) {
        (Some(stated), Some(listed)) if stated != listed => {
            let reason = format!("{stated} tokens, but the vocabulary lists {listed}");
            Err(keys.bad("vocab_size", reason))
        }
        (_, Some(0)) => Err(Error::KeyValue {
            key: "tokenizer.ggml.tokens".into(),
            reason: "the vocabulary is empty".into(),
        }),
        (_, Some(count)) | (Some(count), None) => Ok(count),
        (None, None) => gguf
            .tensor("token_embd.weight")
            .and_then(|tensor| usize::try_from(*tensor.shape().get(1)?).ok())
            .ok_or_else(|| Error::MissingKey {
                key: keys.key("vocab_size"),
            }),
    }
}

fn norm_epsilon(keys: &Keys, architecture: &Architecture) -> Result<f32> {
    let name = architecture.norm.epsilon_key();
    let epsilon = keys.metadata.require_f32(&keys.key(name))?;
    if epsilon.is_finite() && epsilon >= 0.0 {
        Ok(epsilon)
    } else {
        let reason = format!("must be finite and not below 0, found {epsilon}");
        Err(keys.bad(name, reason))
    }
}

fn residual(keys: &Keys, architecture: &Architecture) -> Result<Residual> {
    Ok(match architecture.residual {
        ResidualRule::Always(residual) => residual,
        ResidualRule::ParallelByKey(name) => match keys.metadata.boolean(&keys.key(name))? {
            Some(false) => Residual::Sequential,
            Some(true) | None => Residual::Parallel,
        },
    })
}

fn experts(keys: &Keys) -> Result<Option<Experts>> {
    // Dense models are sometimes written with a count of 0.
    let count = keys.metadata.u32(&keys.key("expert_count"))?.unwrap_or(0) as usize;
    if count == 0 {
        return Ok(None);
    }
    let used = keys.require("expert_used_count")?;
    if used > count {
        let reason = format!("{used} of {count} experts");
        return Err(keys.bad("expert_used_count", reason));
    }
    Ok(Some(Experts { count, used }))
}

impl Rope {
    fn read(keys: &Keys, key_dim: usize, context: usize) -> Result<Rope> {
        let dimensions = keys.count("rope.dimension_count")?.unwrap_or(key_dim);
        if dimensions > key_dim || !dimensions.is_multiple_of(2) {
            let reason = format!("must be even and at most the head's {key_dim}: {dimensions}");
            return Err(keys.bad("rope.dimension_count", reason));
        }
        let base = keys.positive("rope.freq_base")?.unwrap_or(10_000.0);
        let factor = match keys.positive("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            // The key of files from before 2023-10.
            None => keys.positive("rope.scale_linear")?,
        };
        let kind = keys.metadata.string(&keys.key("rope.scaling.type"))?;
        let scaling = match (kind, factor) {
            (Some("none"), _) | (None | Some("linear"), None) => Scaling::None,
            (None | Some("linear"), Some(factor)) => Scaling::Linear { factor },
            (Some("yarn"), factor) => Rope::yarn(keys, factor.unwrap_or(1.0), context)?,
            (Some(other), _) => {
                let other: String = other.chars().take(64).collect();
                let reason = format!("unknown kind of scaling `{other}`");
                return Err(keys.bad("rope.scaling.type", reason));
            }
        };
        if matches!(scaling, Scaling::Yarn { .. }) && base <= 1.0 {
            let reason = format!("must be above 1 where YaRN scales, found {base}");
            return Err(keys.bad("rope.freq_base", reason));
        }
        Ok(Rope {
            dimensions,
            base,
            scaling,
            attention_factor: keys.positive("rope.scaling.attn_factor")?.unwrap_or(1.0),
        })
    }

    fn yarn(keys: &Keys, factor: f32, context: usize) -> Result<Scaling> {
        Ok(Scaling::Yarn {
            factor,
            extrapolation: match keys
                .metadata
                .f32(&keys.key("rope.scaling.yarn_ext_factor"))?
            {
                // Writers that leave it to the reader write a negative number.
                Some(mix) if (0.0..=1.0).contains(&mix) => mix,
                Some(mix) if mix > 1.0 || mix.is_nan() => {
                    let reason = format!("must be 0 to 1, found {mix}");
                    return Err(keys.bad("rope.scaling.yarn_ext_factor", reason));
                }
                _ => 1.0,
            },
            fast: keys
                .positive("rope.scaling.yarn_beta_fast")?
                .unwrap_or(32.0),
            slow: keys.positive("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            original_context: keys
                .count("rope.scaling.original_context_length")?
                .unwrap_or(context),
        })
    }

    /// The angle per position of each pair, `(dimensions / 2)`, before the scale of
    /// [`Rope::magnitude`]. `factors`, of the same length, divide the angles where a file has them.
    pub(crate) fn frequencies(&self, factors: Option<&[f32]>) -> Vec<f64> {
        let dimensions = self.dimensions as f64;
        let base = f64::from(self.base);
        let kept_until = self.yarn_bounds();
        (0..self.dimensions / 2)
            .map(|pair| {
                let factor = factors.map_or(1.0, |factors| f64::from(factors[pair]));
                let angle = base.powf(-2.0 * pair as f64 / dimensions) / factor;
                match self.scaling {
                    Scaling::None => angle,
                    Scaling::Linear { factor } => angle / f64::from(factor),
                    Scaling::Yarn {
                        factor,
                        extrapolation,
                        ..
                    } => {
                        let (low, high) = kept_until;
                        let ramp = (pair as f64 - low) / (high - low).max(0.001);
                        let kept = (1.0 - ramp.clamp(0.0, 1.0)) * f64::from(extrapolation);
                        angle / f64::from(factor) * (1.0 - kept) + angle * kept
                    }
                }
            })
            .collect()
    }

    /// What rotated elements are multiplied with.
    pub(crate) fn magnitude(&self) -> f32 {
        match self.scaling {
            // Equation 22 of the paper, for models whose attention was trained with it.
            Scaling::Yarn {
                factor,
                extrapolation,
                ..
            } if extrapolation != 0.0 => self.attention_factor * (1.0 + 0.1 * factor.max(1.0).ln()),
            _ => self.attention_factor,
        }
    }

    /// The pair up to which YaRN keeps angles, and the one from which on it divides them: where
    /// the rotations over the original context are `fast` and `slow`.
    fn yarn_bounds(&self) -> (f64, f64) {
        let Scaling::Yarn {
            fast,
            slow,
            original_context,
            ..
        } = self.scaling
        else {
            return (0.0, 0.0);
        };
        let dimensions = self.dimensions as f64;
        let pair = |rotations: f32| {
            let turn = f64::from(rotations) * std::f64::consts::TAU;
            dimensions * (original_context as f64 / turn).ln() / (2.0 * f64::from(self.base).ln())
        };
        let low = pair(fast).floor().max(0.0);
        let high = pair(slow).ceil().min(dimensions - 1.0);
        (low, high)
    }
}
