//! The matrix vocabulary in portable Rust: the reference of every other one.

use super::super::scalar::Scalar;
use super::{CodeRange, Lanes, Task};

/// Rows per vector of the portable instruction set: one, so that it multiplies any matrix.
const ROWS: usize = 1;

#[allow(unsafe_code)]
impl Lanes for Scalar {
    const ROWS: usize = ROWS;
    const COLUMNS: usize = 8;
    const SIGNED_OFFSET: i32 = 0;
    type Int = [u32; ROWS];
    type Float = [f32; ROWS];

    #[inline(never)]
    fn call<T: Task<Scalar>>(self, task: T) {
        task.run(self);
    }

    #[inline(always)]
    unsafe fn gather16(self, base: *const u8, stride: usize) -> [[u32; ROWS]; 4] {
        // SAFETY: the caller vouches for sixteen bytes of every row.
        std::array::from_fn(|j| unsafe { self.gather4(base.add(4 * j), stride) })
    }

    #[inline(always)]
    unsafe fn gather4(self, base: *const u8, stride: usize) -> [u32; ROWS] {
        // SAFETY: the caller vouches for four bytes of every row; any alignment is read.
        std::array::from_fn(|r| unsafe {
            u32::from_le_bytes(base.add(r * stride).cast::<[u8; 4]>().read())
        })
    }

    #[inline(always)]
    unsafe fn gather2(self, base: *const u8, stride: usize) -> [u32; ROWS] {
        // SAFETY: the caller vouches for two bytes of every row.
        std::array::from_fn(|r| unsafe {
            u32::from(u16::from_le_bytes(
                base.add(r * stride).cast::<[u8; 2]>().read(),
            ))
        })
    }

    #[inline(always)]
    fn splat_int(self, value: i32) -> [u32; ROWS] {
        [value as u32; ROWS]
    }

    #[inline(always)]
    fn and(self, a: [u32; ROWS], b: [u32; ROWS]) -> [u32; ROWS] {
        std::array::from_fn(|r| a[r] & b[r])
    }

    #[inline(always)]
    fn or(self, a: [u32; ROWS], b: [u32; ROWS]) -> [u32; ROWS] {
        std::array::from_fn(|r| a[r] | b[r])
    }

    #[inline(always)]
    fn xor(self, a: [u32; ROWS], b: [u32; ROWS]) -> [u32; ROWS] {
        std::array::from_fn(|r| a[r] ^ b[r])
    }

    #[inline(always)]
    fn shift_left<const BITS: i32>(self, a: [u32; ROWS]) -> [u32; ROWS] {
        a.map(|a| a << BITS)
    }

    #[inline(always)]
    fn shift_right<const BITS: i32>(self, a: [u32; ROWS]) -> [u32; ROWS] {
        a.map(|a| a >> BITS)
    }

    #[inline(always)]
    fn add_int(self, a: [u32; ROWS], b: [u32; ROWS]) -> [u32; ROWS] {
        std::array::from_fn(|r| a[r].wrapping_add(b[r]))
    }

    #[inline(always)]
    fn subtract_int(self, a: [u32; ROWS], b: [u32; ROWS]) -> [u32; ROWS] {
        std::array::from_fn(|r| a[r].wrapping_sub(b[r]))
    }

    #[inline(always)]
    fn multiply_int(self, a: [u32; ROWS], b: [u32; ROWS]) -> [u32; ROWS] {
        std::array::from_fn(|r| a[r].wrapping_mul(b[r]))
    }

    #[inline(always)]
    fn table16(self, table: &[i8; 16], indices: [u32; ROWS]) -> [u32; ROWS] {
        indices.map(|i| u32::from_le_bytes(i.to_le_bytes().map(|i| table[(i & 15) as usize] as u8)))
    }

    #[inline(always)]
    fn lookup<const N: usize>(self, table: &[u32; N], indices: [u32; ROWS]) -> [u32; ROWS] {
        const { assert!(N.is_power_of_two()) };
        indices.map(|i| table[i as usize & (N - 1)])
    }

    #[inline(always)]
    fn to_float(self, a: [u32; ROWS]) -> [f32; ROWS] {
        a.map(|a| a as i32 as f32)
    }

    #[inline(always)]
    fn half_to_float(self, a: [u32; ROWS]) -> [f32; ROWS] {
        a.map(|a| half::f16::from_bits(a as u16).to_f32())
    }

    #[inline(always)]
    fn bits_to_float(self, a: [u32; ROWS]) -> [f32; ROWS] {
        a.map(f32::from_bits)
    }

    #[inline(always)]
    fn splat_float(self, value: f32) -> [f32; ROWS] {
        [value; ROWS]
    }

    #[inline(always)]
    fn add_float(self, a: [f32; ROWS], b: [f32; ROWS]) -> [f32; ROWS] {
        std::array::from_fn(|r| a[r] + b[r])
    }

    #[inline(always)]
    fn multiply_float(self, a: [f32; ROWS], b: [f32; ROWS]) -> [f32; ROWS] {
        std::array::from_fn(|r| a[r] * b[r])
    }

    #[inline(always)]
    fn multiply_add_float(self, a: [f32; ROWS], b: [f32; ROWS], c: [f32; ROWS]) -> [f32; ROWS] {
        std::array::from_fn(|r| a[r].mul_add(b[r], c[r]))
    }

    #[inline(always)]
    fn dot_pairs(self, acc: [u32; ROWS], a: [u32; ROWS], b: [u32; ROWS]) -> [u32; ROWS] {
        std::array::from_fn(|r| {
            let low = i32::from(a[r] as i16) * i32::from(b[r] as i16);
            let high = i32::from((a[r] >> 16) as i16) * i32::from((b[r] >> 16) as i16);
            acc[r].wrapping_add(low as u32).wrapping_add(high as u32)
        })
    }

    #[inline(always)]
    unsafe fn dot<F: CodeRange, const N: usize, const W: usize>(
        self,
        start: [[u32; ROWS]; W],
        codes: &[[u32; ROWS]; N],
        x: *const i32,
    ) -> [[u32; ROWS]; W] {
        let mut acc = start;
        for (n, codes) in codes.iter().enumerate() {
            for (c, acc) in acc.iter_mut().enumerate() {
                // SAFETY: the caller vouches for `N * W` words.
                let x = unsafe { x.add(n * W + c).read() }.to_le_bytes();
                for r in 0..ROWS {
                    let codes = codes[r].to_le_bytes();
                    for i in 0..4 {
                        // Unsigned codes are at most 127, so both kinds are signed bytes here.
                        let product = i32::from(codes[i] as i8) * i32::from(x[i] as i8);
                        acc[r] = acc[r].wrapping_add(product as u32);
                    }
                }
            }
        }
        acc
    }

    #[inline(always)]
    unsafe fn load_float(self, from: *const f32) -> [f32; ROWS] {
        // SAFETY: the caller vouches for `ROWS` floats.
        unsafe { from.cast::<[f32; ROWS]>().read() }
    }

    #[inline(always)]
    unsafe fn store_float(self, to: *mut f32, a: [f32; ROWS]) {
        // SAFETY: the caller vouches for `ROWS` floats.
        unsafe { to.cast::<[f32; ROWS]>().write(a) }
    }

    #[inline(always)]
    fn prefetch_to_write(self, _: *const u8) {}

    #[inline(always)]
    fn prefetch(self, _from: *const u8) {}
}
