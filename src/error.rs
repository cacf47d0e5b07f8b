//! The one error type of the library: variants carry the nouns a reader needs to act.

use std::path::PathBuf;

/// What a yareta function returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, named after what it went wrong with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a file operation.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a GGUF file; says what it is, where that is known.
    #[error("not a GGUF file: {found}")]
    NotGguf {
        /// What the first bytes look like.
        found: String,
    },
    /// The bytes do not follow the GGUF format.
    #[error("malformed GGUF: {what} (at byte {offset})")]
    Malformed {
        /// What is wrong, naming the key or tensor where there is one.
        what: String,
        /// Offset of the offending field in the file.
        offset: u64,
    },
    /// What was asked to be written cannot be a GGUF file.
    #[error("cannot write GGUF: {reason}")]
    Unwritable {
        /// Why not, naming the key or tensor where there is one.
        reason: String,
    },
    /// The output that a file is written to failed.
    #[error("cannot write: {source}")]
    Write {
        /// What the output said.
        source: std::io::Error,
    },
    /// A metadata key that the model needs is absent.
    #[error("metadata key `{key}` is missing")]
    MissingKey {
        /// The key.
        key: String,
    },
    /// A metadata key has a value of another type than the one it must have.
    #[error("metadata key `{key}` must be {expected}, found {found}")]
    KeyType {
        /// The key.
        key: String,
        /// The type it must have.
        expected: &'static str,
        /// The type it has.
        found: &'static str,
    },
    /// A metadata key has a value that cannot be.
    #[error("metadata key `{key}`: {reason}")]
    KeyValue {
        /// The key.
        key: String,
        /// Why it cannot be.
        reason: String,
    },
    /// A tensor that the model needs is absent.
    #[error("tensor `{tensor}` is missing")]
    MissingTensor {
        /// The tensor.
        tensor: String,
    },
    /// One layer of a model has a tensor that another layer lacks.
    #[error("tensor `{tensor}` is missing, which layer {other} has")]
    LayersDiffer {
        /// The tensor, whose name says in which layer it is missing.
        tensor: String,
        /// A layer that has it, counted from 0.
        other: usize,
    },
    /// A tensor has another shape than the metadata says.
    #[error("tensor `{tensor}` must have shape {expected:?}, found {found:?}")]
    TensorShape {
        /// The tensor.
        tensor: String,
        /// The shape it must have, fastest dimension first, as GGUF writes shapes.
        expected: Vec<u64>,
        /// The shape it has.
        found: Vec<u64>,
    },
    /// A tensor has a type that yareta cannot compute with.
    #[error("tensor `{tensor}` has type {found}, which is not supported here")]
    TensorType {
        /// The tensor.
        tensor: String,
        /// Name of its type.
        found: String,
    },
    /// A tensor has no place in the model: without it the model would compute something else.
    #[error("tensor `{tensor}` has no place in a model of this architecture")]
    UnknownTensor {
        /// The tensor.
        tensor: String,
    },
    /// The model's architecture has no row in the architecture table.
    #[error("architecture `{name}` is not supported")]
    Architecture {
        /// The value of `general.architecture`.
        name: String,
    },
    /// The vocabulary is of a kind that yareta cannot tokenize with, or contradicts itself.
    #[error("tokenizer: {reason}")]
    Tokenizer {
        /// What is wrong with it.
        reason: String,
    },
    /// A token is not in the vocabulary.
    #[error("token {token} is outside the vocabulary of {vocabulary} tokens")]
    Token {
        /// The token.
        token: u32,
        /// Size of the vocabulary.
        vocabulary: usize,
    },
    /// The chat template cannot be parsed or rendered, or raised an error of its own.
    #[error("chat template `{template}`: {reason}")]
    Template {
        /// The template's name.
        template: String,
        /// What is wrong, or what the template says.
        reason: String,
    },
    /// More tokens than the context holds.
    #[error("{needed} tokens do not fit a context of {limit}")]
    ContextFull {
        /// Tokens that the context would have to hold.
        needed: usize,
        /// Tokens that it can hold.
        limit: usize,
    },
    /// An option has a value that cannot be.
    #[error("option `{option}`: {reason}")]
    InvalidOption {
        /// The option.
        option: &'static str,
        /// Why the value cannot be.
        reason: String,
    },
    /// Logits from which no token can be chosen.
    #[error("logits: {reason}")]
    Logits {
        /// Why none can be chosen.
        reason: String,
    },
    /// More memory would be needed than can be had.
    #[error("cannot reserve {bytes} bytes for {what}")]
    Memory {
        /// What the memory is for.
        what: &'static str,
        /// How much.
        bytes: u64,
    },
    /// Saved session bytes that cannot be restored into this session.
    #[error("saved session: {reason}")]
    SavedState {
        /// Why not.
        reason: String,
    },
    /// The caller's cancel token was set.
    #[error("cancelled")]
    Cancelled,
}
