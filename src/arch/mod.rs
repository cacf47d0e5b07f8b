//! The architecture table: what a GGUF file leaves to convention, one row per architecture.
//!
//! A row says what neither metadata nor tensors say: the kind of norm, how rotary positions pair
//! the elements of a head, the activation, how a layer's halves are joined, how experts are
//! weighed. Metadata gives the numbers ([`crate::config`]); the presence and shape of tensors
//! gives the rest ([`crate::weights`]). Names of architectures appear here and nowhere else.

use yareta_kernels::{Activation, Pairing};

/// One row of the table.
#[derive(Debug)]
pub(crate) struct Architecture {
    /// The value of `general.architecture`, and the prefix of its keys.
    pub(crate) name: &'static str,
    /// The kind of every norm.
    pub(crate) norm: NormKind,
    /// How rotary positions pair the elements of a head.
    pub(crate) pairing: Pairing,
    /// What the feed-forward network applies to its hidden units.
    pub(crate) activation: Activation,
    /// How attention and feed-forward network are joined.
    pub(crate) residual: ResidualRule,
    /// How the chosen experts are weighed, where a file has experts.
    pub(crate) gating: Gating,
}

/// What a norm computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// Divides by the root mean square.
    Rms,
    /// Subtracts the mean and divides by the standard deviation.
    Layer,
}

impl NormKind {
    /// The key of the number that is added below the root.
    pub(crate) fn epsilon_key(self) -> &'static str {
        match self {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer => "attention.layer_norm_epsilon",
        }
    }
}

/// Which residual layout an architecture has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResidualRule {
    /// Always this one.
    Always(Residual),
    /// As the truth value of this key says: parallel or not. Parallel if the key is absent.
    ParallelByKey(&'static str),
}

/// What the feed-forward network of a layer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Residual {
    /// The layer's input with the attention's output added.
    Sequential,
    /// The layer's input, as the attention does.
    Parallel,
}

/// How a router's logits become the weights of the chosen experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gating {
    /// Softmax over the chosen experts alone (Mixtral, Jiang et al. 2024).
    SoftmaxOfChosen,
}

/// The table.
static TABLE: [Architecture; 3] = [
    Architecture {
        name: "llama",
        norm: NormKind::Rms,
        pairing: Pairing::Adjacent,
        activation: Activation::Silu,
        residual: ResidualRule::Always(Residual::Sequential),
        gating: Gating::SoftmaxOfChosen,
    },
    Architecture {
        name: "qwen2",
        norm: NormKind::Rms,
        pairing: Pairing::Halves,
        activation: Activation::Silu,
        residual: ResidualRule::Always(Residual::Sequential),
        gating: Gating::SoftmaxOfChosen,
    },
    Architecture {
        name: "gptneox",
        norm: NormKind::Layer,
        pairing: Pairing::Halves,
        activation: Activation::Gelu,
        residual: ResidualRule::ParallelByKey("use_parallel_residual"),
        gating: Gating::SoftmaxOfChosen,
    },
];

/// The row of the architecture called `name`.
pub(crate) fn find(name: &str) -> Option<&'static Architecture> {
    TABLE.iter().find(|row| row.name == name)
}

/// The names of all architectures in the table.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for name in names() {
            assert_eq!(names().filter(|other| *other == name).count(), 1);
            assert_eq!(find(name).map(|row| row.name), Some(name));
        }
        assert!(find("nanochat").is_none());
    }
}
