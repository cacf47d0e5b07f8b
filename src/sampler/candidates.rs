//! The tokens still in the running, with their weights.
//!
//! Every order in which weights are summed or drawn is total (logit, then token), so results do
//! not depend on how a sort treats equals, nor on the standard library's choice of algorithm.

use super::elementary::exp;
use std::cmp::Ordering;

/// A token that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) token: u32,
    /// Finite.
    pub(super) logit: f32,
    /// Proportional to the probability; the most probable token's is 1.
    pub(super) weight: f64,
}

impl Candidate {
    /// `logit` is above negative infinity and not NaN.
    pub(super) fn new(token: u32, logit: f32) -> Candidate {
        Candidate {
            token,
            logit: logit.min(f32::MAX),
            weight: 0.0,
        }
    }

    /// Most probable first; equals by token.
    pub(super) fn by_logit(&self, other: &Candidate) -> Ordering {
        other
            .logit
            .total_cmp(&self.logit)
            .then(self.token.cmp(&other.token))
    }
}

/// The candidates, in token order or sorted by a stage. Kept between tokens for its memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    pub(super) list: Vec<Candidate>,
    highest: f32,
    /// Sum of the weights.
    pub(super) total: f64,
}

impl Candidates {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The highest logit among the candidates, as of the last [`weigh`](Candidates::weigh).
    pub(super) fn highest(&self) -> f32 {
        self.highest
    }

    /// Computes the weights from the logits: e^(logit - highest).
    pub(super) fn weigh(&mut self) {
        self.heat(1.0);
    }

    /// Computes the weights from the logits divided by `temperature`, above 0.
    pub(super) fn heat(&mut self, temperature: f32) {
        self.highest = self
            .list
            .iter()
            .map(|candidate| candidate.logit)
            .fold(f32::MIN, f32::max);
        for candidate in &mut self.list {
            let distance = f64::from(candidate.logit) - f64::from(self.highest);
            candidate.weight = exp(distance / f64::from(temperature));
        }
        self.sum();
    }

    /// Keeps the shortest beginning, in the given order, that holds `share` of the total weight,
    /// and at least one candidate. Sorts no more than a few times what it keeps.
    pub(super) fn keep_share(
        &mut self,
        share: f32,
        order: impl Fn(&Candidate, &Candidate) -> Ordering,
    ) {
        let wanted = f64::from(share) * self.total;
        let mut held = 0.0;
        let mut sorted = 0;
        let mut block = 64;
        while sorted < self.list.len() {
            let rest = &mut self.list[sorted..];
            let block_len = block.min(rest.len());
            if block_len < rest.len() {
                rest.select_nth_unstable_by(block_len, &order);
            }
            rest[..block_len].sort_unstable_by(&order);
            for (index, candidate) in rest[..block_len].iter().enumerate() {
                held += candidate.weight;
                if held >= wanted {
                    self.list.truncate(sorted + index + 1);
                    self.sum();
                    return;
                }
            }
            sorted += block_len;
            block *= 4;
        }
    }

    /// Keeps the candidates whose weight is at least `share` of the greatest weight.
    pub(super) fn keep_above(&mut self, share: f32) {
        let greatest = self
            .list
            .iter()
            .map(|candidate| candidate.weight)
            .fold(0.0, f64::max);
        let least = f64::from(share) * greatest;
        self.list.retain(|candidate| candidate.weight >= least);
        self.sum();
    }

    /// The token at `position`, in 0..1, of the cumulated weights. There is at least one
    /// candidate.
    pub(super) fn draw(&self, position: f64) -> u32 {
        let wanted = position * self.total;
        let mut held = 0.0;
        let mut chosen = 0;
        for candidate in &self.list {
            // a candidate without weight is never the chosen one, wherever rounding puts `wanted`
            if candidate.weight > 0.0 {
                held += candidate.weight;
                chosen = candidate.token;
                if held > wanted {
                    break;
                }
            }
        }
        chosen
    }

    fn sum(&mut self) {
        self.total = self.list.iter().map(|candidate| candidate.weight).sum();
    }
}
