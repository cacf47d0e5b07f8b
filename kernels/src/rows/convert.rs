//! Conversion between 32-bit and 16-bit floats.

use crate::Cpu;
use crate::isa::{Floats, Kernel, Simd, WIDTH};

impl Cpu {
    /// The 16-bit IEEE floats nearest to `x`, ties to even, as bits; both have the same length.
    pub fn narrow_f16(self, x: &[f32], out: &mut [u16]) {
        assert_eq!(x.len(), out.len(), "rows of different lengths");
        self.run(Narrow { x, out });
    }

    /// The values of the 16-bit IEEE floats with the bits `x`; both have the same length.
    pub fn widen_f16(self, x: &[u16], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "rows of different lengths");
        self.run(Widen {
            x,
            out,
            kind: Kind::F16,
        });
    }

    /// The values of the bfloat16 with the bits `x`; both have the same length.
    pub fn widen_bf16(self, x: &[u16], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "rows of different lengths");
        self.run(Widen {
            x,
            out,
            kind: Kind::Bf16,
        });
    }
}

struct Narrow<'a> {
    x: &'a [f32],
    out: &'a mut [u16],
}

impl Kernel for Narrow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (x, x_rest) = self.x.as_chunks::<WIDTH>();
        let (out, out_rest) = self.out.as_chunks_mut::<WIDTH>();
        for (x, out) in x.iter().zip(out) {
            simd.store_f16(simd.load(x), out);
        }
        let mut last = [0; WIDTH];
        simd.store_f16(simd.load_partial(x_rest, 0.0), &mut last);
        for (to, bits) in out_rest.iter_mut().zip(last) {
            *to = bits;
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    F16,
    Bf16,
}

struct Widen<'a> {
    x: &'a [u16],
    out: &'a mut [f32],
    kind: Kind,
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (x, x_rest) = self.x.as_chunks::<WIDTH>();
        let (out, out_rest) = self.out.as_chunks_mut::<WIDTH>();
        for (x, out) in x.iter().zip(out) {
            simd.store(widen(simd, x, self.kind), out);
        }
        let mut last = [0; WIDTH];
        for (to, bits) in last.iter_mut().zip(x_rest) {
            *to = *bits;
        }
        simd.store_partial(widen(simd, &last, self.kind), out_rest);
    }
}

#[inline(always)]
fn widen<S: Floats>(simd: S, bits: &[u16; WIDTH], kind: Kind) -> S::Vector {
    match kind {
        Kind::F16 => simd.load_f16(bits),
        Kind::Bf16 => simd.load_bf16(bits),
    }
}
