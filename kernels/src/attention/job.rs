//! The job: which tasks there are, and what a task does.

use super::cache::KvShape;
use super::scratch::{AttentionScratch, slot_floats};
use super::{AttentionInputs, CHUNK, ROWS, kernels};
use crate::Cpu;
use crate::isa::{Floats, Kernel, Simd, WIDTH, exp};
use crate::jobs::{Claims, SharedOutput};
use crate::rows::soft_cap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// With at least so many blocks, each is one task; with fewer, each chunk of each is one.
const SPLIT_BELOW: usize = 64;

/// Positions whose values are read at once for all rows, so that they stay in the innermost cache.
const SPAN: usize = 64;

/// Tiles of sixteen keys that are read at once for all rows.
const TILES: usize = 4;

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
    /// Chunks that a block has at most, if the chunks of a block are tasks of their own.
    split: Option<usize>,
    tasks: Claims,
    slots: Claims,
    slot_floats: usize,
    /// Chunks yet to be finished of each block, if they are tasks of their own.
    remaining: [AtomicUsize; SPLIT_BELOW],
    slot_memory: SharedOutput<'a, f32>,
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
            slot_floats(&shape).is_some_and(|floats| floats <= scratch.slot_floats),
            "scratch for another shape"
        );

        let group = heads / shape.kv_heads;
        let (slots, slot_floats) = (scratch.slots, scratch.slot_floats);
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
            remaining: [const { AtomicUsize::new(0) }; SPLIT_BELOW],
            slot_memory: SharedOutput::new(slot_memory),
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
                job.split = Some(most);
            }
        }
        job.tasks = Claims::new(blocks * job.split.unwrap_or(1));
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

/// The softmax of each row so far, one row in each lane, and its unnormalized output.
struct Sums<'a> {
    /// The largest score.
    most: [f32; WIDTH],
    /// The sum of exponentials relative to it.
    total: [f32; WIDTH],
    /// The weighted sum of values, `(rows, stride)`.
    values: &'a mut [f32],
    stride: usize,
}

impl<'a> Sums<'a> {
    /// Of no position.
    #[inline(always)]
    fn none(values: &'a mut [f32], stride: usize) -> Sums<'a> {
        values.fill(0.0);
        Sums {
            most: [f32::MIN; WIDTH],
            total: [0.0; WIDTH],
            values,
            stride,
        }
    }
}

struct Work<'a, 'b>(&'b Attention<'a>);

impl Kernel for Work<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let job = self.0;
        let Some(slot) = job.slots.claim() else {
            return;
        };
        let slot = slot * job.slot_floats..(slot + 1) * job.slot_floats;
        // SAFETY: each slot is claimed once, and slots do not overlap.
        #[allow(unsafe_code)]
        let slot = unsafe { job.slot_memory.piece(slot) };
        let stride = job.shape.value_stride();
        let (queries, slot) = slot.split_at_mut(ROWS * job.shape.key_dim);
        let (weights, slot) = slot.split_at_mut(ROWS * CHUNK);
        let (values, slot) = slot.split_at_mut(ROWS * stride);
        let totals = &mut slot[..ROWS * stride];
        while let Some(task) = job.tasks.claim() {
            let block = job.block(task / job.split.unwrap_or(1));
            let all = job.chunks(&block);
            let chunks = match job.split {
                None => all.clone(),
                Some(parts) => {
                    let first = all.start + task % parts;
                    first..all.end.min(first + 1)
                }
            };
            if chunks.is_empty() {
                continue;
            }
            pack(simd, job, &block, queries);
            let mut total = Sums::none(&mut totals[..block.rows * stride], stride);
            for chunk in chunks {
                let mut sums = Sums::none(&mut values[..block.rows * stride], stride);
                attend(simd, job, &block, (chunk, queries, weights), &mut sums);
                match job.split {
                    None => merge(simd, &sums, &mut total),
                    Some(_) => put_aside(job, &block, chunk - all.start, &sums),
                }
            }
            if job.split.is_some() {
                // The release half makes this thread's partial results visible to the one that
                // counts down to zero, whose acquire half sees those of all others.
                if job.remaining[block.index].fetch_sub(1, Ordering::AcqRel) != 1 {
                    continue;
                }
                for chunk in 0..all.len() {
                    let sums = take_up(job, &block, chunk);
                    merge(simd, &sums, &mut total);
                }
            }
            finish(simd, job, &block, &total);
        }
    }
}

/// Lays out the queries of the block, scaled, so that those of the rows which are multiplied
/// together lie together: for each of those sets of rows, `(key_dim, rows)`.
#[inline(always)]
fn pack_set(job: &Attention<'_>, block: &Block, rows: Range<usize>, queries: &mut [f32]) {
    let dim = job.shape.key_dim;
    let count = rows.len();
    for (r, row) in rows.enumerate() {
        let (token, head) = job.token_and_head(block.kv_head, block.first + row);
        let from = &job.inputs.queries[(token * job.inputs.heads + head) * dim..][..dim];
        for (to, from) in queries[r..].iter_mut().step_by(count).zip(from) {
            *to = from * job.inputs.scale;
        }
    }
}

/// [`pack_set`] for every set of rows of the block.
#[inline(always)]
fn pack<S: Floats>(_simd: S, job: &Attention<'_>, block: &Block, queries: &mut [f32]) {
    let mut row = 0;
    while row < block.rows {
        let count = kernels::rows_at_once::<S>(block.rows - row);
        let set = &mut queries[row * job.shape.key_dim..][..count * job.shape.key_dim];
        pack_set(job, block, row..row + count, set);
        row += count;
    }
}

/// The part of `positions` that lies in the chunk that begins at `start`, relative to it.
#[inline(always)]
fn within(positions: Range<usize>, start: usize) -> Range<usize> {
    let relative = |position: usize| position.saturating_sub(start).min(CHUNK);
    relative(positions.start)..relative(positions.end)
}

/// Computes the sums of the block over the positions of one chunk. `weights` is `(ROWS, CHUNK)`.
#[inline(always)]
fn attend<S: Floats>(
    simd: S,
    job: &Attention<'_>,
    block: &Block,
    (chunk, queries, weights): (usize, &[f32], &mut [f32]),
    sums: &mut Sums<'_>,
) {
    let start = chunk * CHUNK;
    let seen = within(block.positions.clone(), start);
    let tiles = seen.start / WIDTH..seen.end.div_ceil(WIDTH);

    let dim = job.shape.key_dim;
    let keys = &job.inputs.cache.head_keys(block.kv_head)[start * dim..];
    let stride = job.shape.value_stride();
    let values = &job.inputs.cache.head_values(block.kv_head)[start * stride..];
    let mut first = tiles.start;
    while first < tiles.end {
        let few = first..tiles.end.min(first + TILES);
        first = few.end;
        let mut row = 0;
        while row < block.rows {
            let count = kernels::rows_at_once::<S>(block.rows - row);
            let queries = &queries[row * dim..(row + count) * dim];
            let weights = &mut weights[row * CHUNK..(row + count) * CHUNK];
            // Where there is one block of rows, as in generation, nobody has read the values yet.
            let ahead = if row == 0 && job.rows <= ROWS {
                values
            } else {
                &[]
            };
            let few = kernels::Tiles {
                keys,
                range: few.clone(),
                ahead,
            };
            kernels::scores(simd, count, few, queries, weights);
            row += count;
        }
    }

    for row in 0..block.rows {
        let weights = &mut weights[row * CHUNK..(row + 1) * CHUNK];
        let row_tiles = &mut weights.as_chunks_mut::<WIDTH>().0[tiles.clone()];
        adjust(
            simd,
            job,
            block,
            (row, start + tiles.start * WIDTH),
            row_tiles,
        );
        let sees = within(job.sees(block.first + row), start);
        let (low, high) = (tiles.start * WIDTH, tiles.end * WIDTH);
        weights[low..sees.start.max(low)].fill(f32::NEG_INFINITY);
        weights[sees.end.clamp(low, high)..high].fill(f32::NEG_INFINITY);
        let row_tiles = &mut weights.as_chunks_mut::<WIDTH>().0[tiles.clone()];
        (sums.most[row], sums.total[row]) = kernels::exponentials(simd, row_tiles);
    }

    let mut position = seen.start;
    while position < seen.end {
        let count = SPAN.min(seen.end - position);
        let mut row = 0;
        while row < block.rows {
            let rows = kernels::rows_at_once::<S>(block.rows - row);
            let weights = &weights[row * CHUNK + position..(row + rows) * CHUNK];
            let sums = &mut sums.values[row * stride..(row + rows) * stride];
            let values = &values[position * stride..];
            kernels::weigh(simd, rows, (values, count), weights, (sums, stride));
            row += rows;
        }
        position += count;
    }
}

/// Applies to the scores of a row what comes between the product and the softmax; the first of
/// `scores` is that of position `first`.
#[inline(always)]
fn adjust<S: Floats>(
    simd: S,
    job: &Attention<'_>,
    block: &Block,
    (row, first): (usize, usize),
    scores: &mut [[f32; WIDTH]],
) {
    if let Some(cap) = job.inputs.soft_cap {
        for scores in scores.iter_mut() {
            let capped = soft_cap(simd, simd.load(scores), cap);
            simd.store(capped, scores);
        }
    }
    if let Some(slopes) = job.inputs.slopes {
        const LANES: [f32; WIDTH] = [
            0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
        ];
        let (token, head) = job.token_and_head(block.kv_head, block.first + row);
        let own = (job.inputs.first_position + token) as f32;
        let slope = simd.splat(slopes[head]);
        for (tile, scores) in scores.iter_mut().enumerate() {
            // Exact: whole numbers below 2²⁴.
            let distance = simd.splat((first + tile * WIDTH) as f32 - own);
            let distance = simd.add(distance, simd.load(&LANES));
            let biased = simd.multiply_add(slope, distance, simd.load(scores));
            simd.store(biased, scores);
        }
    }
}

/// Merges the sums of the next chunk into those of all before it.
#[inline(always)]
fn merge<S: Floats>(simd: S, next: &Sums<'_>, all: &mut Sums<'_>) {
    let (next_most, all_most) = (simd.load(&next.most), simd.load(&all.most));
    let most = simd.max(next_most, all_most);
    let keep = exp(simd, simd.sub(all_most, most));
    let take = exp(simd, simd.sub(next_most, most));
    let kept = simd.mul(simd.load(&all.total), keep);
    let total = simd.multiply_add(simd.load(&next.total), take, kept);
    simd.store(most, &mut all.most);
    simd.store(total, &mut all.total);

    let (mut keeps, mut takes) = ([0.0; WIDTH], [0.0; WIDTH]);
    simd.store(keep, &mut keeps);
    simd.store(take, &mut takes);
    let vectors = all.stride / WIDTH;
    let to = all
        .values
        .as_chunks_mut::<WIDTH>()
        .0
        .chunks_exact_mut(vectors);
    let from = next.values.as_chunks::<WIDTH>().0.chunks_exact(vectors);
    for (row, (to, from)) in to.zip(from).enumerate() {
        let (keep, take) = (simd.splat(keeps[row]), simd.splat(takes[row]));
        for (to, from) in to.iter_mut().zip(from) {
            let kept = simd.mul(simd.load(to), keep);
            simd.store(simd.multiply_add(simd.load(from), take, kept), to);
        }
    }
}

/// The memory of the partial result of a block for one of its chunks: the maxima, the totals, and
/// the weighted sums.
///
/// # Safety
///
/// No two pieces for the same block and chunk live at the same time.
#[allow(unsafe_code, clippy::mut_from_ref)]
#[inline(always)]
unsafe fn partial<'p>(job: &'p Attention<'_>, block: &Block, chunk: usize) -> &'p mut [f32] {
    let len = job.partial_floats();
    let first = (block.index * job.split.unwrap_or(1) + chunk) * len;
    // SAFETY: different blocks and chunks have different numbers, so their pieces are disjoint;
    // that there is one of each at a time is the caller's promise.
    unsafe { job.partial.piece(first..first + len) }
}

/// Stores the sums of a block for one of its chunks, to be merged when all are there.
#[inline(always)]
fn put_aside(job: &Attention<'_>, block: &Block, chunk: usize, sums: &Sums<'_>) {
    // SAFETY: the task of this block and chunk is claimed once, and nobody reads the piece before
    // the task has counted down the block's remaining chunks, after the piece is gone.
    #[allow(unsafe_code)]
    let piece = unsafe { partial(job, block, chunk) };
    let (most, piece) = piece.split_at_mut(WIDTH);
    let (total, values) = piece.split_at_mut(WIDTH);
    most.copy_from_slice(&sums.most);
    total.copy_from_slice(&sums.total);
    values[..sums.values.len()].copy_from_slice(sums.values);
}

/// The sums that were put aside. Only for whoever counted the block's remaining chunks down to
/// zero.
#[inline(always)]
fn take_up<'p>(job: &'p Attention<'_>, block: &Block, chunk: usize) -> Sums<'p> {
    // SAFETY: one thread counts down to zero and calls this, after every task of the block has
    // counted down, when its piece was gone; and it takes each chunk once.
    #[allow(unsafe_code)]
    let piece = unsafe { partial(job, block, chunk) };
    let (most, piece) = piece.split_at_mut(WIDTH);
    let (total, values) = piece.split_at_mut(WIDTH);
    let stride = job.shape.value_stride();
    Sums {
        most: std::array::from_fn(|lane| most[lane]),
        total: std::array::from_fn(|lane| total[lane]),
        values: &mut values[..block.rows * stride],
        stride,
    }
}

/// Adds the sinks, normalizes, and writes the output of the block.
#[inline(always)]
fn finish<S: Floats>(simd: S, job: &Attention<'_>, block: &Block, sums: &Sums<'_>) {
    let one = simd.splat(1.0);
    let (most, total) = (simd.load(&sums.most), simd.load(&sums.total));
    let factor = match job.inputs.sinks {
        None => simd.div(one, total),
        Some(sinks) => {
            let mut logits = [f32::MIN; WIDTH];
            for (row, logit) in logits.iter_mut().enumerate().take(block.rows) {
                let (_, head) = job.token_and_head(block.kv_head, block.first + row);
                *logit = sinks[head];
            }
            let sink = simd.load(&logits);
            let largest = simd.max(sink, most);
            let keep = exp(simd, simd.sub(most, largest));
            let sink = exp(simd, simd.sub(sink, largest));
            simd.div(keep, simd.multiply_add(total, keep, sink))
        }
    };
    let mut factors = [0.0; WIDTH];
    simd.store(factor, &mut factors);

    let len = job.shape.value_dim;
    for (row, values) in sums.values.chunks_exact(sums.stride).enumerate() {
        let (token, head) = job.token_and_head(block.kv_head, block.first + row);
        let first = (token * job.inputs.heads + head) * len;
        // SAFETY: each row belongs to one block and each block is finished once, by the thread
        // that claimed its task or counted down its chunks; rows have disjoint pieces.
        #[allow(unsafe_code)]
        let out = unsafe { job.out.piece(first..first + len) };
        let factor = simd.splat(factors[row]);
        let (out, rest) = out.as_chunks_mut::<WIDTH>();
        let values = values.as_chunks::<WIDTH>().0;
        for (out, values) in out.iter_mut().zip(values) {
            simd.store(simd.mul(simd.load(values), factor), out);
        }
        if let Some(values) = values.get(out.len()) {
            simd.store_partial(simd.mul(simd.load(values), factor), rest);
        }
    }
}
