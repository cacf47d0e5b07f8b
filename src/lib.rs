//! Runs quantized language models from memory-mapped GGUF files on the CPU.

mod error;

pub use error::{Error, Result};
