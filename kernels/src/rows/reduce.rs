//! Reductions of a row to one number, in one order for every instruction set.

use crate::Cpu;
use crate::isa::{Floats, Kernel, Simd, WIDTH};

/// Vectors summed side by side, so that an addition need not wait for the one before it.
const STREAMS: usize = 4;

impl Cpu {
    /// `Σ x[i] · y[i]`; both have the same length.
    pub fn dot(self, x: &[f32], y: &[f32]) -> f32 {
        assert_eq!(x.len(), y.len(), "rows of different lengths");
        self.run(Dot { x, y })
    }

    /// The largest of `x`; -∞ if there is none. A NaN is passed over or returned, depending on
    /// where it is.
    pub fn max(self, x: &[f32]) -> f32 {
        self.run(Max(x))
    }

    /// The index of the largest of `x`, the first of equals; `None` if every one is NaN or there
    /// is none.
    pub fn argmax(self, x: &[f32]) -> Option<usize> {
        let mut best: Option<(usize, f32)> = None;
        for (i, &value) in x.iter().enumerate() {
            let better = match best {
                None => !value.is_nan(),
                Some((_, most)) => value > most,
            };
            if better {
                best = Some((i, value));
            }
        }
        best.map(|(i, _)| i)
    }
}

struct Dot<'a> {
    x: &'a [f32],
    y: &'a [f32],
}

impl Kernel for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        dot(simd, self.x, self.y)
    }
}

struct Max<'a>(&'a [f32]);

impl Kernel for Max<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        max(simd, self.0)
    }
}

/// `Σ x[i] · y[i]`: vector `k` is added to stream `k mod 4`, the streams are added in pairs.
#[inline(always)]
pub(super) fn dot<S: Floats>(simd: S, x: &[f32], y: &[f32]) -> f32 {
    let mut sums = [simd.zero(); STREAMS];
    let (x, x_rest) = x.as_chunks::<{ STREAMS * WIDTH }>();
    let (y, y_rest) = y.as_chunks::<{ STREAMS * WIDTH }>();
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x.as_chunks::<WIDTH>().0, y.as_chunks::<WIDTH>().0);
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum = simd.multiply_add(simd.load(x), simd.load(y), *sum);
        }
    }
    let rest = x_rest.chunks(WIDTH).zip(y_rest.chunks(WIDTH));
    for (sum, (x, y)) in sums.iter_mut().zip(rest) {
        let (x, y) = (simd.load_partial(x, 0.0), simd.load_partial(y, 0.0));
        *sum = simd.multiply_add(x, y, *sum);
    }
    total(simd, sums)
}

/// `Σ x[i]`, in the order of [`dot`].
#[inline(always)]
pub(super) fn sum<S: Floats>(simd: S, x: &[f32]) -> f32 {
    let mut sums = [simd.zero(); STREAMS];
    let (x, rest) = x.as_chunks::<{ STREAMS * WIDTH }>();
    for x in x {
        for (sum, x) in sums.iter_mut().zip(x.as_chunks::<WIDTH>().0) {
            *sum = simd.add(simd.load(x), *sum);
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest.chunks(WIDTH)) {
        *sum = simd.add(simd.load_partial(x, 0.0), *sum);
    }
    total(simd, sums)
}

#[inline(always)]
fn total<S: Floats>(simd: S, sums: [S::Vector; STREAMS]) -> f32 {
    let [a, b, c, d] = sums;
    simd.sum(simd.add(simd.add(a, b), simd.add(c, d)))
}

/// The largest of `x`.
#[inline(always)]
pub(super) fn max<S: Floats>(simd: S, x: &[f32]) -> f32 {
    let mut most = simd.splat(f32::NEG_INFINITY);
    let (whole, rest) = x.as_chunks::<WIDTH>();
    for x in whole {
        most = simd.max(simd.load(x), most);
    }
    most = simd.max(simd.load_partial(rest, f32::NEG_INFINITY), most);
    simd.maximum(most)
}
