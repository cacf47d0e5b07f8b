//! What a task of the job does: the sums of a block of rows over all that it sees, or over a run of
//! chunks of that.

use super::{Attention, Block, Split};
use crate::attention::by_rows::{at_once, by_rows, some_rows, some_rows_mut};
use crate::attention::cache::{KvShape, KvType};
use crate::attention::halves::{self, Stream};
use crate::attention::shorts::{self, Rounded};
use crate::attention::sums::Sums;
use crate::attention::{CHUNK, ROWS, bytes, pairs, softmax};
use crate::isa::{Floats, Kernel, Simd, Task, WIDTH};
use std::f32::consts::LOG2_E;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// Positions whose values are read at once where nobody has read them yet: so few that memory is
/// read in its order. Even, as values of whole numbers lie in pairs of positions.
const SPAN: usize = 64;

/// With so many rows the multiply-adds take long enough that asking for memory meanwhile hides the
/// time to bring it.
const FEW_ROWS: usize = 4;

/// Tiles of sixteen keys that are read at once for all rows.
const TILES: usize = 4;

/// What a thread works in, beside the sums.
struct Space<'a> {
    weights: &'a mut [[f32; CHUNK]],   // (ROWS)
    halves: &'a mut [halves::Queries], // (key_dim / 16), for a cache of 16-bit floats
    // For caches of whole numbers:
    rounded: &'a mut [pairs::Weights], // (ROWS)
    whole: &'a mut [i32],              // (ROWS, value_stride), but for bytes
    pairs: &'a mut [pairs::Queries],   // (key_dim / 32)
    factors: [f32; ROWS],              // of the rows of `pairs`
    units: [f32; ROWS],                // of the rows of `rounded`
    scales: [f32; CHUNK],              // of the values of a chunk
}

impl<'a> Space<'a> {
    #[inline(always)]
    fn new(shape: &KvShape, floats: &'a mut [f32], words: &'a mut [i32]) -> Space<'a> {
        let (weights, halves) = floats.split_at_mut(ROWS * CHUNK);
        // There are no words for a cache of 16-bit floats.
        let (rounded, words) = words.split_at_mut(words.len().min(ROWS * CHUNK / 2));
        let whole = match shape.kind {
            KvType::Q16 => ROWS * shape.value_stride(),
            KvType::F16 | KvType::Q8_0 => 0,
        };
        let (whole, pairs) = words.split_at_mut(whole);
        Space {
            weights: weights.as_chunks_mut().0,
            halves: halves.as_chunks_mut().0.as_chunks_mut().0,
            rounded: rounded.as_chunks_mut().0,
            whole,
            pairs: pairs.as_chunks_mut().0.as_chunks_mut().0,
            factors: [0.0; ROWS],
            units: [0.0; ROWS],
            scales: [0.0; CHUNK],
        }
    }
}

/// Does tasks until none is left.
pub(super) struct Work<'a, 'b>(pub(super) &'b Attention<'a>);

impl Kernel for Work<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let job = self.0;
        let Some(slot) = job.slots.claim() else {
            return;
        };
        let words = slot * job.slot_words..(slot + 1) * job.slot_words;
        let slot = slot * job.slot_floats..(slot + 1) * job.slot_floats;
        // SAFETY: each slot is claimed once, and slots do not overlap.
        #[allow(unsafe_code)]
        let (slot, words) = unsafe { (job.slot_memory.piece(slot), job.word_memory.piece(words)) };
        // The sums of a chunk, and of all chunks before it: `(ROWS, value_stride)` each.
        let sums = ROWS * job.shape.value_stride();
        let (values, slot) = slot.split_at_mut(sums);
        let (totals, slot) = slot.split_at_mut(sums);
        let mut space = Space::new(&job.shape, slot, words);
        while let Some(task) = job.tasks.claim() {
            match job.split {
                None => whole(simd, job, &job.block(task), &mut space, (values, totals)),
                Some(split) => {
                    let block = job.block(task / split.runs());
                    let part = (&block, task % split.runs(), split);
                    run(simd, job, part, &mut space, (values, totals));
                }
            }
        }
    }
}

/// The task of a whole block.
#[inline(always)]
fn whole<S: Simd>(
    simd: S,
    job: &Attention<'_>,
    block: &Block,
    space: &mut Space<'_>,
    (values, totals): (&mut [f32], &mut [f32]),
) {
    let stride = job.shape.value_stride();
    let len = block.rows * stride;
    announce(simd, job, block);
    prepare(simd, job, block, space);
    let mut all = Sums::new(&mut totals[..len], stride);
    let chunks = job.chunks(block);
    for chunk in chunks.clone() {
        let mut next = Sums::new(&mut values[..len], stride);
        simd.call(Attend {
            job,
            block,
            chunks: chunk..chunk + 1,
            space,
            sums: &mut next,
        });
        if chunk == chunks.start {
            all.begin(simd, &next);
        } else {
            all.merge(simd, &next);
        }
    }
    finish(simd, job, block, &all);
}

/// The task of a run of chunks of a block.
#[inline(always)]
fn run<S: Simd>(
    simd: S,
    job: &Attention<'_>,
    (block, index, split): (&Block, usize, Split),
    space: &mut Space<'_>,
    (values, totals): (&mut [f32], &mut [f32]),
) {
    let stride = job.shape.value_stride();
    let len = block.rows * stride;
    let all = job.chunks(block);
    let first = all.start + index * split.run;
    let chunks = first..all.end.min(first + split.run);
    if chunks.is_empty() {
        return;
    }
    prepare(simd, job, block, space);
    let count = chunks.len();
    for chunk in chunks.clone() {
        let mut sums = Sums::new(&mut values[..len], stride);
        simd.call(Attend {
            job,
            block,
            chunks: chunk..chunks.end,
            space,
            sums: &mut sums,
        });
        // SAFETY: the task of this chunk is claimed once, and nobody reads the piece before the
        // task has counted down the block's remaining chunks, after the piece is gone.
        #[allow(unsafe_code)]
        sums.put_aside(unsafe { partial(job, block, split, chunk - all.start) });
    }
    // The release half makes this thread's partial results visible to the one that counts down to
    // zero, whose acquire half sees those of all others.
    if job.remaining[block.index].fetch_sub(count, Ordering::AcqRel) != count {
        return;
    }
    let mut total = Sums::new(&mut totals[..len], stride);
    for chunk in 0..all.len() {
        // SAFETY: one thread counts down to zero, after every task of the block has counted down,
        // when its pieces were gone; and it takes each chunk once.
        #[allow(unsafe_code)]
        let memory = unsafe { partial(job, block, split, chunk) };
        let next = Sums::take_up(memory, len, stride);
        if chunk == 0 {
            total.begin(simd, &next);
        } else {
            total.merge(simd, &next);
        }
    }
    finish(simd, job, block, &total);
}

/// Asks for the memory of the block's output, which is written last, and for the queries of the
/// block that this thread is likely to claim next.
#[inline(always)]
fn announce<S: Floats>(simd: S, job: &Attention<'_>, block: &Block) {
    let len = job.shape.value_dim;
    for row in 0..block.rows {
        let (token, head) = job.token_and_head(block.kv_head, block.first + row);
        let first = (token * job.inputs.heads + head) * len;
        let out = job.out.address().wrapping_add(first);
        for line in 0..len / WIDTH {
            simd.prefetch(out.wrapping_add(line * WIDTH));
        }
    }
    let next = block.index + job.slots.len();
    if next < job.blocks() {
        let block = job.block(next);
        let dim = job.shape.key_dim;
        for row in 0..block.rows {
            let (token, head) = job.token_and_head(block.kv_head, block.first + row);
            let first = (token * job.inputs.heads + head) * dim;
            let query = job.inputs.queries.as_ptr().wrapping_add(first);
            for line in 0..dim / WIDTH {
                simd.prefetch(query.wrapping_add(line * WIDTH));
            }
        }
    }
}

/// Copies the queries of the block, as the products with the cache want them, scaled so that the
/// scores are in units of ln 2.
#[inline(always)]
fn prepare<S: Floats>(simd: S, job: &Attention<'_>, block: &Block, space: &mut Space<'_>) {
    let dim = job.shape.key_dim;
    let scale = job.inputs.scale * LOG2_E;
    for row in 0..block.rows {
        let (token, head) = job.token_and_head(block.kv_head, block.first + row);
        let query = &job.inputs.queries[(token * job.inputs.heads + head) * dim..][..dim];
        match job.shape.kind {
            KvType::F16 => halves::scale_query(simd, (query, scale), row, space.halves),
            KvType::Q8_0 => {
                let factor = bytes::round_query(simd, query, row, space.pairs);
                space.factors[row] = factor * scale;
            }
            KvType::Q16 => {
                let factor = shorts::round_query(simd, query, row, space.pairs);
                space.factors[row] = factor * scale;
            }
        }
    }
}

/// The part of `positions` that lies in the chunk that begins at `start`, relative to it.
#[inline(always)]
fn within(positions: Range<usize>, start: usize) -> Range<usize> {
    let relative = |position: usize| position.saturating_sub(start).min(CHUNK);
    relative(positions.start)..relative(positions.end)
}

/// Computes the sums of the block over the positions of the first of the `chunks`; those after it
/// are next.
struct Attend<'s, 'a, 'm, 'v> {
    job: &'s Attention<'a>,
    block: &'s Block,
    chunks: Range<usize>,
    space: &'s mut Space<'m>,
    sums: &'s mut Sums<'v>,
}

impl<S: Simd> Task<S> for Attend<'_, '_, '_, '_> {
    #[inline(always)]
    fn run(self, simd: S) {
        let Attend {
            job,
            block,
            chunks,
            space,
            sums,
        } = self;
        let start = chunks.start * CHUNK;
        let seen = within(block.positions.clone(), start);
        let tiles = seen.start / WIDTH..seen.end.div_ceil(WIDTH);
        // What the rows from `row` on that are taken at once see.
        let sees = |row: usize, count: usize| {
            let first = job.sees(block.first + row);
            let last = job.sees(block.first + row + count - 1);
            within(first.start..last.end, start)
        };

        let shape = job.shape;
        let (dim, stride) = (shape.key_dim, shape.value_stride());
        let pairs = dim.div_ceil(2);
        let keys = job.inputs.cache.head_keys(block.kv_head);
        let keys = &keys[start / WIDTH * shape.tile_units()..];
        let values = job.inputs.cache.head_values(block.kv_head);
        let values = &values[chunks.start * shape.chunk_units()..];
        // Where there is one block of rows, as in generation, nobody has read these yet. With few rows
        // memory is the limit, and asking for what the processor reads ahead by itself slows that down.
        let alone = job.rows <= ROWS;
        let asks = alone && job.rows >= FEW_ROWS;
        let values_ahead = if asks { values } else { &[] };
        let keys_ahead = match keys.get(CHUNK / WIDTH * shape.tile_units()..) {
            Some(keys) if asks && chunks.len() > 1 => keys,
            _ => &[],
        };
        let span = if alone { SPAN } else { CHUNK };
        let mut first = tiles.start;
        while first < tiles.end {
            let few = first..tiles.end.min(first + TILES);
            let mut row = 0;
            while row < block.rows {
                let count = at_once::<S>(block.rows - row);
                let seen = sees(row, count);
                let (from, to) = (seen.start / WIDTH, seen.end.div_ceil(WIDTH));
                let few = few.start.max(from)..few.end.min(to);
                let keys = Stream {
                    numbers: keys,
                    ahead: if row == 0 { values_ahead } else { &[] },
                    span,
                };
                let at = (row, few);
                match shape.kind {
                    KvType::F16 => {
                        let (keys, queries) = ((keys, dim), &*space.halves);
                        let task = halves::Scores {
                            at,
                            keys,
                            queries,
                            weights: &mut *space.weights,
                        };
                        by_rows(simd, count, task);
                    }
                    KvType::Q16 => {
                        let (keys, queries) = ((keys, pairs), (&*space.pairs, &space.factors));
                        let task = shorts::Scores {
                            at,
                            keys,
                            queries,
                            weights: &mut *space.weights,
                        };
                        by_rows(simd, count, task);
                    }
                    KvType::Q8_0 => {
                        let queries = (&*space.pairs, &space.factors);
                        let task = bytes::Scores {
                            at,
                            keys,
                            queries,
                            weights: &mut *space.weights,
                        };
                        by_rows(simd, count, task);
                    }
                }
                row += count;
            }
            first += TILES;
        }

        for row in 0..block.rows {
            let seen = within(job.sees(block.first + row), start);
            let scores = &mut space.weights[row].as_chunks_mut::<WIDTH>().0[tiles.clone()];
            let first = start + tiles.start * WIDTH;
            adjust(simd, job, block, (row, first), scores);
            let skipped = tiles.start * WIDTH;
            let seen = seen.start.max(skipped) - skipped..seen.end.max(skipped) - skipped;
            softmax::mask(simd, scores, seen);
        }
        let mut row = 0;
        while row + 4 <= block.rows {
            let four = &space.weights[row..row + 4];
            let most = softmax::largest::<S, 4>(simd, four, tiles.clone());
            sums.most[row..row + 4].copy_from_slice(&most);
            row += 4;
        }
        while row < block.rows {
            let one = &space.weights[row..row + 1];
            [sums.most[row]] = softmax::largest::<S, 1>(simd, one, tiles.clone());
            row += 1;
        }
        if shape.kind == KvType::Q16 {
            shorts::widen_scales(simd, tiles.clone(), values, &mut space.scales);
        }
        let mut row = 0;
        while row < block.rows {
            let tiles = tiles.clone();
            match shape.kind {
                KvType::F16 | KvType::Q8_0 => {
                    let scores = &mut space.weights[row].as_chunks_mut::<WIDTH>().0[tiles];
                    sums.total[row] = softmax::weights(simd, scores, sums.most[row]);
                    row += 1;
                }
                KvType::Q16 if const { S::ACCUMULATORS >= 16 } && row + 4 <= block.rows => {
                    round_weights::<S, 4>(simd, (row, tiles), space, sums);
                    row += 4;
                }
                KvType::Q16 => {
                    round_weights::<S, 1>(simd, (row, tiles), space, sums);
                    row += 1;
                }
            }
        }

        let mut row = 0;
        while row < block.rows {
            let count = at_once::<S>(block.rows - row);
            let values = Stream {
                numbers: values,
                ahead: if row == 0 { keys_ahead } else { &[] },
                span,
            };
            let sums = (&mut *sums.values, stride);
            let at = (row, sees(row, count));
            match shape.kind {
                KvType::F16 => {
                    let task = halves::Weigh {
                        at,
                        values,
                        weights: &*space.weights,
                        sums,
                    };
                    by_rows(simd, count, task);
                }
                KvType::Q16 => {
                    let rounded = Rounded {
                        weights: space.rounded,
                        units: &space.units,
                        sums: space.whole,
                    };
                    let values = (values, pairs);
                    let task = shorts::Weigh {
                        at,
                        values,
                        rounded,
                        sums,
                    };
                    by_rows(simd, count, task);
                }
                KvType::Q8_0 => {
                    let rounded = &mut *space.rounded;
                    let task = bytes::Weigh {
                        at,
                        values,
                        weights: &*space.weights,
                        rounded,
                        sums,
                    };
                    by_rows(simd, count, task);
                }
            }
            row += count;
        }
    }
}

/// Makes the scores of `R` rows from number `row` on weights, in whole numbers.
#[inline(always)]
fn round_weights<S: Floats, const R: usize>(
    simd: S,
    (row, tiles): (usize, Range<usize>),
    space: &mut Space<'_>,
    sums: &mut Sums<'_>,
) {
    let scores: &mut [_; R] = some_rows_mut(space.weights, row);
    let rounded: &mut [_; R] = some_rows_mut(space.rounded, row);
    let most: &[_; R] = some_rows(&sums.most, row);
    let (totals, units) = shorts::weights(simd, tiles, (scores, most), &space.scales, rounded);
    sums.total[row..row + R].copy_from_slice(&totals);
    space.units[row..row + R].copy_from_slice(&units);
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
        softmax::cap(simd, scores, cap * LOG2_E);
    }
    if let Some(slopes) = job.inputs.slopes {
        let (token, head) = job.token_and_head(block.kv_head, block.first + row);
        let distance = (job.inputs.first_position + token) as f32 - first as f32;
        softmax::bias(simd, scores, slopes[head] * LOG2_E, distance);
    }
}

/// The memory of the partial result of a block for one of its chunks.
///
/// # Safety
///
/// No two pieces for the same block and chunk live at the same time.
#[allow(unsafe_code, clippy::mut_from_ref)]
#[inline(always)]
unsafe fn partial<'p>(
    job: &'p Attention<'_>,
    block: &Block,
    split: Split,
    chunk: usize,
) -> &'p mut [f32] {
    let len = job.partial_floats();
    let first = (block.index * split.chunks + chunk) * len;
    // SAFETY: different blocks and chunks have different numbers, so their pieces are disjoint;
    // that there is one of each at a time is the caller's promise.
    unsafe { job.partial.piece(first..first + len) }
}

/// Adds the sinks, normalizes, and writes the output of the block.
#[inline(always)]
fn finish<S: Floats>(simd: S, job: &Attention<'_>, block: &Block, sums: &Sums<'_>) {
    let sinks = job.inputs.sinks.map(|sinks| {
        let mut logits = [f32::MIN; WIDTH];
        for (row, logit) in logits.iter_mut().enumerate().take(block.rows) {
            let (_, head) = job.token_and_head(block.kv_head, block.first + row);
            *logit = sinks[head] * LOG2_E;
        }
        logits
    });
    let factors = sums.factors(simd, sinks.as_ref());
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
