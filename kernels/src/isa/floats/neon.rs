//! Sixteen floats in four 128-bit registers.

use crate::isa::Floats;
use crate::isa::neon::{Neon, NeonDot};
use std::arch::aarch64::*;

impl Floats for Neon {
    type Vector = [float32x4_t; 4];
}

impl Floats for NeonDot {
    type Vector = [float32x4_t; 4];
}
