//! Runs quantized language models from memory-mapped GGUF files on the CPU.

mod error;
mod file;
pub mod gguf;
mod sampler;
mod threads;
pub mod tokenizer;

pub use error::{Error, Result};
pub use gguf::Gguf;
pub use sampler::Sampler;
pub use threads::Threads;
pub use tokenizer::{EncodeOptions, StreamDecoder, Token, Tokenizer};
