//! MXFP4: 32 weights of 4 bits, each a float of 1 sign, 2 exponent and 1 mantissa bits, with a
//! power of two as scale; weight = scale / 2 × level. It is the OCP microscaling format of the
//! same name.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Block, block_size};

/// Weights in a block.
const WEIGHTS: usize = 32;

/// What the codes stand for, doubled to be whole.
pub(crate) const LEVELS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// 17 bytes, 4.25 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Mxfp4 {
    /// The scale is two to the power of this minus 127.
    pub(crate) exponent: u8,
    /// Byte i: high nibble = code i + 16 | low nibble = code i.
    pub(crate) codes: [u8; WEIGHTS / 2],
}

block_size!(Mxfp4, 17);

/// 2^(`exponent` − 128), half of the scale because the levels are doubled. The two smallest are
/// subnormal floats.
pub(crate) fn half_scale(exponent: u8) -> f32 {
    f32::from_bits(match exponent {
        0 | 1 => 0x0020_0000 << exponent,
        _ => u32::from(exponent - 1) << 23,
    })
}

impl Block for Mxfp4 {
    const WEIGHTS: usize = WEIGHTS;

    fn decode(&self, out: &mut [f32]) {
        let scale = half_scale(self.exponent);
        for (i, byte) in self.codes.iter().enumerate() {
            out[i] = scale * f32::from(LEVELS[usize::from(byte & 15)]);
            out[i + 16] = scale * f32::from(LEVELS[usize::from(byte >> 4)]);
        }
    }
}
