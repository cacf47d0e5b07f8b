//! Attention: every query's average of the values it sees, weighted by the softmax of its scores.
//!
//! A *row* is one query head of one token. The rows that share a head of keys and values are cut
//! into blocks of [`ROWS`], each of which streams the cache once, so a cached byte is read once for
//! all query heads of its group and for several tokens of a prompt.
//!
//! The order of arithmetic is one for prompts and generation, so that a prompt gives the same bits
//! fed at once, in pieces or token by token, on any number of threads. Positions are cut into
//! chunks of [`CHUNK`], aligned to absolute positions. For each row and chunk
//!
//! ```text
//! m = max s[p]        l = Σ 2^(s[p] - m)        a = Σ 2^(s[p] - m) v[p]
//! ```
//!
//! and chunks are merged in order, from the first that the row sees:
//!
//! ```text
//! M' = max(M, m)      L' = L 2^(M - M') + l 2^(m - M')      A' = A 2^(M - M') + a 2^(m - M')
//! ```
//!
//! with scores s in units of ln 2, which the scale of the queries sees to: powers of two take the
//! fewest multiplications. How s and a are computed depends on how the cache is stored, see `halves`,
//! `shorts` and `bytes`. The output is A / L. Where there are few blocks, as in generation, runs of their
//! chunks are tasks of their own, and whoever finishes the last of a block merges them, in the same order.
//!
//! What is cached where, rotation of queries and keys, and threads are the caller's business.

mod by_rows;
mod bytes;
mod cache;
mod halves;
mod job;
mod pairs;
mod scratch;
mod shorts;
mod softmax;
mod sums;

#[cfg(test)]
mod tests;

pub use cache::{KvLayer, KvShape, KvType};
pub use job::Attention;
pub use scratch::AttentionScratch;

/// Rows of a block: as many as the lanes of a vector, in which their maxima and sums are merged.
const ROWS: usize = 16;

/// Positions of a chunk. The weights of a block for it, 16 KiB, lie in the innermost cache.
const CHUNK: usize = 256;

/// What attention is computed from.
#[derive(Clone, Copy, Debug)]
pub struct AttentionInputs<'a> {
    /// The queries, `(tokens, heads, key_dim)`. Query heads `g·h ..  g·(h + 1)` attend to head `h`
    /// of keys and values, where `g` is `heads / kv_heads`.
    pub queries: &'a [f32],
    /// Query heads, a multiple of the heads of keys and values.
    pub heads: usize,
    /// Keys and values, those of the queries' own tokens included.
    pub cache: &'a KvLayer,
    /// Position of the first query's token. Token `t` sees the positions up to and including
    /// `first_position + t`.
    pub first_position: usize,
    /// Multiplies the product of query and key.
    pub scale: f32,
    /// How many positions a token sees, its own included; all before it if absent.
    pub window: Option<usize>,
    /// Bounds scores: `cap · tanh(score / cap)`.
    pub soft_cap: Option<f32>,
    /// A logit per head, `(heads)`, that takes part in the softmax and has no value.
    pub sinks: Option<&'a [f32]>,
    /// A slope per head, `(heads)`: its product with the distance to a position is subtracted
    /// from the score (ALiBi, Press et al. 2022).
    pub slopes: Option<&'a [f32]>,
}
