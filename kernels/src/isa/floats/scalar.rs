//! Sixteen floats in an array: the reference of every other instruction set.

use crate::isa::{Floats, Scalar};

impl Floats for Scalar {
    type Vector = [f32; 16];
}
