//! How well a model predicts a text.

use std::fmt;

use crate::{CancelToken, Error, Model, Result, SessionOptions, Token};

/// The likelihood of a text: see [`perplexity`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Perplexity {
    /// Sum of `-ln p` over the tokens that were scored.
    pub nats: f64,
    /// Sum of the squares of `-ln p`, for the uncertainty.
    pub squares: f64,
    /// Tokens that were scored.
    pub tokens: usize,
}

impl Perplexity {
    /// `-ln p` of a token, on average.
    pub fn loss(&self) -> f64 {
        self.nats / self.tokens.max(1) as f64
    }

    /// The number of equally likely tokens that would be as hard to predict: `exp(loss)`.
    pub fn value(&self) -> f64 {
        self.loss().exp()
    }

    /// Standard error of [`Perplexity::loss`], as if the tokens were independent.
    pub fn loss_error(&self) -> f64 {
        let count = self.tokens.max(2) as f64;
        let variance = self.squares / count - self.loss() * self.loss();
        (variance.max(0.0) / (count - 1.0)).sqrt()
    }

    fn add(&mut self, nats: f64) {
        self.nats += nats;
        self.squares += nats * nats;
        self.tokens += 1;
    }
}

/// Is told the result so far and the windows that remain.
type Progress<'a> = &'a mut dyn FnMut(&Perplexity, usize);

/// What [`perplexity`] is told between windows.
#[derive(Default)]
pub struct PerplexityOptions<'a> {
    progress: Option<Progress<'a>>,
    cancel: Option<&'a CancelToken>,
}

impl fmt::Debug for PerplexityOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerplexityOptions")
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

impl<'a> PerplexityOptions<'a> {
    /// Nothing.
    pub fn new() -> PerplexityOptions<'a> {
        PerplexityOptions::default()
    }

    /// Is called after each window with the result so far and the windows that remain.
    pub fn progress(mut self, progress: Progress<'a>) -> PerplexityOptions<'a> {
        self.progress = Some(progress);
        self
    }

    /// Ends with [`Error::Cancelled`] when set.
    pub fn cancel(mut self, cancel: &'a CancelToken) -> PerplexityOptions<'a> {
        self.cancel = Some(cancel);
        self
    }
}

/// The perplexity of a text, given as tokens, the way it is commonly quoted for language models:
/// the text is cut into windows as long as the session's context, what is left over is not used,
/// and in each window the second half is scored, so that every scored token has at least half a
/// window before it. Where the vocabulary begins texts with a token, the first token of each
/// window is replaced with it.
///
/// # Errors
/// [`Error::InvalidOption`] if the text is shorter than a window or a window shorter than 4
/// tokens, and the errors of [`Session::feed`](crate::Session::feed) and
/// [`Model::session_with`].
pub fn perplexity(
    model: &Model,
    text: &[Token],
    session: &SessionOptions,
    mut options: PerplexityOptions<'_>,
) -> Result<Perplexity> {
    let mut session = model.session_with(session)?;
    let context = session.context();
    let reason = match text.len() {
        _ if context < 4 => Some(format!(
            "a window of {context} tokens is too short: 4 at least"
        )),
        tokens if tokens < context => Some(format!(
            "the text of {tokens} tokens does not fill a window of {context}"
        )),
        _ => None,
    };
    if let Some(reason) = reason {
        return Err(Error::InvalidOption {
            option: "context",
            reason,
        });
    }
    let tokenizer = model.tokenizer();
    let first = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    let mut sum = Perplexity::default();
    let windows = text.chunks_exact(context);
    let count = windows.len();
    for (index, window) in windows.enumerate() {
        if options.cancel.is_some_and(CancelToken::is_cancelled) {
            return Err(Error::Cancelled);
        }
        let mut window = window.to_vec();
        if let Some(first) = first {
            window[0] = first;
        }
        session.truncate(0);
        let unscored = context / 2;
        session.feed(&window[..unscored])?;
        // The logits after a token score the one after it; those after the last score none.
        session.feed_each(&window[unscored..context - 1], |position, logits| {
            sum.add(nats(logits, window[position + 1]));
        })?;
        if let Some(progress) = &mut options.progress {
            progress(&sum, count - index - 1);
        }
    }
    Ok(sum)
}

/// `-ln p` of a token by its logits.
pub fn nats(logits: &[f32], token: Token) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers = logits.iter().map(|logit| f64::from(logit - most).exp());
    let sum: f64 = powers.sum();
    match logits.get(token as usize) {
        Some(logit) => sum.ln() - f64::from(logit - most),
        None => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nats_of_small_distributions() {
        // Of two tokens with logits ln 3 and 0 the first has probability 3/4.
        let logits = [3f32.ln(), 0.0];
        assert!((nats(&logits, 0) - (4f64 / 3.0).ln()).abs() < 1e-7);
        assert!((nats(&logits, 1) - 4f64.ln()).abs() < 1e-7);
        assert_eq!(nats(&[1000.0, 1000.0], 0), 2f64.ln());
        assert_eq!(nats(&logits, 2), f64::INFINITY);
    }

    #[test]
    fn sums() {
        let mut sum = Perplexity::default();
        sum.add(1.0);
        sum.add(3.0);
        assert_eq!(sum.loss(), 2.0);
        assert_eq!(sum.value(), 2f64.exp());
        // Deviation 1 of the population, over the root of n - 1.
        assert_eq!(sum.loss_error(), 1.0);
    }
}
