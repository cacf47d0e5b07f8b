//! IQ1_S: 256 weights in eight groups of four points of a codebook of eight-weight points, with a
//! 3-bit scale and a shift per group;
//! weight = scale × (2 × group scale + 1) × (point's weight ± ⅛).

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::search::shifted;
use super::{Block, Half, SUPER, block_size, grids};

/// What a group's shift adds to its weights or takes from them.
pub(crate) const SHIFT: f32 = 0.125;

/// 50 bytes, 1.5625 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Iq1S {
    /// Scale of the group scales.
    pub(crate) scale: Half,
    /// Bits 0–7 of the index of each point.
    pub(crate) points_low: [u8; SUPER / 8],
    /// Of each group: bit 15 = set if the shift is negative | bits 12–14 = group scale |
    /// bits 3 k to 3 k + 2 = bits 8–10 of the index of the group's point k.
    pub(crate) groups: [U16; SUPER / 32],
}

block_size!(Iq1S, 50);

impl Block for Iq1S {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        for (p, out) in out.chunks_exact_mut(8).enumerate() {
            let group = self.groups[p / 4].get();
            let scale = self.scale.to_f32() * f32::from(2 * (group >> 12 & 7) + 1);
            let shift = if group & 0x8000 == 0 { SHIFT } else { -SHIFT };
            let high = group >> (3 * (p % 4)) & 7;
            let point = &grids::IQ1[usize::from(u16::from(self.points_low[p]) | high << 8)];
            for (out, &weight) in out.iter_mut().zip(point) {
                *out = scale * (f32::from(weight) + shift);
            }
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let found = shifted::encode::<8, 4>(weights, importance);
        Iq1S {
            scale: found.scale,
            points_low: found.points.map(|point| point as u8),
            groups: std::array::from_fn(|g| {
                let high = (0..4).fold(0, |bits, k| bits | found.points[4 * g + k] >> 8 << (3 * k));
                let minus = if found.minus[4 * g] { 0x8000 } else { 0 };
                (minus | (found.steps[g] as u16) << 12 | high).into()
            }),
        }
    }
}
