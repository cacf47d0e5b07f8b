//! How encoders choose scales and codes.
//!
//! Every format approximates a group of weights `x` by `scale × q`, where `q` is taken from what
//! its codes stand for, or by `scale × q + minimum`. The error that the searches make small is
//! `Σ w (x − scale × q)²` with the importances `w`. For given codes, the best scale is
//! `Σ w x q / Σ w q²` (least squares); for a given scale, the best codes are the nearest ones. The
//! searches try scales around the one that maps the largest weight to the largest code, fit each
//! by least squares, and keep the best.
//!
//! * [`levels`]: `q` from fixed levels, weight by weight;
//! * [`affine`]: whole `q` from zero up, with a minimum;
//! * [`codebook`]: `q` from a codebook, several weights at once;
//! * [`shifted`]: the codebook of IQ1, whose levels are shifted;
//! * [`steps`]: how the scales of groups become small integers with one scale in common.
//!
//! Only additions, multiplications, divisions and comparisons of `f32` are used, in a fixed order,
//! so that the same weights give the same block on every machine. The packing of bits is left to
//! the formats.
//!
//! Weights and importances are what [`super::Block::encode`] promises.

pub(super) mod affine;
pub(super) mod codebook;
pub(super) mod levels;
pub(super) mod shifted;
pub(super) mod signs;
pub(super) mod steps;

/// Weights below this are as good as zero: a scale of 16 bits does not reach down to them, and
/// their squares would lose precision.
const TINY: f32 = 1e-12;

/// Sums of products of a group of weights with its codes.
#[derive(Clone, Copy, Default)]
pub(super) struct Fit {
    /// `Σ w x q`.
    pub(super) xq: f32,
    /// `Σ w q²`.
    pub(super) qq: f32,
}

impl Fit {
    /// The best scale for these codes; 0 if all of them are 0.
    pub(super) fn scale(self) -> f32 {
        if self.qq > 0.0 {
            self.xq / self.qq
        } else {
            0.0
        }
    }

    /// By how much the codes with their best scale have a smaller error than zeros.
    pub(super) fn gain(self) -> f32 {
        self.xq * self.scale()
    }

    /// The error with `scale` instead, less the error of zeros.
    pub(super) fn error(self, scale: f32) -> f32 {
        scale * (scale * self.qq - 2.0 * self.xq)
    }

    /// Both groups together.
    pub(super) fn plus(self, other: Fit) -> Fit {
        Fit {
            xq: self.xq + other.xq,
            qq: self.qq + other.qq,
        }
    }
}

/// The weight of largest magnitude, with its sign.
pub(super) fn extreme(weights: &[f32]) -> f32 {
    weights.iter().fold(
        0.0f32,
        |best, &x| if x.abs() > best.abs() { x } else { best },
    )
}

/// The nearest whole number to a `v` of magnitude below 2²², ties to even.
pub(super) fn round(v: f32) -> f32 {
    // Where this number lies, floats are whole, so the addition rounds; unlike a call of the
    // standard library it stays inside vectorized loops.
    const WHOLE: f32 = 12_582_912.0;
    (v + WHOLE) - WHOLE
}

/// Tries `candidates` as scales: each is fitted, and the fit with the largest gain is refined with
/// the codes that its own scale gives. Returns that scale; 0 if no candidate gains.
pub(super) fn best_scale(
    candidates: impl Iterator<Item = f32>,
    mut fit: impl FnMut(f32) -> Fit,
) -> f32 {
    let mut best = Fit::default();
    for candidate in candidates {
        let found = fit(candidate);
        if found.gain() > best.gain() {
            best = found;
        }
    }
    for _ in 0..3 {
        let found = fit(best.scale());
        if found.gain() <= best.gain() {
            break;
        }
        best = found;
    }
    best.scale()
}
