//! Sixteen floats in one 512-bit register.

use crate::isa::Floats;
use crate::isa::avx512::Avx512;
use std::arch::x86_64::*;

impl Floats for Avx512 {
    type Vector = __m512;
}
