//! Softmax over a row.

use super::reduce;
use crate::Cpu;
use crate::isa::{Kernel, Simd, WIDTH, exp};

impl Cpu {
    /// `x[i] = exp(x[i]) / Σ exp(x[j])`, computed from the differences to the largest, so that
    /// nothing overflows. A row of -∞ alone becomes a row of zeros.
    pub fn softmax(self, x: &mut [f32]) {
        self.run(Softmax(x));
    }
}

struct Softmax<'a>(&'a mut [f32]);

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let most = reduce::max(simd, self.0);
        if most == f32::NEG_INFINITY {
            self.0.fill(0.0);
            return;
        }
        let most = simd.splat(most);
        let (whole, rest) = self.0.as_chunks_mut::<WIDTH>();
        for x in whole {
            simd.store(exp(simd, simd.sub(simd.load(x), most)), x);
        }
        let last = simd.load_partial(rest, f32::NEG_INFINITY);
        simd.store_partial(exp(simd, simd.sub(last, most)), rest);

        let scale = simd.splat(1.0 / reduce::sum(simd, self.0));
        let (whole, rest) = self.0.as_chunks_mut::<WIDTH>();
        for x in whole {
            simd.store(simd.mul(simd.load(x), scale), x);
        }
        let last = simd.mul(simd.load_partial(rest, 0.0), scale);
        simd.store_partial(last, rest);
    }
}
