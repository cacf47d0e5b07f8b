//! Runs quantized language models from memory-mapped GGUF files on the CPU.

mod arch;
mod cache;
mod cancel;
mod config;
mod error;
mod file;
mod forward;
mod generate;
pub mod gguf;
mod model;
mod perplexity;
mod quantize;
mod sampler;
mod session;
pub mod template;
mod threads;
pub mod tokenizer;
mod weights;

pub use arch::names as architectures;
pub use cancel::CancelToken;
pub use error::{Error, Result};
pub use generate::{End, Generation};
pub use gguf::Gguf;
pub use model::{MemoryPlan, Model, ModelOptions};
pub use perplexity::{Perplexity, PerplexityOptions, nats, perplexity};
pub use quantize::{QuantizeOptions, quantize};
pub use sampler::Sampler;
pub use session::{FeedOptions, Session, SessionOptions};
pub use threads::Threads;
pub use tokenizer::{EncodeOptions, StopStrings, StreamDecoder, Token, Tokenizer};
pub use yareta_kernels::{Cpu, Format, Isa, KvType, limits};
