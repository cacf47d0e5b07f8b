//! The buffers of a forward pass: taken once when a session is made, used by every layer.

use yareta_kernels::{
    Activations, AttentionScratch, Cpu, Hidden, HiddenScratch, KvShape, ask_for_huge_pages,
};

use zerocopy::FromZeros;

use crate::config::Config;
use crate::{Error, Result};

/// Columns whose logits are computed at once: enough to share the unpacking of the output matrix,
/// few enough that a large vocabulary takes little memory.
pub(crate) const LOGIT_COLUMNS: usize = 32;

/// What the memory of a forward pass is for, in errors.
const PURPOSE: &str = "the scratch of a session";

/// Buffers for up to `batch` tokens at a time. Shapes are (tokens, length).
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(super) batch: usize,
    pub(super) residual: Vec<f32>, // (batch, width): what goes from layer to layer
    pub(super) normed: Vec<f32>,   // (batch, width)
    pub(super) change: Vec<f32>,   // (batch, width): what half a layer adds
    pub(super) queries: Vec<f32>,  // (batch, heads, key_dim)
    pub(super) keys: Vec<f32>,     // (batch, kv_heads, key_dim)
    pub(super) values: Vec<f32>,   // (batch, kv_heads, value_dim)
    pub(super) mixed: Vec<f32>,    // (batch, heads, value_dim): output of the attention
    pub(super) hidden_few: [Vec<f32>; 2], // (few, hidden): two products, where columns are few
    pub(super) hidden_many: HiddenScratch, // where they are many
    pub(super) angles: Vec<f32>,   // (batch, pairs, 2): cosines and sines
    pub(super) prepared: Activations, // what matrices read, but the last of a feed-forward network,
    pub(super) hidden: Activations, // which reads this
    pub(super) attention: AttentionScratch,
    pub(super) experts: Option<ExpertScratch>,
    pub(super) logits: Vec<f32>, // (LOGIT_COLUMNS at most, vocabulary)
}

/// Buffers of a layer with experts.
#[derive(Debug)]
pub(super) struct ExpertScratch {
    pub(super) scores: Vec<f32>,     // (batch, experts)
    pub(super) choices: Vec<Choice>, // (batch, used)
    pub(super) gathered: Vec<f32>,   // (batch, width): what one expert reads
    pub(super) output: Vec<f32>,     // (batch, width): what it gives
}

/// That a token uses an expert.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) expert: u32,
    pub(super) token: u32,
    pub(super) weight: f32,
}

/// How many numbers each buffer holds; the one place where that is written.
struct Sizes {
    width: usize,
    queries: usize,
    keys: usize,
    values: usize,
    mixed: usize,
    hidden_few: usize,
    hidden: usize, // length of its column
    angles: usize,
    prepared: usize, // longest column that is multiplied with a matrix
    logits: usize,
    experts: usize, // scores of the router
    choices: usize,
    gathered: usize,
}

impl Sizes {
    /// The sizes for `batch` tokens; `None` where one overflows.
    fn new(config: &Config, batch: usize) -> Option<Sizes> {
        let heads = |heads: usize, length: usize| heads.checked_mul(length)?.checked_mul(batch);
        let mixed = config.heads.checked_mul(config.value_dim)?;
        let experts = config.experts;
        let per_token = |length: Option<usize>| length.unwrap_or(0).checked_mul(batch);
        Some(Sizes {
            width: batch.checked_mul(config.width)?,
            queries: heads(config.heads, config.key_dim)?,
            keys: heads(config.kv_heads, config.key_dim)?,
            values: heads(config.kv_heads, config.value_dim)?,
            mixed: mixed.checked_mul(batch)?,
            hidden_few: batch.min(Hidden::MOST_FEW).checked_mul(config.hidden)?,
            hidden: config.hidden,
            angles: batch.checked_mul(config.rope.dimensions)?,
            prepared: config.width.max(mixed),
            logits: config.vocabulary.checked_mul(batch.min(LOGIT_COLUMNS))?,
            experts: per_token(experts.map(|experts| experts.count))?,
            choices: per_token(experts.map(|experts| experts.used))?,
            gathered: per_token(experts.map(|_| config.width))?,
        })
    }

    fn floats(&self) -> Option<usize> {
        let lengths = [
            self.width,
            self.width,
            self.width,
            self.queries,
            self.keys,
            self.values,
            self.mixed,
            self.hidden_few,
            self.hidden_few,
            self.angles,
            self.logits,
            self.experts,
            self.gathered,
            self.gathered,
        ];
        lengths.into_iter().try_fold(0_usize, usize::checked_add)
    }
}

impl Scratch {
    /// Bytes that [`Scratch::new`] takes; `None` if they cannot be counted.
    pub(crate) fn bytes(
        cpu: Cpu,
        config: &Config,
        threads: usize,
        (batch, cache): (usize, &KvShape),
    ) -> Option<u64> {
        let sizes = Sizes::new(config, batch)?;
        let floats = sizes.floats()?.checked_mul(size_of::<f32>())?;
        let choices = sizes.choices.checked_mul(size_of::<Choice>())?;
        let attention = AttentionScratch::bytes(threads, config.heads, cache)?;
        floats
            .checked_add(choices)?
            .checked_add(Activations::bytes(cpu, batch, sizes.prepared))?
            .checked_add(Activations::bytes(cpu, batch, sizes.hidden))?
            .checked_add(HiddenScratch::bytes(threads, batch)?)?
            .checked_add(attention)
            .map(|bytes| bytes as u64)
    }

    /// Buffers for `batch` tokens at a time, to be used with `threads` threads and caches of the
    /// shape `cache`.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is not that much.
    pub(crate) fn new(
        cpu: Cpu,
        config: &Config,
        threads: usize,
        shape: (usize, &KvShape),
    ) -> Result<Scratch> {
        let (batch, cache) = shape;
        let total = Scratch::bytes(cpu, config, threads, shape).unwrap_or(u64::MAX);
        let full = || Error::Memory {
            what: PURPOSE,
            bytes: total,
        };
        let sizes = Sizes::new(config, batch).ok_or_else(full)?;
        let zeros = |length: usize| zeros(length).ok_or_else(full);
        // What cannot fail by itself is tried first with memory that can.
        let activations = |length: usize| {
            Vec::<u8>::new()
                .try_reserve_exact(Activations::bytes(cpu, batch, length))
                .map_err(|_| full())?;
            Ok(Activations::with_capacity(cpu, batch, length))
        };
        let experts = match config.experts {
            None => None,
            Some(_) => {
                let mut choices = Vec::new();
                choices
                    .try_reserve_exact(sizes.choices)
                    .map_err(|_| full())?;
                Some(ExpertScratch {
                    scores: zeros(sizes.experts)?,
                    choices,
                    gathered: zeros(sizes.gathered)?,
                    output: zeros(sizes.gathered)?,
                })
            }
        };
        Ok(Scratch {
            batch,
            residual: zeros(sizes.width)?,
            normed: zeros(sizes.width)?,
            change: zeros(sizes.width)?,
            queries: zeros(sizes.queries)?,
            keys: zeros(sizes.keys)?,
            values: zeros(sizes.values)?,
            mixed: zeros(sizes.mixed)?,
            hidden_few: [zeros(sizes.hidden_few)?, zeros(sizes.hidden_few)?],
            hidden_many: HiddenScratch::new(threads, batch).ok_or_else(full)?,
            angles: zeros(sizes.angles)?,
            prepared: activations(sizes.prepared)?,
            hidden: activations(sizes.hidden)?,
            attention: AttentionScratch::new(threads, config.heads, cache).ok_or_else(full)?,
            experts,
            logits: zeros(sizes.logits)?,
        })
    }

    /// Asks the system to hold it in huge pages, before it is first used.
    pub(crate) fn ask_for_huge_pages(&self) {
        let experts = self.experts.as_ref();
        let buffers = [
            Some(&self.residual),
            Some(&self.normed),
            Some(&self.change),
            Some(&self.queries),
            Some(&self.keys),
            Some(&self.values),
            Some(&self.mixed),
            Some(&self.logits),
            experts.map(|experts| &experts.gathered),
            experts.map(|experts| &experts.output),
        ];
        for buffer in buffers.into_iter().flatten() {
            ask_for_huge_pages(buffer);
        }
        self.prepared.ask_for_huge_pages();
        self.hidden.ask_for_huge_pages();
    }

    /// Tokens that a pass can take at a time.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// The logits that were computed last, of the first column.
    pub(crate) fn first_logits(&self, vocabulary: usize) -> &[f32] {
        &self.logits[..vocabulary]
    }

    /// Makes `logits` those of the first column.
    pub(crate) fn set_first_logits(&mut self, logits: &[f32]) {
        self.logits[..logits.len()].copy_from_slice(logits);
    }
}

/// Zeros that the system gives as they are written.
fn zeros(length: usize) -> Option<Vec<f32>> {
    f32::new_vec_zeroed(length).ok()
}
