//! A prompt into a session and tokens out of it, with the time each took.

use std::io::{Write, stderr};
use std::time::{Duration, Instant};

use serde_json::json;
use yareta::{CancelToken, FeedOptions, Sampler, Session, Token, Tokenizer};

use crate::failure::{Failure, Outcome};
use crate::screen::PromptBar;
use crate::text::number;

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The model ended it.
    End,
    /// As many tokens as were asked for.
    Length,
    /// The context is full.
    Context,
    /// Ctrl-C.
    Interrupted,
}

impl Stop {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Stop::End => "end",
            Stop::Length => "length",
            Stop::Context => "context",
            Stop::Interrupted => "interrupted",
        }
    }
}

/// How much was done and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// What they took.
    pub prompt_time: Duration,
    /// Tokens that the model wrote.
    pub generated: usize,
    /// What they took, choosing and showing them included.
    pub generation_time: Duration,
    /// Why there are no more.
    pub stop: Stop,
}

impl Figures {
    /// Tokens of the prompt per second.
    pub fn prompt_rate(&self) -> f64 {
        per_second(self.prompt, self.prompt_time)
    }

    /// Tokens written per second.
    pub fn generation_rate(&self) -> f64 {
        per_second(self.generated, self.generation_time)
    }

    /// For people, on one line.
    pub fn sentence(&self) -> String {
        format!(
            "prompt {} tokens, {} tokens/s · generation {} tokens, {} tokens/s",
            self.prompt,
            number(self.prompt_rate()),
            self.generated,
            number(self.generation_rate()),
        )
    }

    /// For scripts.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "stop": self.stop.name(),
            "prompt_tokens": self.prompt,
            "prompt_seconds": self.prompt_time.as_secs_f64(),
            "prompt_tokens_per_second": self.prompt_rate(),
            "generated_tokens": self.generated,
            "generation_seconds": self.generation_time.as_secs_f64(),
            "generation_tokens_per_second": self.generation_rate(),
        })
    }
}

fn per_second(tokens: usize, time: Duration) -> f64 {
    match time.as_secs_f64() {
        0.0 => 0.0,
        seconds => tokens as f64 / seconds,
    }
}

/// What to generate with.
pub struct Generator<'a> {
    /// Holds what the text goes on from.
    pub session: &'a mut Session,
    /// Of the session's model.
    pub tokenizer: &'a Tokenizer,
    /// Chooses tokens.
    pub sampler: &'a mut Sampler,
    /// Ends it early.
    pub cancel: &'a CancelToken,
    /// The most tokens to write.
    pub limit: usize,
}

impl Generator<'_> {
    /// Feeds `prompt` and writes what follows it, piece by piece, to `each`. The token that ends
    /// the text has no text and is not fed.
    pub fn run(
        mut self,
        prompt: &[Token],
        mut each: impl FnMut(&str) -> Outcome,
    ) -> Outcome<Figures> {
        let mut figures = Figures {
            prompt: prompt.len(),
            prompt_time: Duration::ZERO,
            generated: 0,
            generation_time: Duration::ZERO,
            stop: Stop::Length,
        };
        let start = Instant::now();
        match self.feed_prompt(prompt) {
            Err(Failure::Interrupted) => {
                figures.stop = Stop::Interrupted;
                return Ok(figures);
            }
            other => other?,
        }
        figures.prompt_time = start.elapsed();
        prompt.iter().for_each(|&token| self.sampler.accept(token));

        let start = Instant::now();
        let mut decoder = self.tokenizer.decoder();
        while figures.generated < self.limit {
            if self.cancel.is_cancelled() {
                figures.stop = Stop::Interrupted;
                break;
            }
            let Some(logits) = self.session.logits() else {
                return Err(Failure::Error("the session has no logits".into()));
            };
            let token = self.sampler.sample(logits)?;
            if self.tokenizer.is_end_of_generation(token) {
                figures.stop = Stop::End;
                break;
            }
            self.sampler.accept(token);
            figures.generated += 1;
            each(decoder.push(token)?)?;
            if figures.generated == self.limit {
                break;
            }
            if self.session.position() == self.session.context() {
                figures.stop = Stop::Context;
                break;
            }
            let options = FeedOptions::new().cancel(self.cancel);
            match self.session.feed_with(&[token], options) {
                Err(yareta::Error::Cancelled) => {
                    figures.stop = Stop::Interrupted;
                    break;
                }
                other => other?,
            };
        }
        each(decoder.finish())?;
        figures.generation_time = start.elapsed();
        Ok(figures)
    }

    fn feed_prompt(&mut self, prompt: &[Token]) -> Outcome {
        let bar = PromptBar::new();
        let mut progress = |done: usize, total: usize| bar.show(done, total);
        let options = FeedOptions::new()
            .cancel(self.cancel)
            .progress(&mut progress);
        let fed = self.session.feed_with(prompt, options).map(|_| ());
        bar.clear();
        Ok(fed?)
    }
}

/// Says something to the user that is not part of the text.
pub fn note(text: &str) {
    // Nothing can be done where standard error cannot be written.
    let _ = writeln!(stderr(), "{text}");
}
