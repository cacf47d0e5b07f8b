//! Products with float weights: F32, F16 and BF16, each weight widened to f32. A few columns are
//! multiplied row after row ([`along`]), more in tiles ([`tile`]).
#![allow(unsafe_code)]

mod along;
mod tile;

use super::tiled::many_columns;
use super::{Rows, Weights};
use crate::activations::{Activations, Precision};
use crate::formats::{Bf16, F16, F32};
use crate::isa::{Floats, Lanes, Simd, WIDTH};

/// A float format.
trait Widen {
    /// Bytes of a weight.
    const BYTES: usize;

    /// The weights in sixteen bytes of each row, as many as there are; the rest are not to be used.
    ///
    /// # Safety
    ///
    /// As for [`Lanes::gather16`].
    unsafe fn gather<S: Lanes>(simd: S, base: *const u8, stride: usize) -> [S::Float; 8];

    /// Sixteen weights of a row.
    ///
    /// # Safety
    ///
    /// Their bytes are readable at `from`.
    unsafe fn load<S: Floats>(simd: S, from: *const u8) -> S::Vector;
}

impl Widen for F32 {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn gather<S: Lanes>(simd: S, base: *const u8, stride: usize) -> [S::Float; 8] {
        // SAFETY: the caller's promise.
        let words = unsafe { simd.gather16(base, stride) };
        let mut floats = [simd.splat_float(0.0); 8];
        for (float, word) in floats.iter_mut().zip(words) {
            *float = simd.bits_to_float(word);
        }
        floats
    }

    #[inline(always)]
    unsafe fn load<S: Floats>(simd: S, from: *const u8) -> S::Vector {
        // SAFETY: the caller's promise; any alignment is read.
        let mut floats = unsafe { from.cast::<[f32; WIDTH]>().read_unaligned() };
        for float in &mut floats {
            *float = f32::from_bits(u32::from_le(float.to_bits()));
        }
        simd.load(&floats)
    }
}

impl Widen for F16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn gather<S: Lanes>(simd: S, base: *const u8, stride: usize) -> [S::Float; 8] {
        // SAFETY: the caller's promise.
        unsafe { simd.gather_halves(base, stride) }
    }

    #[inline(always)]
    unsafe fn load<S: Floats>(simd: S, from: *const u8) -> S::Vector {
        // SAFETY: the caller's promise.
        simd.load_f16(&unsafe { halves(from) })
    }
}

impl Widen for Bf16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn gather<S: Lanes>(simd: S, base: *const u8, stride: usize) -> [S::Float; 8] {
        // SAFETY: the caller's promise.
        let words = unsafe { simd.gather16(base, stride) };
        let mut floats = [simd.splat_float(0.0); 8];
        for (pair, word) in floats.chunks_exact_mut(2).zip(words) {
            let high = simd.and(word, simd.splat_int(0xffff_0000_u32 as i32));
            pair[0] = simd.bits_to_float(simd.shift_left::<16>(word));
            pair[1] = simd.bits_to_float(high);
        }
        floats
    }

    #[inline(always)]
    unsafe fn load<S: Floats>(simd: S, from: *const u8) -> S::Vector {
        // SAFETY: the caller's promise.
        simd.load_bf16(&unsafe { halves(from) })
    }
}

/// Sixteen little-endian numbers of two bytes.
///
/// # Safety
///
/// Their bytes are readable at `from`.
#[inline(always)]
unsafe fn halves(from: *const u8) -> [u16; WIDTH] {
    // SAFETY: the caller's promise; any alignment is read.
    let mut halves = unsafe { from.cast::<[u16; WIDTH]>().read_unaligned() };
    for half in &mut halves {
        *half = u16::from_le(*half);
    }
    halves
}

/// Declares the float formats to be weights; quantized ones are so by unpacking.
macro_rules! float_weights {
    ($($format:ident)*) => {$(
        impl Weights for $format {
            const PRECISION: Precision = Precision::FLOAT;

            #[inline(always)]
            fn any_rows(x: &Activations) -> bool {
                x.apart()
            }

            #[inline(always)]
            fn multiply<S: Simd>(simd: S, rows: &Rows<'_>) {
                if rows.x.apart() {
                    along::few_columns::<S, $format>(simd, rows);
                } else {
                    simd.call(many_columns::<S, tile::Float<$format>>(rows));
                }
            }
        }
    )*};
}

float_weights! { F32 F16 Bf16 }
