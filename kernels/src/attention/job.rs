//! The job: which tasks there are, and who does them. What a task does is `work`'s business.

mod work;

use super::cache::KvShape;
use super::scratch::{AttentionScratch, slot_floats, slot_words};
use super::{AttentionInputs, CHUNK, ROWS};
use crate::Cpu;
use crate::isa::WIDTH;
use crate::jobs::{Claims, SharedOutput};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use work::Work;

/// With at least so many blocks, each is one task; with fewer, each run of its chunks is one.
const SPLIT_BELOW: usize = 64;

/// Chunks of a run at most: enough that most of what a thread reads was asked for in time.
const LONGEST_RUN: usize = 8;

/// Runs for each thread at least, so that all end at nearly the same time.
const RUNS: usize = 8;

/// The job that computes attention. Any number of threads may call [`work`](Attention::work) at
/// once; when all have returned, the output is complete.
pub struct Attention<'a> {
    cpu: Cpu,
    inputs: AttentionInputs<'a>,
    shape: KvShape,
    /// Query heads of a head of keys and values.
    group: usize,
    /// Rows of a head of keys and values: `tokens * group`.
    rows: usize,
    /// How the chunks of a block are tasks of their own, if they are.
    split: Option<Split>,
    tasks: Claims,
    slots: Claims,
    slot_floats: usize,
    slot_words: usize,
    /// Chunks yet to be finished of each block, if they are tasks of their own.
    remaining: [AtomicUsize; SPLIT_BELOW],
    slot_memory: SharedOutput<'a, f32>,
    word_memory: SharedOutput<'a, i32>,
    partial: SharedOutput<'a, f32>,
    out: SharedOutput<'a, f32>,
}

impl<'a> Attention<'a> {
    /// Prepares to write `out`, `(tokens, heads, value_dim)`. The scratch must be made for the
    /// shape of the cache, or for a larger one.
    pub fn new(
        cpu: Cpu,
        inputs: AttentionInputs<'a>,
        scratch: &'a mut AttentionScratch,
        out: &'a mut [f32],
    ) -> Attention<'a> {
        let shape = inputs.cache.shape();
        let heads = inputs.heads;
        assert!(heads > 0 && heads.is_multiple_of(shape.kv_heads));
        let tokens = inputs.queries.len() / (heads * shape.key_dim);
        assert_eq!(inputs.queries.len(), tokens * heads * shape.key_dim);
        assert_eq!(out.len(), tokens * heads * shape.value_dim);
        assert!(
            inputs.first_position <= shape.capacity
                && tokens <= shape.capacity - inputs.first_position,
            "queries beyond the cache"
        );
        assert!(inputs.sinks.is_none_or(|sinks| sinks.len() == heads));
        assert!(inputs.slopes.is_none_or(|slopes| slopes.len() == heads));
        assert!(inputs.window != Some(0), "a token sees at least itself");
        assert!(
            slot_floats(&shape).is_some_and(|floats| floats <= scratch.slot_floats)
                && slot_words(&shape).is_some_and(|words| words <= scratch.slot_words),
            "scratch for another shape"
        );

        let group = heads / shape.kv_heads;
        let (slots, slot_floats) = (scratch.slots, scratch.slot_floats);
        let slot_words = scratch.slot_words;
        let (slot_memory, partial) = scratch.floats.split_at_mut(slots * slot_floats);
        let mut job = Attention {
            cpu,
            inputs,
            shape,
            group,
            rows: tokens * group,
            split: None,
            tasks: Claims::new(0),
            slots: Claims::new(slots),
            slot_floats,
            slot_words,
            remaining: [const { AtomicUsize::new(0) }; SPLIT_BELOW],
            slot_memory: SharedOutput::new(slot_memory),
            word_memory: SharedOutput::new(&mut scratch.words),
            partial: SharedOutput::new(partial),
            out: SharedOutput::new(out),
        };
        let blocks = job.blocks();
        if blocks < SPLIT_BELOW {
            let chunks = |index| job.chunks(&job.block(index)).len();
            let most = (0..blocks).map(chunks).max().unwrap_or(0);
            let needed = (blocks * most).checked_mul(job.partial_floats());
            if most > 1 && needed.is_some_and(|needed| needed <= job.partial.len()) {
                for (index, remaining) in job.remaining.iter().enumerate().take(blocks) {
                    remaining.store(chunks(index), Ordering::Relaxed);
                }
                let run = blocks * most / (slots * RUNS);
                job.split = Some(Split {
                    chunks: most,
                    run: run.clamp(1, LONGEST_RUN),
                });
            }
        }
        job.tasks = Claims::new(blocks * job.split.map_or(1, |split| split.runs()));
        job
    }

    /// Does tasks until none is left.
    pub fn work(&self) {
        self.cpu.run(Work(self));
    }

    /// Blocks of rows of all heads of keys and values.
    fn blocks(&self) -> usize {
        self.shape.kv_heads * self.rows.div_ceil(ROWS)
    }

    /// The block with this number. Later tokens, which see more, come first.
    #[inline(always)]
    fn block(&self, index: usize) -> Block {
        let blocks = self.rows.div_ceil(ROWS);
        let block = blocks - 1 - index % blocks;
        let first = block * ROWS;
        let rows = ROWS.min(self.rows - first);
        Block {
            index,
            kv_head: index / blocks,
            first,
            rows,
            positions: self.sees(first).start..self.sees(first + rows - 1).end,
        }
    }

    /// The chunks that a row of the block sees.
    #[inline(always)]
    fn chunks(&self, block: &Block) -> Range<usize> {
        block.positions.start / CHUNK..block.positions.end.div_ceil(CHUNK)
    }

    /// The token and the query head of row `row` of a head of keys and values.
    #[inline(always)]
    fn token_and_head(&self, kv_head: usize, row: usize) -> (usize, usize) {
        (row / self.group, kv_head * self.group + row % self.group)
    }

    /// The positions that a row sees; both ends ascend with the row.
    #[inline(always)]
    fn sees(&self, row: usize) -> Range<usize> {
        let end = self.inputs.first_position + row / self.group + 1;
        let start = match self.inputs.window {
            Some(window) => end.saturating_sub(window),
            None => 0,
        };
        start..end
    }

    /// Floats of the partial result of a block for one chunk.
    fn partial_floats(&self) -> usize {
        self.rows.min(ROWS) * self.shape.value_stride() + 2 * WIDTH
    }
}

/// How the chunks of a block are divided into tasks.
#[derive(Clone, Copy)]
struct Split {
    /// Chunks that a block has at most.
    chunks: usize,
    /// Chunks of a task.
    run: usize,
}

impl Split {
    /// Tasks of a block.
    #[inline(always)]
    fn runs(&self) -> usize {
        self.chunks.div_ceil(self.run)
    }
}

/// Rows that are computed together.
struct Block {
    index: usize,
    kv_head: usize,
    /// Number of the first row among those of the head of keys and values.
    first: usize,
    rows: usize,
    /// What the rows see, taken together.
    positions: Range<usize>,
}
