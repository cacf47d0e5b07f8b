//! Choosing the next token from a model's logits.
//!
//! [`Sampler`] is a chain of stages in one fixed order, the order that users of the well-known
//! engines expect. A stage whose option is at its neutral value does nothing:
//!
//! 1. **logit bias**: adds to the logits of chosen tokens, as the OpenAI API defines `logit_bias`;
//! 2. **repetition penalty**: Keskar et al. 2019, arXiv 1909.05858, section 4.1;
//!    **frequency and presence penalty**: the formula in the OpenAI API reference;
//! 3. **top-k**: Fan et al. 2018, arXiv 1805.04833;
//! 4. **typical**: Meister et al. 2022, arXiv 2202.00666;
//! 5. **top-p** (nucleus): Holtzman et al. 2019, arXiv 1904.09751;
//! 6. **min-p**: Nguyen et al. 2024, arXiv 2407.01082;
//! 7. **temperature**: divides the logits that are left (Ackley, Hinton and Sejnowski 1985);
//! 8. **draw**: one number of a seeded generator picks a token by its probability.
//!
//! Truncation (3 to 6) sees the probabilities *before* the temperature, each stage renormalizing
//! what the one before it left. A temperature of 0 takes the most probable token after stage 2
//! and draws nothing.
//!
//! The same seed, options and logits give the same tokens on every platform: the generator is our
//! own, and `exp` and `ln` are computed here from basic IEEE operations instead of by the system's
//! mathematics library. Equal logits are ordered by token.
//!
//! Not here: what to do with a token (sessions), and when to stop (generation).

mod candidates;
mod elementary;
mod generator;
mod penalties;
mod truncation;
mod typical;

use std::fmt;

use crate::error::{Error, Result};
use candidates::Candidates;
use generator::Generator;
use penalties::Penalties;

/// Chooses tokens; see the module's head for the order of the stages.
///
/// Cloning copies everything, the state of the generator and the history included, so a clone goes
/// on exactly as the original would.
///
/// ```
/// let mut sampler = yareta::Sampler::new(42).temperature(0.8).top_k(40).top_p(0.95);
/// let token = sampler.sample(&[0.0, 3.0, 1.0])?;
/// sampler.accept(token);
/// # Ok::<(), yareta::Error>(())
/// ```
#[derive(Clone)]
pub struct Sampler {
    seed: u64,
    generator: Generator,
    penalties: Penalties,
    top_k: usize,
    typical: f32,
    top_p: f32,
    min_p: f32,
    temperature: f32,
    candidates: Candidates,
}

/// The options, not what was accepted and the candidates of the last draw.
impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler")
            .field("seed", &self.seed)
            .field("top_k", &self.top_k)
            .field("typical", &self.typical)
            .field("top_p", &self.top_p)
            .field("min_p", &self.min_p)
            .field("temperature", &self.temperature)
            .finish_non_exhaustive()
    }
}

impl Sampler {
    /// A sampler that draws from the model's own distribution: temperature 1, nothing truncated or
    /// penalized. Equal seeds draw equal tokens.
    pub fn new(seed: u64) -> Sampler {
        Sampler {
            seed,
            generator: Generator::new(seed),
            penalties: Penalties::default(),
            top_k: 0,
            typical: 1.0,
            top_p: 1.0,
            min_p: 0.0,
            temperature: 1.0,
            candidates: Candidates::default(),
        }
    }

    /// A sampler that always takes the most probable token (the lowest of equals). Biases and
    /// penalties may be added and act before the choice.
    pub fn greedy() -> Sampler {
        Sampler::new(0).temperature(0.0)
    }

    /// Divides the logits by `temperature`, finite and at least 0: below 1 sharpens, above 1
    /// flattens, 0 takes the most probable token. 1 is neutral.
    pub fn temperature(mut self, temperature: f32) -> Sampler {
        self.temperature = temperature;
        self
    }

    /// Keeps the `k` most probable tokens. 0 is neutral: all are kept.
    pub fn top_k(mut self, k: usize) -> Sampler {
        self.top_k = k;
        self
    }

    /// Keeps the smallest set of most probable tokens whose probabilities sum to at least `p`, in
    /// 0..=1, and never less than one token. 1 is neutral.
    pub fn top_p(mut self, p: f32) -> Sampler {
        self.top_p = p;
        self
    }

    /// Keeps the tokens at least `p` times as probable as the most probable one, `p` in 0..=1. 0 is
    /// neutral.
    pub fn min_p(mut self, p: f32) -> Sampler {
        self.min_p = p;
        self
    }

    /// Keeps the tokens whose surprise is nearest to the expected surprise, until their
    /// probabilities sum to at least `mass`, in 0..=1. 1 is neutral.
    pub fn typical(mut self, mass: f32) -> Sampler {
        self.typical = mass;
        self
    }

    /// Divides the positive logits of tokens among the last `last_n` accepted ones by `penalty`
    /// and multiplies their negative ones by it; finite and above 0. 1 is neutral.
    ///
    /// `last_n` is the window of [`frequency_penalty`](Sampler::frequency_penalty) and
    /// [`presence_penalty`](Sampler::presence_penalty) too; it is 64 where this is never called.
    pub fn repetition_penalty(mut self, penalty: f32, last_n: usize) -> Sampler {
        self.penalties.repetition = penalty;
        self.penalties.set_window(last_n);
        self
    }

    /// Subtracts `penalty` from a token's logit once for each time it is in the window; finite.
    /// 0 is neutral.
    pub fn frequency_penalty(mut self, penalty: f32) -> Sampler {
        self.penalties.frequency = penalty;
        self
    }

    /// Subtracts `penalty` from the logits of the tokens that are in the window; finite. 0 is
    /// neutral.
    pub fn presence_penalty(mut self, penalty: f32) -> Sampler {
        self.penalties.presence = penalty;
        self
    }

    /// Adds `bias` to the logit of `token`; negative infinity bans the token. A second bias for the
    /// same token replaces the first.
    pub fn logit_bias(mut self, token: u32, bias: f32) -> Sampler {
        self.penalties.set_bias(token, bias);
        self
    }

    /// Whether every option has a value that can be; [`sample`](Sampler::sample) checks it too.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] naming the first option whose value cannot be.
    pub fn check(&self) -> Result<()> {
        let share = |option, value: f32| match (0.0..=1.0).contains(&value) {
            true => Ok(()),
            false => Err(Error::InvalidOption {
                option,
                reason: format!("must be between 0 and 1, is {value}"),
            }),
        };
        self.penalties.check()?;
        share("typical", self.typical)?;
        share("top_p", self.top_p)?;
        share("min_p", self.min_p)?;
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Error::InvalidOption {
                option: "temperature",
                reason: format!("must be finite and at least 0, is {}", self.temperature),
            });
        }
        Ok(())
    }

    /// Chooses a token by `logits`, one per token of the vocabulary. NaN counts as negative
    /// infinity, which is never chosen; positive infinity as the largest finite number.
    ///
    /// The token is not recorded: call [`accept`](Sampler::accept) with the one that is used.
    /// After the first accepted token nothing is allocated, for windows of up to 4096 tokens.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for an option whose value cannot be, [`Error::Token`] for a biased
    /// token outside the vocabulary, [`Error::Logits`] if no token has a logit above negative
    /// infinity.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32> {
        self.check()?;
        let logits = self.penalties.apply(logits)?;
        if self.temperature == 0.0 {
            return truncation::most_probable(logits).ok_or_else(|| no_token(logits));
        }
        let candidates = &mut self.candidates;
        truncation::top_k(logits, self.top_k, candidates);
        if candidates.is_empty() {
            return Err(no_token(logits));
        }
        candidates.weigh();
        typical::typical(self.typical, candidates);
        truncation::top_p(self.top_p, candidates);
        truncation::min_p(self.min_p, candidates);
        candidates.heat(self.temperature);
        Ok(candidates.draw(self.generator.uniform()))
    }

    /// Records a token that is now part of the text, for the penalties. Tokens that a vocabulary
    /// does not have are recorded and have no effect.
    pub fn accept(&mut self, token: u32) {
        self.penalties.accept(token);
    }

    /// Forgets the accepted tokens and starts the generator again from the seed.
    pub fn reset(&mut self) {
        self.generator = Generator::new(self.seed);
        self.penalties.forget();
    }

    /// The state of the generator, to be kept with saved work and given to
    /// [`restore_state`](Sampler::restore_state).
    pub fn state(&self) -> u64 {
        self.generator.state()
    }

    /// Puts the generator into a state that [`state`](Sampler::state) returned: the draws go on
    /// from there. The history of the penalties is refilled with [`accept`](Sampler::accept).
    pub fn restore_state(&mut self, state: u64) {
        self.generator.restore(state);
    }
}

/// The error where nothing can be chosen.
fn no_token(logits: &[f32]) -> Error {
    Error::Logits {
        reason: match logits.len() {
            0 => "there are none".to_owned(),
            n => format!("all {n} are NaN or negative infinity"),
        },
    }
}
