//! Sixteen floats in two 256-bit registers.

use crate::isa::Floats;
use crate::isa::avx2::{Avx2, AvxVnni};
use std::arch::x86_64::*;

impl Floats for Avx2 {
    type Vector = [__m256; 2];
}

impl Floats for AvxVnni {
    type Vector = [__m256; 2];
}
