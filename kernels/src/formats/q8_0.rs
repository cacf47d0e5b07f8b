//! Q8_0: 32 weights of 8 bits with one scale; weight = scale × code.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::isa::{Bytes, Lanes, OneRow};
use crate::unpack::{BlockRows, InOrder, Signed32, Sink, Unpack};
use std::mem::offset_of;

use super::search::{self, levels};
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

    /// The largest magnitude becomes code 127 or −127; finer searches gain nothing at 8 bits.
    fn encode(weights: &[f32], _importance: &[f32]) -> Self {
        let scale = Half::scale(search::extreme(weights).abs() / 127.0);
        let inverse = levels::reciprocal(scale.to_f32());
        Q8_0 {
            scale,
            codes: std::array::from_fn(|i| {
                search::round((weights[i] * inverse).clamp(-127.0, 127.0)) as i8
            }),
        }
    }
}

impl Unpack for Q8_0 {
    type Layout = Signed32;

    const IN_ORDER: Option<InOrder> = Some(InOrder::WithCodes);

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        let scale = simd.half_to_float(blocks.half(simd, offset_of!(Q8_0, scale)));
        sink.group32(0, blocks.words8(simd, offset_of!(Q8_0, codes)), scale);
    }

    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn codes<S: OneRow, const NUMBER: usize>(
        simd: S,
        blocks: *const Self,
        _bytes: &Bytes<S>,
    ) -> [S::Int; 2] {
        let mut codes = [simd.splat_int(0); 2];
        for (i, codes) in codes.iter_mut().enumerate() {
            // SAFETY: these are two of the sixteen blocks.
            *codes = unsafe {
                let pair = blocks.add(4 * NUMBER + 2 * i);
                let (first, last) = (&raw const (*pair).codes, &raw const (*pair.add(1)).codes);
                simd.load_halves([first.cast(), last.cast()])
            };
        }
        codes
    }

    #[allow(unsafe_code)]
    #[inline(always)]
    unsafe fn scales<S: OneRow>(simd: S, blocks: *const Self, _bytes: &Bytes<S>) -> S::Int {
        // SAFETY: the caller's promise.
        unsafe { simd.halves_of_groups::<{ size_of::<Q8_0>() }>(blocks.cast()) }
    }
}
