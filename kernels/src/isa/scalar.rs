//! Portable Rust: the reference of every other instruction set.

/// The token of [`super::Isa::Scalar`].
#[derive(Clone, Copy)]
pub(crate) struct Scalar;
