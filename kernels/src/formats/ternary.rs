//! The encoder that TQ1_0 and TQ2_0 share: weights of −1, 0 and 1 with one scale.

use super::search::Fit;
use super::search::levels::reciprocal;
use super::{Half, SUPER};

/// The best scale for 256 weights, and each weight's digit: 0, 1, 2 for −1, 0, 1.
///
/// At a scale, exactly the weights of more than half of it are best not zero. So the best choice
/// is to keep the `k` largest magnitudes for some `k`, and all of these are tried. Weights that
/// already are ternary are met exactly.
pub(super) fn encode(x: &[f32], w: &[f32]) -> (Half, [u8; SUPER]) {
    let mut order: [usize; SUPER] = std::array::from_fn(|i| i);
    order.sort_by(|&a, &b| x[b].abs().total_cmp(&x[a].abs()));
    let (mut fit, mut best) = (Fit::default(), Fit::default());
    for i in order {
        fit = fit.plus(Fit {
            xq: w[i] * x[i].abs(),
            qq: w[i],
        });
        if fit.gain() > best.gain() {
            best = fit;
        }
    }
    let scale = Half::scale(best.scale());
    let inverse = reciprocal(scale.to_f32());
    let digits = std::array::from_fn(|i| match x[i] * inverse {
        v if v > 0.5 => 2,
        v if v < -0.5 => 0,
        _ => 1,
    });
    (scale, digits)
}
