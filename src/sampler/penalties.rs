//! The stages that change single logits: biases, and the penalties on what the text already has.

use crate::error::{Error, Result};
use std::collections::VecDeque;

/// Tokens that the penalties look back at unless told otherwise.
const WINDOW: usize = 64;

/// Tokens that the history has room for from the start; a longer window grows as it fills.
const RESERVED: usize = 4096;

/// Biases, penalties, and the recent tokens.
#[derive(Clone, Debug)]
pub(super) struct Penalties {
    pub(super) repetition: f32,
    pub(super) frequency: f32,
    pub(super) presence: f32,
    window: usize,
    biases: Vec<(u32, f32)>, // sorted by token
    recent: VecDeque<u32>,   // oldest first, at most `window`
    sorted: Vec<u32>,        // scratch: `recent`, sorted
    logits: Vec<f32>,        // scratch: (vocabulary)
}

impl Default for Penalties {
    fn default() -> Penalties {
        Penalties {
            repetition: 1.0,
            frequency: 0.0,
            presence: 0.0,
            window: WINDOW,
            biases: Vec::new(),
            recent: VecDeque::new(),
            sorted: Vec::new(),
            logits: Vec::new(),
        }
    }
}

impl Penalties {
    pub(super) fn set_window(&mut self, window: usize) {
        self.window = window;
        self.recent
            .drain(..self.recent.len().saturating_sub(window));
    }

    pub(super) fn set_bias(&mut self, token: u32, bias: f32) {
        match self
            .biases
            .binary_search_by_key(&token, |(token, _)| *token)
        {
            Ok(index) => self.biases[index].1 = bias,
            Err(index) => self.biases.insert(index, (token, bias)),
        }
    }

    pub(super) fn accept(&mut self, token: u32) {
        if self.window == 0 {
            return;
        }
        if self.recent.capacity() == 0 {
            // at once for windows of a usual size, so that later tokens need no memory
            let room = self.window.min(RESERVED);
            self.recent.reserve(room);
            self.sorted.reserve(room);
        }
        if self.recent.len() == self.window {
            self.recent.pop_front();
        }
        self.recent.push_back(token);
    }

    pub(super) fn forget(&mut self) {
        self.recent.clear();
    }

    pub(super) fn check(&self) -> Result<()> {
        let invalid = |option, reason| Err(Error::InvalidOption { option, reason });
        if !(self.repetition.is_finite() && self.repetition > 0.0) {
            let reason = format!("must be finite and above 0, is {}", self.repetition);
            return invalid("repetition_penalty", reason);
        }
        for (option, value) in [
            ("frequency_penalty", self.frequency),
            ("presence_penalty", self.presence),
        ] {
            if !value.is_finite() {
                return invalid(option, format!("must be finite, is {value}"));
            }
        }
        for (token, bias) in &self.biases {
            if bias.is_nan() || *bias == f32::INFINITY {
                let reason = format!("of token {token} must be below infinity, is {bias}");
                return invalid("logit_bias", reason);
            }
        }
        Ok(())
    }

    /// The logits with biases and penalties, or `logits` itself where nothing changes them.
    pub(super) fn apply<'a>(&'a mut self, logits: &'a [f32]) -> Result<&'a [f32]> {
        if let Some((token, _)) = self.biases.last()
            && *token as usize >= logits.len()
        {
            return Err(Error::Token {
                token: *token,
                vocabulary: logits.len(),
            });
        }
        let neutral = self.repetition == 1.0 && self.frequency == 0.0 && self.presence == 0.0;
        if self.biases.is_empty() && (neutral || self.recent.is_empty()) {
            return Ok(logits);
        }
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        for (token, bias) in &self.biases {
            self.logits[*token as usize] += bias;
        }
        if !neutral {
            self.sorted.clear();
            self.sorted.extend(&self.recent);
            self.sorted.sort_unstable();
            for equals in self.sorted.chunk_by(|a, b| a == b) {
                if let Some(logit) = self.logits.get_mut(equals[0] as usize) {
                    let scaled = if *logit > 0.0 {
                        *logit / self.repetition
                    } else {
                        *logit * self.repetition
                    };
                    *logit = scaled - equals.len() as f32 * self.frequency - self.presence;
                }
            }
        }
        Ok(&self.logits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(tokens: &[u32], mut penalties: Penalties) -> Vec<f32> {
        for token in tokens {
            penalties.accept(*token);
        }
        penalties.apply(&[2.0, -2.0, 4.0, 0.0]).unwrap().to_vec()
    }

    #[test]
    fn repetition_divides_positive_and_multiplies_negative_logits_once() {
        let penalties = Penalties {
            repetition: 2.0,
            ..Penalties::default()
        };
        // token 9 is not in the vocabulary
        assert_eq!(after(&[0, 1, 0, 9], penalties), [1.0, -4.0, 4.0, 0.0]);
    }

    #[test]
    fn frequency_counts_and_presence_does_not() {
        let penalties = Penalties {
            frequency: 0.5,
            presence: 0.25,
            ..Penalties::default()
        };
        // twice 0.5 and once 0.25; once each
        assert_eq!(after(&[0, 3, 0], penalties), [0.75, -2.0, 4.0, -0.75]);
    }

    #[test]
    fn all_three_follow_each_other() {
        let penalties = Penalties {
            repetition: 2.0,
            frequency: 0.5,
            presence: 0.25,
            ..Penalties::default()
        };
        // 4 / 2 - 2 * 0.5 - 0.25
        assert_eq!(after(&[2, 2], penalties)[2], 0.75);
    }

    #[test]
    fn the_window_forgets_the_oldest() {
        let mut penalties = Penalties {
            presence: 1.0,
            ..Penalties::default()
        };
        penalties.set_window(2);
        assert_eq!(after(&[0, 1, 2], penalties.clone()), [2.0, -3.0, 3.0, 0.0]);
        penalties.set_window(0);
        assert_eq!(after(&[0, 1, 2], penalties), [2.0, -2.0, 4.0, 0.0]);
    }

    #[test]
    fn a_bias_adds_bans_and_is_replaced() {
        let mut penalties = Penalties::default();
        penalties.set_bias(2, 100.0);
        penalties.set_bias(0, f32::NEG_INFINITY);
        penalties.set_bias(2, -1.5);
        assert_eq!(after(&[], penalties), [f32::NEG_INFINITY, -2.0, 2.5, 0.0]);
    }

    #[test]
    fn a_bias_comes_before_the_penalties() {
        let mut penalties = Penalties {
            repetition: 2.0,
            ..Penalties::default()
        };
        penalties.set_bias(3, 3.0);
        // (0 + 3) / 2, where a penalty of 0 first would leave 3
        assert_eq!(after(&[3], penalties)[3], 1.5);
    }
}
