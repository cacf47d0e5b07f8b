//! Portable Rust: the reference of every other instruction set.

use super::{Floats, Lanes};

/// The token of [`super::Isa::Scalar`].
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

impl Lanes for Scalar {
    const ROWS: usize = 4;
}

impl Floats for Scalar {
    type Vector = [f32; 16];
}
