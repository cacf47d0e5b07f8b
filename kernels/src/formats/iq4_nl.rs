//! IQ4_NL: 32 weights of 4 bits that name one of sixteen unevenly spaced levels, with one scale;
//! weight = scale × level.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Block, Half, block_size};

/// Weights in a block.
const WEIGHTS: usize = 32;

/// What the codes stand for, in IQ4_NL and IQ4_XS: denser near zero, as weights are.
pub(crate) const LEVELS: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// 18 bytes, 4.5 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Iq4Nl {
    /// The scale.
    pub(crate) scale: Half,
    /// Byte i: high nibble = code i + 16 | low nibble = code i.
    pub(crate) codes: [u8; WEIGHTS / 2],
}

block_size!(Iq4Nl, 18);

impl Block for Iq4Nl {
    const WEIGHTS: usize = WEIGHTS;

    fn decode(&self, out: &mut [f32]) {
        let scale = self.scale.to_f32();
        for (i, byte) in self.codes.iter().enumerate() {
            out[i] = scale * f32::from(LEVELS[usize::from(byte & 15)]);
            out[i + 16] = scale * f32::from(LEVELS[usize::from(byte >> 4)]);
        }
    }
}
