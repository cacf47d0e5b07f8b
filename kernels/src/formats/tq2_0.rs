//! TQ2_0: 256 weights of −1, 0 and 1, 2 bits each, with one scale; weight = scale × (code − 1).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{BlockRows, Sink, Ternary32, Unpack, and_each, shift_right_each};

use super::{Block, Half, SUPER, block_size, pack, ternary};

/// 66 bytes, 2.0625 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Tq2_0 {
    /// Byte 32 h + i: bits 2 k and 2 k + 1 = code 128 h + 32 k + i. A code of 3 is not written,
    /// but read as what it says.
    pub(crate) codes: [u8; SUPER / 4],
    /// The scale.
    pub(crate) scale: Half,
}

block_size!(Tq2_0, 66);

impl Block for Tq2_0 {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        let scale = self.scale.to_f32();
        for (part, out) in out.chunks_exact_mut(32).enumerate() {
            let codes = &self.codes[32 * (part / 4)..][..32];
            for (out, byte) in out.iter_mut().zip(codes) {
                *out = scale * f32::from((byte >> (2 * (part % 4)) & 3) as i8 - 1);
            }
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let (scale, digits) = ternary::encode(weights, importance);
        Tq2_0 {
            codes: pack::quarters(&digits, 0),
            scale,
        }
    }
}

impl Unpack for Tq2_0 {
    type Layout = Ternary32;

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        let scale = simd.half_to_float(blocks.half(simd, offset_of!(Tq2_0, scale)));
        let mask = simd.splat_int(0x0303_0303);
        for half in 0..2 {
            let mut codes = blocks.words8(simd, offset_of!(Tq2_0, codes) + 32 * half);
            for k in 0..4 {
                sink.group32(4 * half + k, and_each(simd, codes, mask), scale);
                codes = shift_right_each::<2, S, 8>(simd, codes);
            }
        }
    }
}
