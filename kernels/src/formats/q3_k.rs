//! Q3_K: 256 weights of 3 bits in sixteen groups, each with a 6-bit scale;
//! weight = scale × (group scale − 32) × (code − 4).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::search::levels::{self, Whole};
use super::search::steps::{Chosen, Steps};
use super::{Block, Half, SUPER, block_size, pack};

/// 110 bytes, 3.4375 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q3K {
    /// Byte i: bit b = bit 2 of code 32 b + i.
    pub(crate) high: [u8; SUPER / 8],
    /// Byte 32 h + i: bits 2 k and 2 k + 1 = bits 0 and 1 of code 128 h + 32 k + i.
    pub(crate) low: [u8; SUPER / 4],
    /// Byte g < 8: high nibble = bits 0–3 of group scale g + 8 | low nibble = those of group
    /// scale g. Byte 8 + j: bits 2 k and 2 k + 1 = bits 4 and 5 of group scale 4 k + j.
    pub(crate) groups: [u8; 12],
    /// Scale of the group scales.
    pub(crate) scale: Half,
}

block_size!(Q3K, 110);

impl Q3K {
    /// The scale of group `g`, without the super-block's scale: −32 to 31.
    pub(crate) fn group_scale(&self, g: usize) -> i8 {
        let low = self.groups[g % 8] >> (4 * (g / 8)) & 15;
        let high = self.groups[8 + g % 4] >> (2 * (g / 4)) & 3;
        (low | high << 4) as i8 - 32
    }
}

impl Block for Q3K {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        for (g, out) in out.chunks_exact_mut(16).enumerate() {
            let scale = self.scale.to_f32() * f32::from(self.group_scale(g));
            let (half, k, start) = (g / 8, g % 8 / 2, g % 2 * 16);
            for (i, out) in out.iter_mut().enumerate() {
                let low = self.low[32 * half + start + i] >> (2 * k) & 3;
                let high = self.high[start + i] >> (g / 2) & 1;
                *out = scale * f32::from((low | high << 2) as i8 - 4);
            }
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        const STEPS: Steps = Steps {
            low: -32,
            high: 31,
            unit: 1.0,
            shift: 0.0,
        };
        let chosen: Chosen<16> = levels::groups::<Whole<4>, 16>(&STEPS, weights, importance);
        let codes = chosen.codes::<Whole<4>>(&STEPS, weights);
        let codes = codes.map(|code| (code + 4) as u8);
        let steps = chosen.steps.map(|step| (step + 32) as u8);
        Q3K {
            high: pack::planes(&codes, 2),
            low: pack::quarters(&codes, 0),
            groups: std::array::from_fn(|i| match i {
                0..8 => steps[i] & 15 | (steps[i + 8] & 15) << 4,
                _ => (0..4).fold(0, |byte, k| byte | steps[4 * k + i - 8] >> 4 << (2 * k)),
            }),
            scale: chosen.scale,
        }
    }
}
