//! Products with float weights. F32 and F16 are widened to f32; so is BF16 where no instruction adds
//! products of pairs of bfloat16 ([`pairs`]). A few columns are multiplied row after row ([`along`]),
//! more in tiles ([`tile`]).
#![allow(unsafe_code)]

mod along;
mod pairs;
mod tile;

use self::along::{Along, few_columns};
use self::pairs::Pairs;
use self::tile::Elements;
use super::tiled::many_columns;
use super::{Rows, Weights};
use crate::activations::{Activations, PAIRED, Precision};
use crate::formats::{Bf16, F16, F32, SUPER};
use crate::isa::{Lanes, Simd, WIDTH, widen_bf16};
use std::marker::PhantomData;
use std::ops::Range;

/// A float format whose weights are widened.
trait Widen {
    /// Bytes of a weight.
    const BYTES: usize;

    /// Weights that are read together: activations are ordered within so many.
    const UNIT: usize = WIDTH;

    /// The activations of a column that lies apart.
    #[inline(always)]
    fn column(x: &Activations, column: usize) -> &[[f32; WIDTH]] {
        x.column_floats(column)
    }

    /// The activations of a panel.
    #[inline(always)]
    fn panel<'x>(x: &'x Activations, columns: &Range<usize>) -> &'x [f32] {
        x.panel_floats(columns)
    }

    /// Puts the weights in sixteen bytes of each row into a tile, in the order of activations; the
    /// first is number `k` of the block.
    ///
    /// # Safety
    ///
    /// As for [`Lanes::gather16`].
    unsafe fn gather<S: Lanes>(
        simd: S,
        rows: (*const u8, usize),
        tile: &mut [S::Float; SUPER],
        k: usize,
    );

    /// Sixteen weights of a row, those that belong to vector number `i` of the activations.
    ///
    /// # Safety
    ///
    /// The bytes of the unit of weights that they belong to are readable where it lies behind
    /// `block`.
    unsafe fn load<S: Simd>(simd: S, block: *const u8, i: usize) -> S::Vector;
}

impl Widen for F32 {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn gather<S: Lanes>(
        simd: S,
        (base, stride): (*const u8, usize),
        tile: &mut [S::Float; SUPER],
        k: usize,
    ) {
        // SAFETY: the caller's promise.
        let words = unsafe { simd.gather16(base, stride) };
        for (float, word) in tile[k..k + 4].iter_mut().zip(words) {
            *float = simd.bits_to_float(word);
        }
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, block: *const u8, i: usize) -> S::Vector {
        // SAFETY: the caller's promise; any alignment is read.
        let mut floats = unsafe { block.cast::<[f32; WIDTH]>().add(i).read_unaligned() };
        for float in &mut floats {
            *float = f32::from_bits(u32::from_le(float.to_bits()));
        }
        simd.load(&floats)
    }
}

impl Widen for F16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn gather<S: Lanes>(
        simd: S,
        (base, stride): (*const u8, usize),
        tile: &mut [S::Float; SUPER],
        k: usize,
    ) {
        // SAFETY: the caller's promise.
        let floats = unsafe { simd.gather_halves(base, stride) };
        tile[k..k + 8].copy_from_slice(&floats);
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, block: *const u8, i: usize) -> S::Vector {
        // SAFETY: the caller's promise; any alignment is read.
        let mut halves = unsafe { block.cast::<[u16; WIDTH]>().add(i).read_unaligned() };
        for half in &mut halves {
            *half = u16::from_le(*half);
        }
        simd.load_f16(&halves)
    }
}

impl Widen for Bf16 {
    const BYTES: usize = 2;
    const UNIT: usize = PAIRED;

    #[inline(always)]
    fn column(x: &Activations, column: usize) -> &[[f32; WIDTH]] {
        x.column_parted(column)
    }

    #[inline(always)]
    fn panel<'x>(x: &'x Activations, columns: &Range<usize>) -> &'x [f32] {
        x.panel_parted(columns)
    }

    #[inline(always)]
    unsafe fn gather<S: Lanes>(
        simd: S,
        (base, stride): (*const u8, usize),
        tile: &mut [S::Float; SUPER],
        k: usize,
    ) {
        // SAFETY: the caller's promise.
        let pairs = unsafe { simd.gather16(base, stride) };
        let unit = &mut tile[k / PAIRED * PAIRED..][..PAIRED];
        for (n, pair) in pairs.into_iter().enumerate() {
            let place = (k % PAIRED / 2 + n) % WIDTH;
            [unit[WIDTH + place], unit[place]] = widen_bf16(simd, pair);
        }
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, block: *const u8, i: usize) -> S::Vector {
        // SAFETY: the caller's promise; any alignment is read.
        let mut pairs = unsafe { block.cast::<[u32; WIDTH]>().add(i / 2).read_unaligned() };
        for pair in &mut pairs {
            *pair = u32::from_le(*pair);
        }
        match i % 2 {
            0 => simd.load_second_bf16(&pairs),
            _ => simd.load_first_bf16(&pairs),
        }
    }
}

/// Marks a format whose weights are multiplied as floats.
struct Widened<B>(PhantomData<B>);

impl<S: Simd, B: Widen> Along<S> for Widened<B> {
    const BYTES: usize = B::BYTES;
    const UNIT: usize = B::UNIT;
    const VECTORS: usize = SUPER / WIDTH;
    type Numbers = [f32; WIDTH];
    type Operand = S::Vector;
    type Sum = S::Vector;

    #[inline(always)]
    fn column(x: &Activations, column: usize) -> &[[f32; WIDTH]] {
        B::column(x, column)
    }

    #[inline(always)]
    unsafe fn weights(simd: S, block: *const u8, i: usize) -> S::Vector {
        // SAFETY: the caller's promise.
        unsafe { B::load(simd, block, i) }
    }

    #[inline(always)]
    fn activations(simd: S, x: &[f32; WIDTH]) -> S::Vector {
        simd.load(x)
    }

    #[inline(always)]
    fn nothing(simd: S) -> S::Vector {
        simd.zero()
    }

    #[inline(always)]
    fn multiply_add(simd: S, weights: S::Vector, x: S::Vector, sum: S::Vector) -> S::Vector {
        simd.multiply_add(weights, x, sum)
    }

    #[inline(always)]
    fn vector(_: S, sum: S::Vector) -> S::Vector {
        sum
    }
}

impl<S: Lanes, B: Widen> Elements<S> for Widened<B> {
    const BYTES: usize = B::BYTES;
    const UNIT: usize = B::UNIT;
    const PER_ELEMENT: usize = 1;
    type Number = f32;
    type Element = S::Float;
    type Exactly = Self;

    #[inline(always)]
    fn panel<'x>(x: &'x Activations, columns: &Range<usize>) -> &'x [f32] {
        B::panel(x, columns)
    }

    #[inline(always)]
    fn nothing(simd: S) -> S::Float {
        simd.splat_float(0.0)
    }

    #[inline(always)]
    unsafe fn gather(simd: S, rows: (*const u8, usize), tile: &mut [S::Float; SUPER], k: usize) {
        // SAFETY: the caller's promise.
        unsafe { B::gather(simd, rows, tile, k) }
    }

    #[inline(always)]
    fn multiply_add<const W: usize, const N: usize>(
        simd: S,
        weights: [S::Float; N],
        x: &[f32; W],
        sums: &mut [[S::Float; W]; N],
    ) {
        if N == 1 {
            sums[0] = simd.multiply_add_columns(weights[0], x, sums[0]);
            return;
        }
        for c in 0..W {
            let x = simd.splat_float(x[c]);
            for (weight, sums) in weights.into_iter().zip(&mut *sums) {
                sums[c] = simd.multiply_add_float(weight, x, sums[c]);
            }
        }
    }
}

/// Declares float formats to be weights; quantized ones are so by unpacking.
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
                multiply_widened::<S, $format>(simd, rows);
            }
        }
    )*};
}

float_weights! { F32 F16 }

impl Weights for Bf16 {
    const PRECISION: Precision = Precision::BF16;

    const DOTS_BF16: bool = true;

    #[inline(always)]
    fn any_rows(x: &Activations) -> bool {
        x.apart()
    }

    #[inline(always)]
    fn multiply<S: Simd>(simd: S, rows: &Rows<'_>) {
        // What is prepared in pairs is multiplied with the instruction, or one row at a time.
        let pairs = S::DOTS_BF16 || S::ROWS == 1 && rows.x.in_pairs();
        if S::DOTS_BF16 && rows.x.apart() {
            few_columns::<S, Pairs<false>>(simd, rows);
        } else if pairs && !rows.x.apart() {
            simd.call(many_columns::<S, tile::Tiles<Pairs<false>>>(rows));
        } else if !S::DOTS_BF16 {
            multiply_widened::<S, Bf16>(simd, rows);
        }
    }
}

/// The product of the rows with all columns, weights widened.
#[inline(always)]
fn multiply_widened<S: Simd, B: Widen>(simd: S, rows: &Rows<'_>) {
    if rows.x.apart() {
        few_columns::<S, Widened<B>>(simd, rows);
    } else {
        simd.call(many_columns::<S, tile::Tiles<Widened<B>>>(rows));
    }
}
