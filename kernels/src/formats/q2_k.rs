//! Q2_K: 256 weights of 2 bits in sixteen groups, each with a 4-bit scale and a 4-bit offset;
//! weight = scale × group scale × code − offset scale × group offset.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::search::affine::Groups;
use super::{Block, Half, SUPER, block_size, pack};

/// 84 bytes, 2.625 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q2K {
    /// Byte g: high nibble = offset of group g | low nibble = scale of group g.
    pub(crate) groups: [u8; SUPER / 16],
    /// Byte 32 h + i: bits 2 k and 2 k + 1 = code 128 h + 32 k + i.
    pub(crate) codes: [u8; SUPER / 4],
    /// Scale of the group scales.
    pub(crate) scale: Half,
    /// Scale of the group offsets.
    pub(crate) offset_scale: Half,
}

block_size!(Q2K, 84);

impl Block for Q2K {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        let (scale, offset_scale) = (self.scale.to_f32(), self.offset_scale.to_f32());
        for (g, (out, group)) in out.chunks_exact_mut(16).zip(&self.groups).enumerate() {
            let scale = scale * f32::from(group & 15);
            let offset = offset_scale * f32::from(group >> 4);
            let (half, k, start) = (g / 8, g % 8 / 2, g % 2 * 16);
            for (i, out) in out.iter_mut().enumerate() {
                let code = self.codes[32 * half + start + i] >> (2 * k) & 3;
                *out = scale * f32::from(code) - offset;
            }
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let groups = Groups::<16>::search(weights, importance, 3.0, 15.0);
        let codes = groups.codes(weights, 3.0);
        Q2K {
            groups: std::array::from_fn(|g| groups.scales[g] | groups.offsets[g] << 4),
            codes: pack::quarters(&codes, 0),
            scale: groups.scale,
            offset_scale: groups.offset_scale,
        }
    }
}
