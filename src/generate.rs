//! Text from a session: feed, sample, decode, again.

use crate::{CancelToken, FeedOptions, Result, Sampler, Session, StreamDecoder, Token};

/// Pieces of generated text, one after the other: see [`Session::generate`].
#[derive(Debug)]
pub struct Generation<'a> {
    session: &'a mut Session,
    sampler: &'a mut Sampler,
    decoder: StreamDecoder,
    /// What is fed before the next token is sampled: the prompt, then the last token.
    next: Vec<Token>,
    generated: Vec<Token>,
    most: usize,
    cancel: Option<CancelToken>,
    end: Option<End>,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The model chose a token that ends a text or a turn; it is the last of
    /// [`Generation::tokens`].
    Token,
    /// As many tokens as were wanted are generated.
    MaxTokens,
    /// An error, which was the last item.
    Error,
}

impl Session {
    /// Feeds a prompt and generates text after it, token by token, until the model ends it. Each
    /// item is a piece of text that never splits a character; an error is the last item. With an
    /// empty prompt, text follows what the session has seen.
    ///
    /// A token is fed when the one after it is asked for, so the last one, with which generation
    /// ended or at which the caller stopped asking, is not in the session.
    ///
    /// ```no_run
    /// let model = yareta::Model::open("model.gguf")?;
    /// let mut session = model.session()?;
    /// let prompt = model.tokenizer().encode("Once upon a time")?;
    /// let mut sampler = yareta::Sampler::new(42).temperature(0.8);
    /// for piece in session.generate(&prompt, &mut sampler).max_tokens(100) {
    ///     print!("{}", piece?);
    /// }
    /// # Ok::<(), yareta::Error>(())
    /// ```
    ///
    /// The items' errors are those of [`Session::feed_with`], among them
    /// [`Error::ContextFull`](crate::Error::ContextFull) at the end of the context, and of
    /// [`Sampler::sample`].
    pub fn generate<'a>(
        &'a mut self,
        prompt: &[Token],
        sampler: &'a mut Sampler,
    ) -> Generation<'a> {
        Generation {
            decoder: self.model().tokenizer().decoder(),
            next: prompt.to_vec(),
            generated: Vec::new(),
            most: usize::MAX,
            cancel: None,
            end: None,
            session: self,
            sampler,
        }
    }
}

impl Generation<'_> {
    /// Ends after `count` tokens, if the model has not ended before.
    pub fn max_tokens(mut self, count: usize) -> Self {
        self.most = count;
        self
    }

    /// Ends with [`Error::Cancelled`](crate::Error::Cancelled) soon after `cancel` is set, within
    /// the prompt as well.
    pub fn cancel(mut self, cancel: &CancelToken) -> Self {
        self.cancel = Some(cancel.clone());
        self
    }

    /// The tokens that were generated so far.
    pub fn tokens(&self) -> &[Token] {
        &self.generated
    }

    /// Why generation ended; `None` while it has not.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Generates the next token. `None` when generation has ended; then [`Generation::end`] says
    /// why.
    ///
    /// # Errors
    /// As [`Session::generate`] says. Generation has ended then.
    pub fn next_token(&mut self) -> Result<Option<Token>> {
        if self.end.is_some() {
            return Ok(None);
        }
        if self.generated.len() >= self.most {
            self.end = Some(End::MaxTokens);
            return Ok(None);
        }
        if self.generated.is_empty() {
            self.reserve();
        }
        let sampled = self.sample();
        if sampled.is_err() {
            self.end = Some(End::Error);
        }
        let token = sampled?;
        self.generated.push(token);
        if self.session.model().tokenizer().is_end_of_generation(token) {
            self.end = Some(End::Token);
        }
        Ok(Some(token))
    }

    fn sample(&mut self) -> Result<Token> {
        // With nothing to feed, logits that are there are enough; if not, feeding says so.
        if !self.next.is_empty() || self.session.logits().is_none() {
            let mut options = FeedOptions::new();
            if let Some(cancel) = &self.cancel {
                options = options.cancel(cancel);
            }
            self.session.feed_with(&self.next, options)?;
            if self.generated.is_empty() {
                // Later tokens are accepted when they are sampled.
                self.next
                    .iter()
                    .for_each(|token| self.sampler.accept(*token));
            }
        }
        let token = self.sampler.sample(self.session.logits().unwrap_or(&[]))?;
        self.sampler.accept(token);
        self.next.clear();
        self.next.push(token);
        Ok(token)
    }

    /// The next piece of text that is not empty, as the iterator gives it, but lent: after the
    /// first token, nothing is allocated.
    ///
    /// # Errors
    /// As [`Session::generate`] says. Generation has ended then.
    pub fn next_piece(&mut self) -> Result<Option<&str>> {
        loop {
            let Some(token) = self.next_token()? else {
                let rest = self.decoder.finish();
                return Ok((!rest.is_empty()).then_some(rest));
            };
            if self.end != Some(End::Token) && !self.decoder.push(token)?.is_empty() {
                return Ok(Some(self.decoder.ready()));
            }
        }
    }

    /// Takes the room that the tokens to come need, so that none of them has to. Where there is
    /// none, a token takes it when it comes.
    fn reserve(&mut self) {
        let left = self.session.context() - self.session.position();
        // One more than fits, as the last is not fed.
        let most = self.most.min(left + 1);
        let _ = self.generated.try_reserve_exact(most);
        let _ = self.next.try_reserve(1);
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Result<String>> {
        let piece = self.next_piece().transpose()?;
        Some(piece.map(str::to_owned))
    }
}
