//! The non-linear functions of feed-forward layers.

use super::elementwise::{Map, One, Two, Zip};
use crate::Cpu;
use crate::isa::{Floats, erf, sigmoid};

/// A non-linear function, applied element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// `x / (1 + e⁻ˣ)` (Ramachandran et al. 2017, also named Swish).
    Silu,
    /// `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, the approximation of Hendrycks and Gimpel
    /// 2016 that most models are trained with.
    Gelu,
    /// `x/2 · (1 + erf(x / √2))`, the exact form of the same.
    GeluErf,
    /// `x / (1 + e^(-1.702 x))`, the other approximation of the same.
    GeluSigmoid,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)²` (So et al. 2021).
    ReluSquared,
}

impl Cpu {
    /// `x[i] = f(x[i])`.
    pub fn activate(self, kind: Activation, x: &mut [f32]) {
        match kind {
            Activation::Silu => self.run(Map(Silu, x)),
            Activation::Gelu => self.run(Map(Gelu, x)),
            Activation::GeluErf => self.run(Map(GeluErf, x)),
            Activation::GeluSigmoid => self.run(Map(GeluSigmoid, x)),
            Activation::Relu => self.run(Map(Relu, x)),
            Activation::ReluSquared => self.run(Map(ReluSquared, x)),
        }
    }

    /// `gate[i] = f(gate[i]) · up[i]`; both have the same length.
    pub fn activate_multiply(self, kind: Activation, gate: &mut [f32], up: &[f32]) {
        match kind {
            Activation::Silu => self.run(Zip(Gated(Silu), gate, up)),
            Activation::Gelu => self.run(Zip(Gated(Gelu), gate, up)),
            Activation::GeluErf => self.run(Zip(Gated(GeluErf), gate, up)),
            Activation::GeluSigmoid => self.run(Zip(Gated(GeluSigmoid), gate, up)),
            Activation::Relu => self.run(Zip(Gated(Relu), gate, up)),
            Activation::ReluSquared => self.run(Zip(Gated(ReluSquared), gate, up)),
        }
    }
}

/// A function of the first, times the second.
struct Gated<F>(F);

impl<F: One> Two for Gated<F> {
    #[inline(always)]
    fn apply<S: Floats>(&self, simd: S, x: S::Vector, y: S::Vector) -> S::Vector {
        simd.mul(self.0.apply(simd, x), y)
    }
}

struct Silu;

impl One for Silu {
    #[inline(always)]
    fn apply<S: Floats>(&self, simd: S, x: S::Vector) -> S::Vector {
        simd.mul(x, sigmoid(simd, x))
    }
}

struct Gelu;

impl One for Gelu {
    #[inline(always)]
    fn apply<S: Floats>(&self, simd: S, x: S::Vector) -> S::Vector {
        // (1 + tanh u) / 2 is the sigmoid of 2u.
        const LINEAR: f32 = 1.595_769_2; // 2 √(2/π)
        const CUBIC: f32 = 0.071_354_814; // 0.044715 · 2 √(2/π)
        let square = simd.mul(x, x);
        let slope = simd.multiply_add(square, simd.splat(CUBIC), simd.splat(LINEAR));
        simd.mul(x, sigmoid(simd, simd.mul(x, slope)))
    }
}

struct GeluErf;

impl One for GeluErf {
    #[inline(always)]
    fn apply<S: Floats>(&self, simd: S, x: S::Vector) -> S::Vector {
        let inner = simd.mul(x, simd.splat(std::f32::consts::FRAC_1_SQRT_2));
        let outer = simd.add(simd.splat(1.0), erf(simd, inner));
        simd.mul(simd.mul(x, simd.splat(0.5)), outer)
    }
}

struct GeluSigmoid;

impl One for GeluSigmoid {
    #[inline(always)]
    fn apply<S: Floats>(&self, simd: S, x: S::Vector) -> S::Vector {
        simd.mul(x, sigmoid(simd, simd.mul(x, simd.splat(1.702))))
    }
}

struct Relu;

impl One for Relu {
    #[inline(always)]
    fn apply<S: Floats>(&self, simd: S, x: S::Vector) -> S::Vector {
        // Zero first, so that a NaN passes.
        simd.max(simd.zero(), x)
    }
}

struct ReluSquared;

impl One for ReluSquared {
    #[inline(always)]
    fn apply<S: Floats>(&self, simd: S, x: S::Vector) -> S::Vector {
        let x = Relu.apply(simd, x);
        simd.mul(x, x)
    }
}
