//! Runs quantized language models from memory-mapped GGUF files on the CPU.

mod error;
mod threads;

pub use error::{Error, Result};
pub use threads::Threads;
