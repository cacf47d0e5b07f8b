//! Scales of groups as small integers, *steps*, with one scale in common.

use super::super::Half;
use super::levels::reciprocal;
use super::{Fit, extreme, round};

/// What the steps of a format stand for: a group's scale is the common scale times
/// `unit × (step + shift)`.
pub(crate) struct Steps {
    /// The least step.
    pub(crate) low: i16,
    /// The greatest step.
    pub(crate) high: i16,
    /// What one step more adds.
    pub(crate) unit: f32,
    /// Added to each step.
    pub(crate) shift: f32,
}

/// A common scale and a step for each group.
pub(crate) struct Chosen<const GROUPS: usize> {
    pub(crate) scale: Half,
    pub(crate) steps: [i16; GROUPS],
}

impl Steps {
    /// What `step` stands for.
    pub(crate) fn factor(&self, step: i16) -> f32 {
        self.unit * (f32::from(step) + self.shift)
    }

    /// The common scale and the steps with which groups approximate their weights best.
    /// `targets` are the scales that the groups would like, and `fit` gives the sums of a group
    /// at a scale.
    pub(crate) fn choose<const GROUPS: usize>(
        &self,
        targets: [f32; GROUPS],
        mut fit: impl FnMut(usize, f32) -> Fit,
    ) -> Chosen<GROUPS> {
        let outermost = if self.low < 0 { self.low } else { self.high };
        let mut scale = extreme(&targets) / self.factor(outermost);
        let mut best = Chosen {
            scale: Half::ZERO,
            steps: [self.low.max(0); GROUPS],
        };
        let mut best_error = f32::INFINITY;
        // Each round chooses the steps, then the scale that fits them.
        for _ in 0..3 {
            let half = Half::scale(scale);
            let inverse = reciprocal(half.to_f32() * self.unit);
            let (mut steps, mut error, mut total) = ([0; GROUPS], 0.0, Fit::default());
            for (g, &target) in targets.iter().enumerate() {
                let middle = round((target * inverse - self.shift).clamp(-1e3, 1e3)) as i16;
                let middle = middle.clamp(self.low, self.high);
                let near = (middle - 1).max(self.low)..=(middle + 1).min(self.high);
                let mut least = f32::INFINITY;
                let mut chosen = Fit::default();
                for step in near {
                    let factor = self.factor(step);
                    let found = fit(g, half.to_f32() * factor);
                    let error = found.error(half.to_f32() * factor);
                    if error < least {
                        least = error;
                        steps[g] = step;
                        chosen = Fit {
                            xq: factor * found.xq,
                            qq: factor * factor * found.qq,
                        };
                    }
                }
                error += least;
                total = total.plus(chosen);
            }
            if error < best_error {
                best_error = error;
                best = Chosen { scale: half, steps };
            }
            scale = total.scale();
        }
        best
    }
}
