//! Weight formats and the kernels that compute with them.
//!
//! This crate knows how quantized weights are laid out in bytes ([`Format`]), which instruction
//! sets a CPU has ([`Cpu`]), and how to multiply, attend and normalize with them. It knows
//! nothing of files, models, tokens or threads: every operation that is worth sharing between
//! threads is a *job* whose `work` may be called by any number of threads at once, each of which
//! claims chunks until none is left. What a job computes does not depend on who claims what.

mod activations;
mod aligned;
mod attention;
mod expected;
pub mod format;
mod formats;
pub mod isa;
mod jobs;
pub mod limits;
mod matmul;
mod pages;
mod rows;
mod unpack;

pub use activations::{Activations, Precision, Prepare};
pub use attention::{Attention, AttentionInputs, AttentionScratch, KvLayer, KvShape, KvType};
pub use expected::Expected;
pub use format::Format;
pub use isa::{Cpu, Isa};
pub use matmul::{Hidden, HiddenInputs, HiddenScratch, MatMul, Matrix};
pub use pages::ask_for_huge_pages;
pub use rows::{Activation, LayerNorm, Pairing};
