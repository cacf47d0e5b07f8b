//! Operations on rows of floats: normalization, activation, softmax, rotation, and the few others
//! that a model needs beside matrix products and attention.
//!
//! They are methods of [`Cpu`], each on one row. Sums are taken in one order on every instruction
//! set, so every result is the same bits on all of them. Lengths that must match are the caller's
//! to match: a mismatch is a bug and panics.
//!
//! Which rows there are, and who works on which, is the caller's business.

mod activation;
mod convert;
mod elementwise;
mod norm;
mod reduce;
mod rotate;
mod softmax;

#[cfg(test)]
mod tests;

pub use activation::Activation;
pub(crate) use elementwise::soft_cap;
pub use norm::LayerNorm;
pub use rotate::Pairing;

#[cfg(doc)]
use crate::Cpu;
