//! The softmax and the output of the rows of a block, chunk by chunk and merged.

use crate::isa::{Floats, WIDTH, exp2};

/// The softmax of each row so far, one row in each lane, and its unnormalized output.
pub(super) struct Sums<'a> {
    /// The largest score.
    pub(super) most: [f32; WIDTH],
    /// The sum of the weights relative to it.
    pub(super) total: [f32; WIDTH],
    /// The weighted sum of values, `(rows, stride)`.
    pub(super) values: &'a mut [f32],
    pub(super) stride: usize,
}

impl<'a> Sums<'a> {
    /// Of no position, but for the values, which are to be written.
    #[inline(always)]
    pub(super) fn new(values: &'a mut [f32], stride: usize) -> Sums<'a> {
        Sums {
            most: [f32::MIN; WIDTH],
            total: [0.0; WIDTH],
            values,
            stride,
        }
    }

    /// Those that were [put aside](Sums::put_aside).
    #[inline(always)]
    pub(super) fn take_up(memory: &'a mut [f32], len: usize, stride: usize) -> Sums<'a> {
        let (most, memory) = memory.split_at_mut(WIDTH);
        let (total, values) = memory.split_at_mut(WIDTH);
        Sums {
            most: std::array::from_fn(|lane| most[lane]),
            total: std::array::from_fn(|lane| total[lane]),
            values: &mut values[..len],
            stride,
        }
    }

    /// Stores them, to be merged when those of all chunks are there.
    #[inline(always)]
    pub(super) fn put_aside(&self, memory: &mut [f32]) {
        let (most, memory) = memory.split_at_mut(WIDTH);
        let (total, values) = memory.split_at_mut(WIDTH);
        most.copy_from_slice(&self.most);
        total.copy_from_slice(&self.total);
        values[..self.values.len()].copy_from_slice(self.values);
    }

    /// Becomes those of the first chunk: what [`merge`](Sums::merge) makes of them and of the sums
    /// of no position, where a row may begin that sees less than the others of its block.
    #[inline(always)]
    pub(super) fn begin<S: Floats>(&mut self, simd: S, first: &Sums<'_>) {
        self.most = first.most;
        self.total = first.total;
        let to = self.values.as_chunks_mut::<WIDTH>().0;
        for (to, from) in to.iter_mut().zip(first.values.as_chunks::<WIDTH>().0) {
            // The sum with zero is the value, unless that is -0.
            simd.store(simd.add(simd.zero(), simd.load(from)), to);
        }
    }

    /// Merges the sums of the next chunk into those of all before it.
    #[inline(always)]
    pub(super) fn merge<S: Floats>(&mut self, simd: S, next: &Sums<'_>) {
        let (next_most, all_most) = (simd.load(&next.most), simd.load(&self.most));
        let most = simd.max(next_most, all_most);
        let keep = exp2(simd, simd.sub(all_most, most));
        let take = exp2(simd, simd.sub(next_most, most));
        let kept = simd.mul(simd.load(&self.total), keep);
        let total = simd.multiply_add(simd.load(&next.total), take, kept);
        simd.store(most, &mut self.most);
        simd.store(total, &mut self.total);

        let (mut keeps, mut takes) = ([0.0; WIDTH], [0.0; WIDTH]);
        simd.store(keep, &mut keeps);
        simd.store(take, &mut takes);
        let vectors = self.stride / WIDTH;
        let to = self.values.as_chunks_mut::<WIDTH>().0;
        let from = next.values.as_chunks::<WIDTH>().0;
        let rows = to.chunks_exact_mut(vectors).zip(from.chunks_exact(vectors));
        for (row, (to, from)) in rows.enumerate() {
            let (keep, take) = (simd.splat(keeps[row]), simd.splat(takes[row]));
            for (to, from) in to.iter_mut().zip(from) {
                let kept = simd.mul(simd.load(to), keep);
                simd.store(simd.multiply_add(simd.load(from), take, kept), to);
            }
        }
    }

    /// What each row's values are to be multiplied with: the inverse of its total, to which the
    /// rows' `sinks`, in units of ln 2, are added if there are any.
    #[inline(always)]
    pub(super) fn factors<S: Floats>(&self, simd: S, sinks: Option<&[f32; WIDTH]>) -> [f32; WIDTH] {
        let (most, total) = (simd.load(&self.most), simd.load(&self.total));
        let factor = match sinks {
            None => simd.div(simd.splat(1.0), total),
            Some(sinks) => {
                let sink = simd.load(sinks);
                let largest = simd.max(sink, most);
                let keep = exp2(simd, simd.sub(most, largest));
                let sink = exp2(simd, simd.sub(sink, largest));
                simd.div(keep, simd.multiply_add(total, keep, sink))
            }
        };
        let mut factors = [0.0; WIDTH];
        simd.store(factor, &mut factors);
        factors
    }
}
