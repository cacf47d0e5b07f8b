//! A session: one sequence of tokens on a model, with its cache and buffers.
//!
//! [`Session::feed`] is the primitive: tokens in, logits out. Generation, chat and scoring are
//! written on it.

mod saved;

use std::fmt;

use crate::cache::Cache;
use crate::config::Config;
use crate::forward::{LOGIT_COLUMNS, Pass, Scratch};
use crate::{CancelToken, Error, Model, Result, Threads, Token};
use yareta_kernels::KvType;

/// The context of a session unless stated, where the model was trained on more.
const DEFAULT_CONTEXT: usize = 4096;

/// Tokens of a prompt that are processed at once unless stated.
const DEFAULT_BATCH: usize = 512;

/// How to make a session.
#[derive(Clone, Debug, Default)]
pub struct SessionOptions {
    context: Option<usize>,
    batch: Option<usize>,
    kv: KvType,
    threads: Option<Threads>,
}

impl SessionOptions {
    /// The defaults: a context of 4096 tokens or what the model was trained on, if that is less;
    /// batches of 512 tokens; a cache of 16-bit whole numbers.
    pub fn new() -> SessionOptions {
        SessionOptions::default()
    }

    /// Tokens that fit the session. More than the model was trained on is allowed; few models
    /// make sense of them.
    pub fn context(mut self, tokens: usize) -> SessionOptions {
        self.context = Some(tokens);
        self
    }

    /// Tokens of a prompt that are processed at once: more are faster and need more memory. It
    /// does not change results.
    pub fn batch(mut self, tokens: usize) -> SessionOptions {
        self.batch = Some(tokens);
        self
    }

    /// How keys and values are stored. Default: as 16-bit whole numbers, [`KvType::Q16`], which are
    /// as exact as 16-bit floats and faster. [`KvType::Q8_0`] takes half the memory and changes
    /// logits a little.
    pub fn kv(mut self, kind: KvType) -> SessionOptions {
        self.kv = kind;
        self
    }

    /// The threads to compute with, so that sessions need not share those of their model. It does
    /// not change results. Default: [`Model::threads`].
    pub fn threads(mut self, threads: Threads) -> SessionOptions {
        self.threads = Some(threads);
        self
    }

    /// The threads of a session on `model`.
    pub(crate) fn threads_on<'a>(&'a self, model: &'a Model) -> &'a Threads {
        self.threads.as_ref().unwrap_or(model.threads())
    }

    pub(crate) fn kv_type(&self) -> KvType {
        self.kv
    }

    /// Context and batch for a model.
    pub(crate) fn resolve(&self, config: &Config) -> Result<(usize, usize)> {
        /// Positions are counted in 32 bits by those that store them.
        const MOST: usize = u32::MAX as usize;
        let check = |option: &'static str, value: usize| match value {
            1..=MOST => Ok(value),
            _ => Err(Error::InvalidOption {
                option,
                reason: format!("must be 1 to {MOST}, found {value}"),
            }),
        };
        let block = self.kv.block();
        for (what, length) in [("keys", config.key_dim), ("values", config.value_dim)] {
            if !length.is_multiple_of(block) {
                return Err(Error::InvalidOption {
                    option: "kv",
                    reason: format!(
                        "needs {what} of a multiple of {block} elements, found {length}"
                    ),
                });
            }
        }
        let default = config.context.min(DEFAULT_CONTEXT);
        let context = check("context", self.context.unwrap_or(default))?;
        let batch = check("batch", self.batch.unwrap_or(DEFAULT_BATCH))?;
        Ok((context, batch.min(context)))
    }
}

/// What to do while tokens are fed.
#[derive(Default)]
pub struct FeedOptions<'a> {
    progress: Option<&'a mut dyn FnMut(usize, usize)>,
    cancel: Option<&'a CancelToken>,
}

impl fmt::Debug for FeedOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedOptions")
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

impl<'a> FeedOptions<'a> {
    /// Nothing.
    pub fn new() -> FeedOptions<'a> {
        FeedOptions::default()
    }

    /// Is called after each batch with the tokens processed and those to be processed.
    pub fn progress(mut self, progress: &'a mut dyn FnMut(usize, usize)) -> FeedOptions<'a> {
        self.progress = Some(progress);
        self
    }

    /// Ends the processing, within a layer's time, when set. The session has then seen what it had
    /// seen before, none of the tokens that were being fed, and has no logits.
    pub fn cancel(mut self, cancel: &'a CancelToken) -> FeedOptions<'a> {
        self.cancel = Some(cancel);
        self
    }
}

/// Is shown a position and its logits.
type Each<'a> = &'a mut dyn FnMut(usize, &[f32]);

/// A sequence of tokens on a model, with their keys and values. Owned and `Send`: it can be moved
/// to any thread, and keeps its model alive.
pub struct Session {
    model: Model,
    cache: Cache,
    scratch: Scratch,
    options: SessionOptions, // with context and batch stated
    context: usize,
    tokens: Vec<Token>,
    /// Whether the scratch holds the logits of the last token.
    has_logits: bool,
}

/// Where it stands, not the millions of numbers that it holds.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("model", &self.model)
            .field("options", &self.options)
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new(model: &Model, options: &SessionOptions) -> Result<Session> {
        let config = model.config();
        let (context, batch) = options.resolve(config)?;
        // Counts everything before anything is taken.
        model.plan(options)?;
        let shape = Cache::shape(config, options.kv, context);
        let threads = options.threads_on(model).count();
        let cache = Cache::new(config, shape)?;
        let scratch = Scratch::new(model.parts().cpu, config, threads, (batch, &shape))?;
        if model.huge_pages() {
            cache.ask_for_huge_pages();
            scratch.ask_for_huge_pages();
        }
        let mut tokens = Vec::new();
        tokens
            .try_reserve_exact(context)
            .map_err(|_| Error::Memory {
                what: "the tokens of a session",
                bytes: context as u64 * size_of::<Token>() as u64,
            })?;
        Ok(Session {
            model: model.clone(),
            cache,
            scratch,
            options: options.clone().context(context).batch(batch),
            context,
            tokens,
            has_logits: false,
        })
    }

    /// The model that it runs on.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Tokens that fit it.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Number of tokens that it has seen: the position of the next.
    pub fn position(&self) -> usize {
        self.tokens.len()
    }

    /// The tokens that it has seen.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The logits that follow the last token, (vocabulary); `None` if no token was fed since the
    /// session was made, truncated or restored.
    pub fn logits(&self) -> Option<&[f32]> {
        self.has_logits
            .then(|| self.scratch.first_logits(self.model.vocabulary()))
    }

    /// Processes tokens after those it has seen and gives the logits of the last: for each token
    /// of the vocabulary, how well it would follow. Logits do not depend on whether tokens are fed
    /// at once or in pieces.
    ///
    /// # Errors
    /// [`Error::ContextFull`] if they do not fit, [`Error::Token`] if one is not in the
    /// vocabulary, [`Error::InvalidOption`] if there is none. The session is then unchanged.
    pub fn feed(&mut self, tokens: &[Token]) -> Result<&[f32]> {
        self.feed_with(tokens, FeedOptions::new())
    }

    /// As [`Session::feed`], watched.
    ///
    /// # Errors
    /// As [`Session::feed`], and [`Error::Cancelled`].
    pub fn feed_with(&mut self, tokens: &[Token], options: FeedOptions<'_>) -> Result<&[f32]> {
        self.process(tokens, options, None)?;
        Ok(self.scratch.first_logits(self.model.vocabulary()))
    }

    /// As [`Session::feed`], giving the logits of every token fed: (tokens, vocabulary).
    ///
    /// # Errors
    /// As [`Session::feed`], and [`Error::Memory`] if there is no room for that many logits.
    pub fn feed_all(&mut self, tokens: &[Token]) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        let length = tokens.len().checked_mul(self.model.vocabulary());
        let reserved = length.is_some_and(|length| all.try_reserve_exact(length).is_ok());
        if !reserved {
            return Err(Error::Memory {
                what: "the logits of every token",
                bytes: length.map_or(u64::MAX, |length| length as u64 * size_of::<f32>() as u64),
            });
        }
        self.feed_each(tokens, |_, logits| all.extend_from_slice(logits))?;
        Ok(all)
    }

    /// As [`Session::feed`], showing `each` the position and the logits of every token fed, in
    /// order, without keeping them.
    ///
    /// # Errors
    /// As [`Session::feed`].
    pub fn feed_each(
        &mut self,
        tokens: &[Token],
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<()> {
        self.process(tokens, FeedOptions::new(), Some(&mut each))
    }

    /// Forgets all tokens from position `length` on. Does nothing if there are no more.
    pub fn truncate(&mut self, length: usize) {
        if length < self.tokens.len() {
            self.tokens.truncate(length);
            self.has_logits = false;
        }
    }

    /// A session with the same tokens that goes its own way from here, with memory of its own.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is not that much.
    pub fn fork(&self) -> Result<Session> {
        let mut fork = Session::new(&self.model, &self.options)?;
        let mut position = vec![0; self.cache.position_bytes()];
        for index in 0..self.tokens.len() {
            self.cache.save(index, &mut position);
            fork.cache.restore(index, &position);
        }
        fork.tokens.extend_from_slice(&self.tokens);
        if let Some(logits) = self.logits() {
            fork.scratch.set_first_logits(logits);
            fork.has_logits = true;
        }
        Ok(fork)
    }

    /// The tokens and their keys and values as bytes, for [`Session::restore`].
    ///
    /// # Errors
    /// [`Error::Memory`] if there is no room for them.
    pub fn save(&self) -> Result<Vec<u8>> {
        saved::write(self)
    }

    /// Makes the session what it was when [`Session::save`] wrote `bytes`, apart from its options:
    /// the context may be another, the type of the cache may not. The logits of the last token are
    /// not saved.
    ///
    /// # Errors
    /// [`Error::SavedState`] if the bytes are not those of a session of this model and type, or
    /// [`Error::ContextFull`] if its tokens do not fit. The session is then unchanged.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<()> {
        saved::read(self, bytes)
    }

    /// Checks and processes tokens; shows `each` the logits of all of them if it is there, and
    /// leaves the logits of the last in the scratch.
    fn process(
        &mut self,
        tokens: &[Token],
        mut options: FeedOptions<'_>,
        mut each: Option<Each>,
    ) -> Result<()> {
        self.check(tokens)?;
        let before = self.tokens.len();
        self.has_logits = false;
        for batch in tokens.chunks(self.scratch.batch()) {
            let done = self.tokens.len() - before + batch.len();
            let last = done == tokens.len();
            if let Err(error) = self.run(batch, last, options.cancel, &mut each) {
                self.tokens.truncate(before);
                return Err(error);
            }
            self.tokens.extend_from_slice(batch);
            if let Some(progress) = &mut options.progress {
                progress(done, tokens.len());
            }
        }
        self.has_logits = true;
        Ok(())
    }

    fn check(&self, tokens: &[Token]) -> Result<()> {
        if tokens.is_empty() {
            return Err(Error::InvalidOption {
                option: "tokens",
                reason: "there is none to feed".into(),
            });
        }
        let vocabulary = self.model.vocabulary();
        if let Some(&token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
            return Err(Error::Token { token, vocabulary });
        }
        let needed = self.tokens.len().saturating_add(tokens.len());
        if needed > self.context {
            return Err(Error::ContextFull {
                needed,
                limit: self.context,
            });
        }
        Ok(())
    }

    /// One pass over one batch.
    fn run(
        &mut self,
        batch: &[Token],
        last: bool,
        cancel: Option<&CancelToken>,
        each: &mut Option<Each>,
    ) -> Result<()> {
        let position = self.tokens.len();
        let cancelled = || cancel.is_some_and(CancelToken::is_cancelled);
        let vocabulary = self.model.vocabulary();
        let parts = self.model.parts();
        let (cache, scratch) = (self.cache.layers_mut(), &mut self.scratch);
        self.options.threads_on(&self.model).enter(|team| {
            let mut pass = Pass::new(parts, team, cache, scratch, position);
            let count = batch.len();
            let wanted = match (each.is_some(), last) {
                (true, _) => 0..count,
                (false, true) => count - 1..count,
                (false, false) => count..count,
            };
            pass.run(batch, wanted, &cancelled)?;
            if let Some(each) = each {
                for first in (0..batch.len()).step_by(LOGIT_COLUMNS) {
                    let count = LOGIT_COLUMNS.min(batch.len() - first);
                    let logits = pass.logits(first, count).chunks_exact(vocabulary);
                    for (token, logits) in logits.enumerate() {
                        each(position + first + token, logits);
                    }
                }
            }
            if last {
                pass.logits(batch.len() - 1, 1);
            }
            Ok(())
        })
    }
}
