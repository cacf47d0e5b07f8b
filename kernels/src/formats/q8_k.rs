//! Q8_K: 256 weights of 8 bits with one 32-bit scale and sums; weight = scale × code.

use zerocopy::little_endian::{F32, I16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{BlockRows, Signed32, Sink, Unpack};

use super::{Block, SUPER, block_size, search};

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

    const LIMIT: f32 = 3e38;

    /// The largest magnitude becomes code 127 or −127; finer searches gain nothing at 8 bits.
    fn encode(weights: &[f32], _importance: &[f32]) -> Self {
        let largest = search::extreme(weights).abs();
        // Below this the scale would be subnormal and its reciprocal infinite.
        let (scale, inverse) = if largest < 1e-30 {
            (0.0, 0.0)
        } else {
            (largest / 127.0, 127.0 / largest)
        };
        let codes: [i8; SUPER] = std::array::from_fn(|i| {
            search::round((weights[i] * inverse).clamp(-127.0, 127.0)) as i8
        });
        Q8K {
            scale: scale.into(),
            codes,
            sums: std::array::from_fn(|s| {
                let part = &codes[16 * s..][..16];
                part.iter().copied().map(i16::from).sum::<i16>().into()
            }),
        }
    }
}

impl Unpack for Q8K {
    type Layout = Signed32;

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        let scale = simd.bits_to_float(blocks.word(simd, offset_of!(Q8K, scale)));
        for group in 0..SUPER / 32 {
            let codes = blocks.words8(simd, offset_of!(Q8K, codes) + 32 * group);
            sink.group32(group, codes, scale);
        }
    }
}
