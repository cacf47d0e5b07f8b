//! Element by element: sums, multiples and caps; and the two loops that all such operations share.

use crate::Cpu;
use crate::isa::{Floats, Kernel, Simd, WIDTH, tanh};

impl Cpu {
    /// `x[i] += y[i]`; both have the same length.
    pub fn add(self, x: &mut [f32], y: &[f32]) {
        self.run(Zip(Add, x, y));
    }

    /// `x[i] *= by`.
    pub fn scale(self, x: &mut [f32], by: f32) {
        self.run(Map(Scale(by), x));
    }

    /// `x[i] *= y[i]`; both have the same length.
    pub fn multiply(self, x: &mut [f32], y: &[f32]) {
        self.run(Zip(Multiply, x, y));
    }

    /// `x[i] += y[i] · by`, rounded once; both have the same length.
    pub fn multiply_add(self, x: &mut [f32], y: &[f32], by: f32) {
        self.run(Zip(MultiplyAdd(by), x, y));
    }

    /// `x[i] = cap · tanh(x[i] / cap)`, which keeps logits within ±`cap`.
    pub fn soft_cap(self, x: &mut [f32], cap: f32) {
        self.run(Map(SoftCap(cap), x));
    }
}

/// A function of one vector.
pub(super) trait One {
    /// Its value.
    fn apply<S: Floats>(&self, simd: S, x: S::Vector) -> S::Vector;
}

/// A function of two vectors.
pub(super) trait Two {
    /// Its value.
    fn apply<S: Floats>(&self, simd: S, x: S::Vector, y: S::Vector) -> S::Vector;
}

/// Replaces every element by the function of it.
pub(super) struct Map<'a, F>(pub(super) F, pub(super) &'a mut [f32]);

impl<F: One> Kernel for Map<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Map(function, x) = self;
        let (x, rest) = x.as_chunks_mut::<WIDTH>();
        for x in x {
            simd.store(function.apply(simd, simd.load(x)), x);
        }
        if !rest.is_empty() {
            let y = function.apply(simd, simd.load_partial(rest, 0.0));
            simd.store_partial(y, rest);
        }
    }
}

/// Replaces every element of the first by the function of it and its partner.
pub(super) struct Zip<'a, F>(pub(super) F, pub(super) &'a mut [f32], pub(super) &'a [f32]);

impl<F: Two> Kernel for Zip<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Zip(function, x, y) = self;
        assert_eq!(x.len(), y.len(), "rows of different lengths");
        let (x, x_rest) = x.as_chunks_mut::<WIDTH>();
        let (y, y_rest) = y.as_chunks::<WIDTH>();
        for (x, y) in x.iter_mut().zip(y) {
            simd.store(function.apply(simd, simd.load(x), simd.load(y)), x);
        }
        if !x_rest.is_empty() {
            let x = simd.load_partial(x_rest, 0.0);
            let y = simd.load_partial(y_rest, 0.0);
            simd.store_partial(function.apply(simd, x, y), x_rest);
        }
    }
}

struct Add;

impl Two for Add {
    #[inline(always)]
    fn apply<S: Floats>(&self, simd: S, x: S::Vector, y: S::Vector) -> S::Vector {
        simd.add(x, y)
    }
}

struct Multiply;

impl Two for Multiply {
    #[inline(always)]
    fn apply<S: Floats>(&self, simd: S, x: S::Vector, y: S::Vector) -> S::Vector {
        simd.mul(x, y)
    }
}

struct MultiplyAdd(f32);

impl Two for MultiplyAdd {
    #[inline(always)]
    fn apply<S: Floats>(&self, simd: S, x: S::Vector, y: S::Vector) -> S::Vector {
        simd.multiply_add(y, simd.splat(self.0), x)
    }
}

struct Scale(f32);

impl One for Scale {
    #[inline(always)]
    fn apply<S: Floats>(&self, simd: S, x: S::Vector) -> S::Vector {
        simd.mul(x, simd.splat(self.0))
    }
}

struct SoftCap(f32);

impl One for SoftCap {
    #[inline(always)]
    fn apply<S: Floats>(&self, simd: S, x: S::Vector) -> S::Vector {
        soft_cap(simd, x, self.0)
    }
}

/// `cap · tanh(x / cap)`.
#[inline(always)]
pub(crate) fn soft_cap<S: Floats>(simd: S, x: S::Vector, cap: f32) -> S::Vector {
    let cap = simd.splat(cap);
    simd.mul(cap, tanh(simd, simd.div(x, cap)))
}
