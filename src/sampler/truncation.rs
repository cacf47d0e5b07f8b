//! The stages that keep the most probable tokens: top-k, top-p, min-p, and the greedy choice.

use super::candidates::{Candidate, Candidates};

/// The token with the highest logit, the lowest of equals; `None` if there is no logit above
/// negative infinity.
pub(super) fn most_probable(logits: &[f32]) -> Option<u32> {
    let mut best = None;
    let mut highest = f32::NEG_INFINITY;
    for (token, &logit) in (0u32..).zip(logits) {
        // false for NaN
        if logit > highest {
            highest = logit;
            best = Some(token);
        }
    }
    best
}

/// Fills `candidates` with the `k` highest logits (all, where `k` is 0), leaving out NaN and
/// negative infinity. The `k` are sorted; all are in token order.
///
/// One pass over the vocabulary with a buffer of about 2k: when it is full, the better half stays
/// and its worst logit becomes the bar for the rest, so nearly every token costs one comparison.
/// The time is linear in the vocabulary whatever the order of the logits.
pub(super) fn top_k(logits: &[f32], k: usize, candidates: &mut Candidates) {
    let list = &mut candidates.list;
    list.clear();
    if k == 0 || k >= logits.len() {
        list.extend(
            (0u32..)
                .zip(logits)
                .filter(|(_, logit)| **logit > f32::NEG_INFINITY)
                .map(|(token, &logit)| Candidate::new(token, logit)),
        );
        return;
    }
    let room = k.saturating_mul(2).max(256).min(logits.len());
    list.reserve(room);
    let mut bar = f32::NEG_INFINITY;
    for (token, &logit) in (0u32..).zip(logits) {
        // later tokens lose against equal earlier ones, so "above" is exact
        if logit > bar {
            list.push(Candidate::new(token, logit));
            if list.len() == room {
                bar = keep_best(list, k).unwrap_or(bar);
            }
        }
    }
    keep_best(list, k);
    list.sort_unstable_by(Candidate::by_logit);
}

/// Keeps the smallest set of most probable candidates that holds a share `p` of the weight.
pub(super) fn top_p(p: f32, candidates: &mut Candidates) {
    if p < 1.0 {
        candidates.keep_share(p, Candidate::by_logit);
    }
}

/// Keeps the candidates at least `p` times as probable as the most probable one.
pub(super) fn min_p(p: f32, candidates: &mut Candidates) {
    if p > 0.0 {
        candidates.keep_above(p);
    }
}

/// Keeps the best `k`, at least 1, in any order, and returns the worst kept logit; `None` if there
/// were no more than `k`.
fn keep_best(list: &mut Vec<Candidate>, k: usize) -> Option<f32> {
    if list.len() <= k {
        return None;
    }
    let (_, worst, _) = list.select_nth_unstable_by(k - 1, Candidate::by_logit);
    let bar = worst.logit;
    list.truncate(k);
    Some(bar)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(candidates: &Candidates) -> Vec<u32> {
        candidates.list.iter().map(|c| c.token).collect()
    }

    /// Probabilities 0.5, 0.25, 0.125, 0.125 at tokens 2, 0, 1, 3: multiples of ln 2.
    fn halves() -> Candidates {
        let two = std::f32::consts::LN_2;
        let mut candidates = Candidates::default();
        top_k(&[2.0 * two, two, 3.0 * two, two], 0, &mut candidates);
        candidates.weigh();
        candidates
    }

    #[test]
    fn top_k_keeps_the_highest_sorted_and_the_earlier_of_equals() {
        let mut candidates = Candidates::default();
        let logits = [1.0, 5.0, f32::NAN, 3.0, 3.0, f32::NEG_INFINITY, 3.0];
        top_k(&logits, 3, &mut candidates);
        assert_eq!(kept(&candidates), [1, 3, 4]);
        top_k(&logits, 6, &mut candidates);
        assert_eq!(kept(&candidates), [1, 3, 4, 6, 0]);
        top_k(&logits, 0, &mut candidates);
        assert_eq!(kept(&candidates), [0, 1, 3, 4, 6]);
    }

    #[test]
    fn top_k_agrees_with_a_full_sort() {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as f32 // many equals
        };
        let random: Vec<f32> = (0..20_000).map(|_| random()).collect();
        let rising: Vec<f32> = (0..20_000).map(|i| i as f32).collect();
        for logits in [random, rising] {
            let mut sorted: Vec<Candidate> = (0u32..)
                .zip(&logits)
                .map(|(token, &logit)| Candidate::new(token, logit))
                .collect();
            sorted.sort_by(Candidate::by_logit);
            for k in [1, 2, 40, 300, 19_999] {
                let mut candidates = Candidates::default();
                top_k(&logits, k, &mut candidates);
                assert_eq!(candidates.list, sorted[..k], "{k}");
            }
        }
    }

    #[test]
    fn top_p_keeps_the_smallest_set_that_reaches_the_share() {
        // cumulated: 0.5 (token 2), 0.75 (0), 0.875 (1), 1.0 (3)
        for (share, expected) in [
            (0.0, &[2][..]),
            (0.49, &[2]),
            (0.51, &[2, 0]),
            (0.74, &[2, 0]),
            (0.76, &[2, 0, 1]),
            (0.88, &[2, 0, 1, 3]),
        ] {
            let mut candidates = halves();
            top_p(share, &mut candidates);
            assert_eq!(kept(&candidates), expected, "{share}");
        }
        let mut neutral = halves();
        top_p(1.0, &mut neutral);
        assert_eq!(kept(&neutral), [0, 1, 2, 3]);
    }

    #[test]
    fn top_p_over_a_large_vocabulary_sorts_what_it_keeps() {
        // equal weights: a share of one half is one half of the tokens, the first ones
        let mut candidates = Candidates::default();
        top_k(&vec![0.0; 10_000], 0, &mut candidates);
        candidates.weigh();
        top_p(0.5, &mut candidates);
        assert_eq!(kept(&candidates), (0..5_000).collect::<Vec<u32>>());
        assert_eq!(candidates.total, 5_000.0);
    }

    #[test]
    fn min_p_compares_with_the_most_probable() {
        // relative to the greatest: 1, 0.5, 0.25, 0.25
        for (share, expected) in [
            (0.2, &[0, 1, 2, 3][..]),
            (0.3, &[0, 2]),
            (0.6, &[2]),
            (1.0, &[2]),
        ] {
            let mut candidates = halves();
            min_p(share, &mut candidates);
            assert_eq!(kept(&candidates), expected, "{share}");
        }
    }

    #[test]
    fn the_most_probable_is_the_first_of_equals() {
        assert_eq!(most_probable(&[f32::NAN, 1.0, 2.0, 2.0]), Some(2));
        assert_eq!(most_probable(&[f32::NAN, f32::NEG_INFINITY]), None);
        assert_eq!(most_probable(&[f32::INFINITY]), Some(0));
        assert_eq!(most_probable(&[]), None);
    }
}
