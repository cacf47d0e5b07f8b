//! F32, F16 and BF16: blocks of one weight that is a float itself.

use half::bf16;
use zerocopy::little_endian::{F32 as F32Bytes, U16};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Block, Half, block_size};

/// A 32-bit IEEE float.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub(crate) struct F32(F32Bytes);

block_size!(F32, 4);

impl Block for F32 {
    const WEIGHTS: usize = 1;

    fn decode(&self, out: &mut [f32]) {
        out[0] = self.0.get();
    }

    fn encode(weights: &[f32], _importance: &[f32]) -> Self {
        F32(weights[0].into())
    }
}

/// A 16-bit IEEE float: 1 sign, 5 exponent and 10 mantissa bits.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub(crate) struct F16(Half);

block_size!(F16, 2);

impl Block for F16 {
    const WEIGHTS: usize = 1;

    fn decode(&self, out: &mut [f32]) {
        out[0] = self.0.to_f32();
    }

    /// The nearest half, ties to even; too large a number becomes the largest half.
    fn encode(weights: &[f32], _importance: &[f32]) -> Self {
        F16(Half::from_f32(weights[0]))
    }
}

/// The upper half of a 32-bit IEEE float: 1 sign, 8 exponent and 7 mantissa bits.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub(crate) struct Bf16(U16);

block_size!(Bf16, 2);

impl Block for Bf16 {
    const WEIGHTS: usize = 1;

    fn decode(&self, out: &mut [f32]) {
        out[0] = f32::from_bits(u32::from(self.0.get()) << 16);
    }

    /// The nearest, ties to even; too large a number becomes the largest one.
    fn encode(weights: &[f32], _importance: &[f32]) -> Self {
        let narrow = match bf16::from_f32(weights[0]) {
            narrow if narrow.is_infinite() && weights[0].is_finite() => {
                if narrow.is_sign_positive() {
                    bf16::MAX
                } else {
                    bf16::MIN
                }
            }
            narrow => narrow,
        };
        Bf16(narrow.to_bits().into())
    }
}
