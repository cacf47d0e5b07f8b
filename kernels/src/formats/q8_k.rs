//! Q8_K: 256 weights of 8 bits with one 32-bit scale and sums; weight = scale × code.

use zerocopy::little_endian::{F32, I16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Block, SUPER, block_size};

/// 292 bytes, 9.125 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q8K {
    /// The scale.
    pub(crate) scale: F32,
    /// The codes, in order.
    pub(crate) codes: [i8; SUPER],
    /// Sums of sixteen codes each, in order; redundant.
    pub(crate) sums: [I16; SUPER / 16],
}

block_size!(Q8K, 292);

impl Block for Q8K {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        let scale = self.scale.get();
        for (out, &code) in out.iter_mut().zip(&self.codes) {
            *out = scale * f32::from(code);
        }
    }
}
