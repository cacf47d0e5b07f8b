//! Portable Rust: the reference of every other instruction set.

use super::Lanes;

/// The token of [`super::Isa::Scalar`].
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

impl Lanes for Scalar {
    const ROWS: usize = 4;
}
