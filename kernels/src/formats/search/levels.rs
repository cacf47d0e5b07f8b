//! Codes that stand for fixed levels, one weight at a time.

use super::super::SUPER;
use super::steps::{Chosen, Steps};
use super::{Fit, TINY, best_scale, extreme, round};

/// The levels that codes stand for.
pub(crate) trait Levels {
    /// The largest magnitude of a level.
    const LARGEST: f32;

    /// The level nearest to `v`.
    fn nearest(v: f32) -> f32;
}

/// The whole numbers from −`N` to `N` − 1.
pub(crate) struct Whole<const N: i8>;

impl<const N: i8> Levels for Whole<N> {
    const LARGEST: f32 = N as f32;

    #[inline(always)]
    fn nearest(v: f32) -> f32 {
        round(v.clamp(-Self::LARGEST, Self::LARGEST - 1.0))
    }
}

/// Reciprocal of a scale, 0 for a scale that is as good as 0.
pub(crate) fn reciprocal(scale: f32) -> f32 {
    if scale.abs() < TINY { 0.0 } else { 1.0 / scale }
}

/// The sums of `x`, a multiple of 8 long, with its nearest levels at `scale`.
pub(crate) fn fit<L: Levels>(x: &[f32], w: &[f32], scale: f32) -> Fit {
    let inverse = reciprocal(scale);
    let (mut xq, mut qq) = ([0.0f32; 8], [0.0f32; 8]);
    for (x, w) in x.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0) {
        for i in 0..8 {
            let q = L::nearest(x[i] * inverse);
            let wq = w[i] * q;
            xq[i] += wq * x[i];
            qq[i] += wq * q;
        }
    }
    Fit {
        xq: xq.iter().sum(),
        qq: qq.iter().sum(),
    }
}

/// The scale at which levels approximate `x` best.
pub(crate) fn scale<L: Levels>(x: &[f32], w: &[f32]) -> f32 {
    let extreme = extreme(x);
    if extreme.abs() < TINY {
        return 0.0;
    }
    // The extreme weight goes to ½ to 1¼ times the largest level, of either sign. For up to 32
    // levels on a side this visits whole numbers, so weights that are already such levels times a
    // scale are met exactly.
    let fractions = (16..=40).map(|j| j as f32 / 32.0);
    let candidates = fractions.flat_map(|fraction| {
        let scale = extreme / (fraction * L::LARGEST);
        [-scale, scale]
    });
    best_scale(candidates, |scale| fit::<L>(x, w, scale))
}

/// The scale and steps with which the equal groups of a super-block are approximated best.
pub(crate) fn groups<L: Levels, const GROUPS: usize>(
    steps: &Steps,
    x: &[f32],
    w: &[f32],
) -> Chosen<GROUPS> {
    let length = SUPER / GROUPS;
    let group = |g: usize| (&x[g * length..][..length], &w[g * length..][..length]);
    let targets = std::array::from_fn(|g| {
        let (x, w) = group(g);
        scale::<L>(x, w)
    });
    steps.choose(targets, |g, scale| {
        let (x, w) = group(g);
        fit::<L>(x, w, scale)
    })
}

impl<const GROUPS: usize> Chosen<GROUPS> {
    /// The levels nearest to the 256 weights.
    pub(crate) fn codes<L: Levels>(&self, steps: &Steps, x: &[f32]) -> [i8; SUPER] {
        let length = SUPER / GROUPS;
        let mut codes = [0; SUPER];
        for (g, codes) in codes.chunks_exact_mut(length).enumerate() {
            let scale = self.scale.to_f32() * steps.factor(self.steps[g]);
            quantize::<L>(&x[g * length..][..length], scale, codes);
        }
        codes
    }
}

/// Writes the nearest levels to `x / scale` to `out`.
pub(crate) fn quantize<L: Levels>(x: &[f32], scale: f32, out: &mut [i8]) {
    let inverse = reciprocal(scale);
    for (out, x) in out.iter_mut().zip(x) {
        *out = L::nearest(x * inverse) as i8;
    }
}
