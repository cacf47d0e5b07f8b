//! Runs quantized language models from memory-mapped GGUF files on the CPU.
//!
//! ```no_run
//! let model = yareta::Model::open("model.gguf")?;
//! let mut session = model.session()?;
//! let prompt = model.tokenizer().encode("Once upon a time")?;
//! let mut sampler = yareta::Sampler::new(42).top_k(40).top_p(0.9).temperature(0.8);
//! for piece in session.generate(&prompt, &mut sampler).max_tokens(200) {
//!     print!("{}", piece?);
//! }
//! # Ok::<(), yareta::Error>(())
//! ```
//!
//! - A [`Model`] is a mapped file: opening it takes milliseconds, the map is the only copy of the
//!   weights, and clones, sessions, threads and processes share it.
//! - A [`Session`] is a sequence of tokens with its cache: owned, `Send`, and to be truncated,
//!   forked, saved and restored. [`Session::feed`] is the primitive, tokens in and logits out;
//!   [`Session::generate`] and [`perplexity`] are written on it with public means.
//! - A [`Sampler`] chooses a token by its logits, a [`Tokenizer`] turns text into tokens and back,
//!   a [`template`] turns a conversation into text. All of them come from the file.
//! - [`Threads`] are shared by all sessions of a model. Results are the same bits on any number of
//!   them, and for a prompt fed at once or in pieces.
//!
//! No file, prompt or option makes the library panic or abort: each [`Error`] names the tensor,
//! key or option. Memory is counted before it is taken: [`Model::plan`] reports it.

mod arch;
mod cache;
mod cancel;
mod chat;
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
mod vector;
mod weights;

pub use arch::names as architectures;
pub use cancel::CancelToken;
pub use chat::{Chat, Reply};
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

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
