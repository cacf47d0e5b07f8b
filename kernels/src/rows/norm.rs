//! Normalization of a row.

use super::reduce;
use crate::Cpu;
use crate::isa::{Kernel, Simd, WIDTH};

/// What a layer normalization (Ba et al. 2016) has beside its input.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm<'a> {
    /// Multiplies the normalized row, `(len)`; 1 if absent.
    pub weight: Option<&'a [f32]>,
    /// Is added to the result, `(len)`; 0 if absent.
    pub bias: Option<&'a [f32]>,
    /// Is added to the variance.
    pub epsilon: f32,
}

impl Cpu {
    /// Root-mean-square normalization (Zhang and Sennrich 2019):
    /// `out[i] = x[i] / √(mean(x²) + epsilon) · weight[i]`. All have the same length; a weight
    /// that is absent is 1.
    pub fn rms_norm(self, x: &[f32], weight: Option<&[f32]>, epsilon: f32, out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "rows of different lengths");
        let scale = inverse_root(self.dot(x, x), x.len(), epsilon);
        self.run(Affine {
            x,
            shift: 0.0,
            scale,
            weight,
            bias: None,
            out,
        });
    }

    /// `out[i] = (x[i] - mean(x)) / √(variance(x) + epsilon) · weight[i] + bias[i]`. All have the
    /// same length.
    pub fn layer_norm(self, x: &[f32], norm: LayerNorm<'_>, out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "rows of different lengths");
        let (mean, scale) = self.run(Moments {
            x,
            epsilon: norm.epsilon,
            centred: out,
        });
        self.run(Affine {
            x,
            shift: mean,
            scale,
            weight: norm.weight,
            bias: norm.bias,
            out,
        });
    }
}

/// `1 / √(sum / len + epsilon)`.
#[inline(always)]
fn inverse_root(sum: f32, len: usize, epsilon: f32) -> f32 {
    1.0 / (sum / len as f32 + epsilon).sqrt()
}

/// The mean of a row and the inverse of its standard deviation. The variance is the mean square
/// of the centred row: the difference of two moments would cancel.
struct Moments<'a> {
    x: &'a [f32],
    epsilon: f32,
    /// Receives the row less its mean.
    centred: &'a mut [f32],
}

impl Kernel for Moments<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> (f32, f32) {
        let mean = reduce::sum(simd, self.x) / self.x.len() as f32;
        for (to, x) in self.centred.iter_mut().zip(self.x) {
            *to = x - mean;
        }
        let squares = reduce::dot(simd, self.centred, self.centred);
        (mean, inverse_root(squares, self.x.len(), self.epsilon))
    }
}

/// `out[i] = (x[i] - shift) · scale · weight[i] + bias[i]`.
struct Affine<'a> {
    x: &'a [f32],
    shift: f32,
    scale: f32,
    weight: Option<&'a [f32]>,
    bias: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl Kernel for Affine<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (x, x_rest) = self.x.as_chunks::<WIDTH>();
        let (out, out_rest) = self.out.as_chunks_mut::<WIDTH>();
        let (weight, weight_rest) = split(self.weight, self.x.len());
        let (bias, bias_rest) = split(self.bias, self.x.len());
        let shift = simd.splat(self.shift);
        let scale = simd.splat(self.scale);
        for (i, (x, out)) in x.iter().zip(out).enumerate() {
            let mut y = simd.mul(simd.sub(simd.load(x), shift), scale);
            if let Some(weight) = weight {
                y = simd.mul(y, simd.load(&weight[i]));
            }
            if let Some(bias) = bias {
                y = simd.add(y, simd.load(&bias[i]));
            }
            simd.store(y, out);
        }
        let mut y = simd.mul(simd.sub(simd.load_partial(x_rest, 0.0), shift), scale);
        if let Some(weight) = weight_rest {
            y = simd.mul(y, simd.load_partial(weight, 0.0));
        }
        if let Some(bias) = bias_rest {
            y = simd.add(y, simd.load_partial(bias, 0.0));
        }
        simd.store_partial(y, out_rest);
    }
}

/// The whole vectors of a row of length `len`, and what is left of it.
type Split<'a> = (Option<&'a [[f32; WIDTH]]>, Option<&'a [f32]>);

#[inline(always)]
fn split(row: Option<&[f32]>, len: usize) -> Split<'_> {
    match row {
        None => (None, None),
        Some(row) => {
            assert_eq!(row.len(), len, "rows of different lengths");
            let (whole, rest) = row.as_chunks();
            (Some(whole), Some(rest))
        }
    }
}
