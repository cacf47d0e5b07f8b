//! The memory that attention works in, taken once and used by every layer and token.

use super::cache::{KvShape, KvType};
use super::pairs::PAIRS;
use super::{CHUNK, ROWS};
use crate::aligned::Aligned;
use crate::isa::WIDTH;

/// Working memory for [`Attention`](super::Attention) with caches of one shape.
#[derive(Debug)]
pub struct AttentionScratch {
    pub(super) slots: usize,
    pub(super) slot_floats: usize,
    pub(super) slot_words: usize,
    /// The slots, then the partial results.
    pub(super) floats: Aligned<f32>,
    /// What a cache of whole numbers needs in each slot beside floats.
    pub(super) words: Aligned<i32>,
}

impl AttentionScratch {
    /// Memory for up to `threads` threads at a time, with caches of `shape` that `heads` query
    /// heads attend to; `None` if there is not that much memory. More threads may share a job, but
    /// those find nothing to do.
    pub fn new(threads: usize, heads: usize, shape: &KvShape) -> Option<AttentionScratch> {
        AttentionScratch::bytes(threads, heads, shape)?;
        let slots = threads.max(1);
        let slot_floats = slot_floats(shape)?;
        let slot_words = slot_words(shape)?;
        let partial = partial_floats(heads, shape)?;
        let floats = slots.checked_mul(slot_floats)?.checked_add(partial)?;
        Some(AttentionScratch {
            slots,
            slot_floats,
            slot_words,
            words: Aligned::zeros(slots.checked_mul(slot_words)?)?,
            floats: Aligned::zeros(floats)?,
        })
    }

    /// Bytes that [`new`](AttentionScratch::new) takes; `None` if that is more than can be
    /// addressed.
    pub fn bytes(threads: usize, heads: usize, shape: &KvShape) -> Option<usize> {
        let slots = threads.max(1);
        let floats = slots.checked_mul(slot_floats(shape)?)?;
        let floats = floats.checked_add(partial_floats(heads, shape)?)?;
        let words = slots.checked_mul(slot_words(shape)?)?;
        Aligned::<f32>::bytes(floats)?
            .checked_add(Aligned::<i32>::bytes(words)?)
            .filter(|bytes| isize::try_from(*bytes).is_ok())
    }
}

/// Floats of a thread's slot: packed queries, weights of a chunk, the sums of a chunk and of all
/// chunks before it.
pub(super) fn slot_floats(shape: &KvShape) -> Option<usize> {
    let value = shape.value_dim.checked_next_multiple_of(16)?;
    let row = shape
        .key_dim
        .checked_next_multiple_of(16)?
        .checked_add(CHUNK)?
        .checked_add(value.checked_mul(2)?)?;
    row.checked_mul(ROWS)
}

/// Words of a thread's slot: weights of a chunk as 16-bit whole numbers, whole sums, and queries as
/// such numbers.
pub(super) fn slot_words(shape: &KvShape) -> Option<usize> {
    let query = shape.key_dim.checked_next_multiple_of(2 * PAIRS)? / 2;
    let row = match shape.kind {
        KvType::F16 => return Some(0),
        KvType::Q16 => query.checked_add(shape.value_dim.checked_next_multiple_of(WIDTH)?)?,
        KvType::Q8_0 => query,
    };
    row.checked_add(CHUNK / 2)?.checked_mul(ROWS)
}

/// Floats for the partial results of one token of every head over a full cache. Where they do not
/// suffice, the positions of a task are not split: slower on many threads, never different.
fn partial_floats(heads: usize, shape: &KvShape) -> Option<usize> {
    let row = shape
        .value_dim
        .checked_next_multiple_of(16)?
        .checked_add(2)?;
    let rows = heads.checked_next_multiple_of(ROWS)?;
    let chunks = shape.capacity.div_ceil(CHUNK);
    rows.checked_mul(chunks)?.checked_mul(row)
}
