//! Q6_K: 256 weights of 6 bits in sixteen groups, each with an 8-bit scale;
//! weight = scale × group scale × (code − 32).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::isa::{Bytes, Lanes, OneRow};
use crate::unpack::{
    BlockRows, InOrder, Sink, Six16, Unpack, and_each, floats, nibbles, nibbles_below, or_each,
    shift_left_each, shift_right_each, signed_bytes, unrolled,
};
use std::mem::offset_of;

use super::search::levels::{self, Whole};
use super::search::steps::{Chosen, Steps};
use super::{Block, Half, SUPER, block_size, pack};

/// 210 bytes, 6.5625 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Q6K {
    /// Byte 64 h + i: high nibble = bits 0–3 of code 128 h + 64 + i | low nibble = those of code
    /// 128 h + i.
    pub(crate) low: [u8; SUPER / 2],
    /// Byte 32 h + i: bits 2 k and 2 k + 1 = bits 4 and 5 of code 128 h + 32 k + i.
    pub(crate) high: [u8; SUPER / 4],
    /// The group scales.
    pub(crate) groups: [i8; SUPER / 16],
    /// Scale of the group scales.
    pub(crate) scale: Half,
}

block_size!(Q6K, 210);

impl Block for Q6K {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        for (g, (out, &group)) in out.chunks_exact_mut(16).zip(&self.groups).enumerate() {
            let scale = self.scale.to_f32() * f32::from(group);
            let (half, k, start) = (g / 8, g % 8 / 2, g % 2 * 16);
            for (i, out) in out.iter_mut().enumerate() {
                let low = self.low[64 * half + 32 * (k % 2) + start + i] >> (4 * (k / 2)) & 15;
                let high = self.high[32 * half + start + i] >> (2 * k) & 3;
                *out = scale * f32::from((low | high << 4) as i8 - 32);
            }
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        const STEPS: Steps = Steps {
            low: -128,
            high: 127,
            unit: 1.0,
            shift: 0.0,
        };
        let chosen: Chosen<16> = levels::groups::<Whole<32>, 16>(&STEPS, weights, importance);
        let codes = chosen.codes::<Whole<32>>(&STEPS, weights);
        let codes = codes.map(|code| (code + 32) as u8);
        let (first, second) = codes.split_at(SUPER / 2);
        let (first, second) = (pack::nibbles::<64>(first), pack::nibbles::<64>(second));
        Q6K {
            low: std::array::from_fn(|i| if i < 64 { first[i] } else { second[i - 64] }),
            high: pack::quarters(&codes, 4),
            groups: chosen.steps.map(|step| step as i8),
            scale: chosen.scale,
        }
    }
}

impl Unpack for Q6K {
    type Layout = Six16;

    const IN_ORDER: Option<InOrder> = Some(InOrder::Whole);

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        let scale = simd.half_to_float(blocks.half(simd, offset_of!(Q6K, scale)));
        let groups = blocks.words4(simd, offset_of!(Q6K, groups));
        let mask = simd.splat_int(0x3030_3030);
        unrolled!(HALF in 2, {
            let low = [
                nibbles(simd, blocks.words8(simd, offset_of!(Q6K, low) + 64 * HALF)),
                nibbles(
                    simd,
                    blocks.words8(simd, offset_of!(Q6K, low) + 64 * HALF + 32),
                ),
            ];
            let high = blocks.words8(simd, offset_of!(Q6K, high) + 32 * HALF);
            let high = [
                shift_left_each::<4, S, 8>(simd, high),
                shift_left_each::<2, S, 8>(simd, high),
                high,
                shift_right_each::<2, S, 8>(simd, high),
            ];
            let scales = [
                floats(simd, signed_bytes(simd, groups[2 * HALF])),
                floats(simd, signed_bytes(simd, groups[2 * HALF + 1])),
            ];
            unrolled!(K in 4, {
                let codes = or_each(simd, low[K % 2][K / 2], and_each(simd, high[K], mask));
                let i = 2 * (K % 2);
                let scales = [scales[K / 2][i], scales[K / 2][i + 1]];
                sink.group16(4 * HALF + K, codes, scales);
            });
        });
        sink.unit(scale);
    }

    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn codes<S: OneRow, const NUMBER: usize>(
        simd: S,
        blocks: *const Self,
        _bytes: &Bytes<S>,
    ) -> [S::Int; 2] {
        // SAFETY: half of the low and of the high bits of one of the two blocks.
        let (low, high) = unsafe {
            let (block, half) = (blocks.add(NUMBER / 2), NUMBER % 2);
            let low = (&raw const (*block).low).cast::<u8>().add(64 * half);
            let high = (&raw const (*block).high).cast::<u8>().add(32 * half);
            (simd.load_int(low.cast()), simd.load_halves([high; 2]))
        };
        // The bits of the codes become bits 4 and 5.
        let high = [
            simd.rotate_halves::<28, 30>(high),
            simd.rotate_halves::<0, 2>(high),
        ];
        nibbles_below(simd, low, high, 0x3f3f_3f3f)
    }

    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn scales<S: OneRow>(simd: S, blocks: *const Self, _bytes: &Bytes<S>) -> S::Int {
        // SAFETY: those of both blocks.
        unsafe {
            let of = |number: usize| (&raw const (*blocks.add(number)).groups).cast();
            simd.load_bytes_widened([of(0), of(1)])
        }
    }
}
