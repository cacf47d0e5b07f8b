//! Q5_0: 32 weights of 5 bits with one scale; weight = scale × (code − 16).

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::search::levels::{self, Whole};
use super::{Block, Half, block_size, pack};

/// Weights in a block.
const WEIGHTS: usize = 32;

/// 22 bytes, 5.5 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q5_0 {
    /// The scale.
    pub(crate) scale: Half,
    /// Bit i: bit 4 of code i.
    pub(crate) high: U32,
    /// Byte i: high nibble = bits 0–3 of code i + 16 | low nibble = those of code i.
    pub(crate) low: [u8; WEIGHTS / 2],
}

block_size!(Q5_0, 22);

impl Block for Q5_0 {
    const WEIGHTS: usize = WEIGHTS;

    fn decode(&self, out: &mut [f32]) {
        let scale = self.scale.to_f32();
        let high = self.high.get();
        for (i, byte) in self.low.iter().enumerate() {
            let first = (byte & 15) | ((high >> i) as u8 & 1) << 4;
            let second = (byte >> 4) | ((high >> (i + 16)) as u8 & 1) << 4;
            out[i] = scale * f32::from(first as i8 - 16);
            out[i + 16] = scale * f32::from(second as i8 - 16);
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let scale = Half::scale(levels::scale::<Whole<16>>(weights, importance));
        let mut codes = [0; WEIGHTS];
        levels::quantize::<Whole<16>>(weights, scale.to_f32(), &mut codes);
        let codes = codes.map(|code| (code + 16) as u8);
        Q5_0 {
            scale,
            high: pack::fifth_bits(&codes).into(),
            low: pack::nibbles(&codes),
        }
    }
}
