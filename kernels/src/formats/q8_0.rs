//! Q8_0: 32 weights of 8 bits with one scale; weight = scale × code.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Block, Half, block_size};

/// Weights in a block.
const WEIGHTS: usize = 32;

/// 34 bytes, 8.5 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q8_0 {
    /// The scale.
    pub(crate) scale: Half,
    /// The codes, in order.
    pub(crate) codes: [i8; WEIGHTS],
}

block_size!(Q8_0, 34);

impl Block for Q8_0 {
    const WEIGHTS: usize = WEIGHTS;

    fn decode(&self, out: &mut [f32]) {
        let scale = self.scale.to_f32();
        for (out, &code) in out.iter_mut().zip(&self.codes) {
            *out = scale * f32::from(code);
        }
    }
}
