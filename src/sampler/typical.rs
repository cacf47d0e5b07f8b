//! Locally typical sampling: Meister et al. 2022, arXiv 2202.00666, section 4.
//!
//! Keeps the tokens whose surprise -ln p is nearest to the distribution's entropy, until they hold
//! the wanted probability mass.

use super::candidates::{Candidate, Candidates};
use super::elementary::ln;

/// Keeps the most typical candidates that hold `mass` of the weight, most typical first.
pub(super) fn typical(mass: f32, candidates: &mut Candidates) {
    if mass >= 1.0 {
        return;
    }
    // p = weight / total and ln weight = logit - highest, so -ln p = highest + ln total - logit
    let offset = f64::from(candidates.highest()) + ln(candidates.total);
    let surprise = |candidate: &Candidate| offset - f64::from(candidate.logit);
    let weighted: f64 = candidates
        .list
        .iter()
        .map(|candidate| candidate.weight * surprise(candidate))
        .sum();
    let entropy = weighted / candidates.total;
    let distance = |candidate: &Candidate| (surprise(candidate) - entropy).abs();
    candidates.keep_share(mass, |a, b| {
        distance(a).total_cmp(&distance(b)).then(a.by_logit(b))
    });
}

#[cfg(test)]
mod tests {
    use super::super::truncation::top_k;
    use super::*;

    /// Probabilities 1/2, 1/4, 1/8, 1/8: entropy 1.75 bits; surprises 1, 2, 3, 3 bits; distances
    /// 0.75, 0.25, 1.25, 1.25. So token 1 is the most typical, then 0, then 2 and 3.
    #[test]
    fn keeps_the_most_typical_first() {
        let two = std::f32::consts::LN_2;
        for (mass, expected) in [
            (0.0, &[1][..]),
            (0.24, &[1]),
            (0.26, &[1, 0]),
            (0.74, &[1, 0]),
            (0.76, &[1, 0, 2]),
            (0.9, &[1, 0, 2, 3]),
            (1.0, &[0, 1, 2, 3]),
        ] {
            let mut candidates = Candidates::default();
            top_k(&[2.0 * two, two, 0.0, 0.0], 0, &mut candidates);
            candidates.weigh();
            typical(mass, &mut candidates);
            let kept: Vec<u32> = candidates.list.iter().map(|c| c.token).collect();
            assert_eq!(kept, expected, "{mass}");
        }
    }
}
