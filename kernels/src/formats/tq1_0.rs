//! TQ1_0: 256 weights of −1, 0 and 1, five to a byte, with one scale;
//! weight = scale × (digit − 1).
//!
//! A byte holds five digits of base 3 as a fraction: the number they write, divided by 243, times
//! 256, rounded up. Multiplying the byte by 3 then brings the first digit out above 256.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{BlockRows, Sink, Ternary32, Unpack, and_each, joined, shift_right_each};

use super::{Block, Half, SUPER, block_size, ternary};

/// 54 bytes, 1.6875 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Tq1_0 {
    /// Byte i < 32: digit k = weight 32 k + i; byte 32 + i: digit k = weight 160 + 16 k + i.
    pub(crate) fives: [u8; 48],
    /// Byte i: digit k = weight 240 + 4 k + i, and a fifth digit that is unused.
    pub(crate) fours: [u8; 4],
    /// The scale.
    pub(crate) scale: Half,
}

block_size!(Tq1_0, 54);

/// Digit `k` of `byte`: 0 to 2.
fn digit(byte: u8, k: usize) -> u8 {
    let fraction = byte.wrapping_mul([1, 3, 9, 27, 81][k]);
    ((u16::from(fraction) * 3) >> 8) as u8
}

/// The byte whose digit `k` is `digits[start + k * stride]`, as far as there are any.
fn byte(digits: &[u8], start: usize, stride: usize) -> u8 {
    let number = (0..5).fold(0, |number, k| {
        let digit = digits.get(start + k * stride).copied().unwrap_or(0);
        3 * number + u32::from(digit)
    });
    (number * 256).div_ceil(243) as u8
}

impl Block for Tq1_0 {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        let scale = self.scale.to_f32();
        let (head, tail) = out.split_at_mut(160);
        let (middle, tail) = tail.split_at_mut(80);
        let (long, short) = self.fives.split_at(32);
        for (out, bytes) in [(head, long), (middle, short), (tail, &self.fours[..])] {
            for (k, out) in out.chunks_exact_mut(bytes.len()).enumerate() {
                for (out, &byte) in out.iter_mut().zip(bytes) {
                    *out = scale * f32::from(digit(byte, k) as i8 - 1);
                }
            }
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let (scale, digits) = ternary::encode(weights, importance);
        let (head, tail) = digits.split_at(160);
        let (middle, tail) = tail.split_at(80);
        Tq1_0 {
            fives: std::array::from_fn(|i| match i {
                0..32 => byte(head, i, 32),
                _ => byte(middle, i - 32, 16),
            }),
            fours: std::array::from_fn(|i| byte(tail, i, 4)),
            scale,
        }
    }
}

/// Fractions that give up their digits of base 3, first digit first.
struct Digits<S: Lanes, const N: usize> {
    /// The even bytes, in the lower halves of 16 bits.
    even: [S::Int; N],
    /// The odd bytes, likewise.
    odd: [S::Int; N],
}

impl<S: Lanes, const N: usize> Digits<S, N> {
    #[inline(always)]
    fn new(simd: S, bytes: [S::Int; N]) -> Self {
        let mask = simd.splat_int(0x00ff_00ff);
        Digits {
            even: and_each(simd, bytes, mask),
            odd: and_each(simd, shift_right_each::<8, S, N>(simd, bytes), mask),
        }
    }

    /// The next digit of every byte.
    #[inline(always)]
    fn next(&mut self, simd: S) -> [S::Int; N] {
        let fraction = simd.splat_int(0x00ff_00ff);
        let mut digits = self.even;
        let bytes = self.even.iter_mut().zip(&mut self.odd);
        for (digits, (even_bytes, odd_bytes)) in digits.iter_mut().zip(bytes) {
            let even = simd.add_int(*even_bytes, simd.shift_left::<1>(*even_bytes));
            let odd = simd.add_int(*odd_bytes, simd.shift_left::<1>(*odd_bytes));
            *even_bytes = simd.and(even, fraction);
            *odd_bytes = simd.and(odd, fraction);
            // What exceeds the fraction's byte is the digit.
            *digits = simd.or(
                simd.and(simd.shift_right::<8>(even), simd.splat_int(0x0003_0003)),
                simd.and(odd, simd.splat_int(0x0300_0300)),
            );
        }
        digits
    }
}

impl Unpack for Tq1_0 {
    type Layout = Ternary32;

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        let scale = simd.half_to_float(blocks.half(simd, offset_of!(Tq1_0, scale)));
        let mut long = Digits::new(simd, blocks.words8(simd, offset_of!(Tq1_0, fives)));
        for group in 0..5 {
            sink.group32(group, long.next(simd), scale);
        }
        let mut short = Digits::new(simd, blocks.words4(simd, offset_of!(Tq1_0, fives) + 32));
        for group in 5..7 {
            let (first, second) = (short.next(simd), short.next(simd));
            sink.group32(group, joined(first, second), scale);
        }
        let first = short.next(simd);
        let mut fours = Digits::new(simd, [blocks.word(simd, offset_of!(Tq1_0, fours))]);
        let mut second = first;
        for digits in &mut second {
            [*digits] = fours.next(simd);
        }
        sink.group32(7, joined(first, second), scale);
    }
}
