//! Sixteen floats in an array: the reference of every other instruction set.

use super::{Floats, WIDTH};
use crate::isa::Scalar;
use half::f16;
use std::array::from_fn;

impl Floats for Scalar {
    type Vector = [f32; WIDTH];
    type Whole = [i32; WIDTH];
    type Pairs = [[i16; 2]; WIDTH];
    type Pair = i32;

    const ACCUMULATORS: usize = 4;

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; WIDTH] {
        [x; WIDTH]
    }

    #[inline(always)]
    fn load(self, from: &[f32; WIDTH]) -> [f32; WIDTH] {
        *from
    }

    #[inline(always)]
    fn load_f16(self, from: &[u16; WIDTH]) -> [f32; WIDTH] {
        from_fn(|i| f16::from_bits(from[i]).to_f32())
    }

    #[inline(always)]
    fn load_bf16(self, from: &[u16; WIDTH]) -> [f32; WIDTH] {
        from_fn(|i| f32::from_bits(u32::from(from[i]) << 16))
    }

    #[inline(always)]
    fn load_first_bf16(self, from: &[u32; WIDTH]) -> [f32; WIDTH] {
        from_fn(|i| f32::from_bits(from[i] << 16))
    }

    #[inline(always)]
    fn load_second_bf16(self, from: &[u32; WIDTH]) -> [f32; WIDTH] {
        from_fn(|i| f32::from_bits(from[i] & 0xffff_0000))
    }

    #[inline(always)]
    fn store(self, x: [f32; WIDTH], to: &mut [f32; WIDTH]) {
        *to = x;
    }

    #[inline(always)]
    fn store_f16(self, x: [f32; WIDTH], to: &mut [u16; WIDTH]) {
        *to = from_fn(|i| f16::from_f32(x[i]).to_bits());
    }

    #[inline(always)]
    fn add(self, a: [f32; WIDTH], b: [f32; WIDTH]) -> [f32; WIDTH] {
        from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn sub(self, a: [f32; WIDTH], b: [f32; WIDTH]) -> [f32; WIDTH] {
        from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    fn mul(self, a: [f32; WIDTH], b: [f32; WIDTH]) -> [f32; WIDTH] {
        from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn div(self, a: [f32; WIDTH], b: [f32; WIDTH]) -> [f32; WIDTH] {
        from_fn(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn multiply_add(self, a: [f32; WIDTH], b: [f32; WIDTH], c: [f32; WIDTH]) -> [f32; WIDTH] {
        from_fn(|i| a[i].mul_add(b[i], c[i]))
    }

    #[inline(always)]
    fn max(self, a: [f32; WIDTH], b: [f32; WIDTH]) -> [f32; WIDTH] {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn min(self, a: [f32; WIDTH], b: [f32; WIDTH]) -> [f32; WIDTH] {
        from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn select_less(
        self,
        (a, b): ([f32; WIDTH], [f32; WIDTH]),
        yes: [f32; WIDTH],
        no: [f32; WIDTH],
    ) -> [f32; WIDTH] {
        from_fn(|i| if a[i] < b[i] { yes[i] } else { no[i] })
    }

    #[inline(always)]
    fn round(self, x: [f32; WIDTH]) -> [f32; WIDTH] {
        from_fn(|i| x[i].round_ties_even())
    }

    #[inline(always)]
    fn scale_by_power_of_two(self, x: [f32; WIDTH], n: [f32; WIDTH]) -> [f32; WIDTH] {
        // Two factors, because one alone overflows before the product does; the first product is
        // exact, so the result is rounded once. A NaN converts to 0 and stays in `x`.
        from_fn(|i| {
            let whole = n[i] as i32;
            let half = whole >> 1;
            x[i] * power_of_two(half) * power_of_two(whole - half)
        })
    }

    #[inline(always)]
    fn no_products(self) -> [i32; WIDTH] {
        [0; WIDTH]
    }

    #[inline(always)]
    fn load_pairs(self, from: &[u16; WIDTH]) -> [[i16; 2]; WIDTH] {
        from_fn(|i| [i16::from(from[i] as i8), i16::from((from[i] >> 8) as i8)])
    }

    #[inline(always)]
    fn load_words(self, from: &[u16; 2 * WIDTH]) -> [[i16; 2]; WIDTH] {
        from_fn(|i| [from[2 * i] as i16, from[2 * i + 1] as i16])
    }

    #[inline(always)]
    fn splat_pair(self, b: i32) -> i32 {
        b
    }

    #[inline(always)]
    fn add_products(self, sum: [i32; WIDTH], a: [[i16; 2]; WIDTH], b: i32) -> [i32; WIDTH] {
        let (first, second) = (i32::from(b as i16), b >> 16);
        from_fn(|i| {
            sum[i]
                .wrapping_add(i32::from(a[i][0]) * first)
                .wrapping_add(i32::from(a[i][1]) * second)
        })
    }

    #[inline(always)]
    fn load_whole(self, from: &[i32; WIDTH]) -> [i32; WIDTH] {
        *from
    }

    #[inline(always)]
    fn store_whole(self, x: [i32; WIDTH], to: &mut [i32; WIDTH]) {
        *to = x;
    }

    #[inline(always)]
    fn whole_to_float(self, x: [i32; WIDTH]) -> [f32; WIDTH] {
        from_fn(|i| x[i] as f32)
    }

    #[inline(always)]
    fn store_pairs(self, x: [f32; WIDTH], to: &mut [i32; WIDTH / 2]) {
        *to = from_fn(|i| {
            let whole = |x: f32| x.round_ties_even() as i32;
            (whole(x[2 * i]) & 0xffff) | (whole(x[2 * i + 1]) << 16)
        });
    }

    #[inline(always)]
    fn prefetch<T>(self, _at: *const T) {}

    #[inline(always)]
    fn sum(self, x: [f32; WIDTH]) -> f32 {
        let x: [f32; 8] = from_fn(|i| x[i] + x[i + 8]);
        let x: [f32; 4] = from_fn(|i| x[i] + x[i + 4]);
        (x[0] + x[2]) + (x[1] + x[3])
    }

    #[inline(always)]
    fn maximum(self, x: [f32; WIDTH]) -> f32 {
        let max = |a: f32, b: f32| if a > b { a } else { b };
        let x: [f32; 8] = from_fn(|i| max(x[i], x[i + 8]));
        let x: [f32; 4] = from_fn(|i| max(x[i], x[i + 4]));
        max(max(x[0], x[2]), max(x[1], x[3]))
    }
}

/// 2ⁿ for -126 ≤ n ≤ 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits(((n + 127) << 23) as u32)
}
