//! What happens to the scores of a row between the two products.
//!
//! Scores are in units of ln 2, so that weights are powers of two: of the exponential functions
//! that is the one that takes the least.

use super::CHUNK;
use crate::isa::{Floats, WIDTH, exp2};
use crate::rows::soft_cap;
use std::array::from_fn;
use std::ops::Range;

/// The numbers of the lanes.
const LANES: [f32; WIDTH] = [
    0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
];

/// Makes every score `cap · tanh(score / cap)`.
#[inline(always)]
pub(super) fn cap<S: Floats>(simd: S, scores: &mut [[f32; WIDTH]], cap: f32) {
    for scores in scores {
        let capped = soft_cap(simd, simd.load(scores), cap);
        simd.store(capped, scores);
    }
}

/// Subtracts from every score `slope` times its distance; the first is at the distance `first`,
/// each next is one nearer.
#[inline(always)]
pub(super) fn bias<S: Floats>(simd: S, scores: &mut [[f32; WIDTH]], slope: f32, first: f32) {
    let slope = simd.splat(slope);
    for (tile, scores) in scores.iter_mut().enumerate() {
        // Exact: whole numbers below 2²⁴.
        let distance = simd.splat((tile * WIDTH) as f32 - first);
        let distance = simd.add(distance, simd.load(&LANES));
        let biased = simd.multiply_add(slope, distance, simd.load(scores));
        simd.store(biased, scores);
    }
}

/// Makes the scores outside of `seen` minus infinity.
#[inline(always)]
pub(super) fn mask<S: Floats>(simd: S, scores: &mut [[f32; WIDTH]], seen: Range<usize>) {
    let nothing = simd.splat(f32::NEG_INFINITY);
    let lanes = simd.load(&LANES);
    let Range { start, end } = seen;
    for scores in &mut scores[..start / WIDTH] {
        simd.store(nothing, scores);
    }
    if !start.is_multiple_of(WIDTH) {
        let tile = start / WIDTH;
        let first = simd.splat((start - tile * WIDTH) as f32);
        let kept = simd.select_less((lanes, first), nothing, simd.load(&scores[tile]));
        simd.store(kept, &mut scores[tile]);
    }
    if !end.is_multiple_of(WIDTH) {
        let tile = end / WIDTH;
        let last = simd.splat((end - tile * WIDTH) as f32);
        let kept = simd.select_less((lanes, last), simd.load(&scores[tile]), nothing);
        simd.store(kept, &mut scores[tile]);
    }
    for scores in &mut scores[end.div_ceil(WIDTH)..] {
        simd.store(nothing, scores);
    }
}

/// The largest scores of `R` rows in the `tiles` of a chunk, at least `f32::MIN`, so that a row
/// without any score has weights of zero. `scores` is `(R, CHUNK)`.
#[inline(always)]
pub(super) fn largest<S: Floats, const R: usize>(
    simd: S,
    scores: &[[f32; CHUNK]],
    tiles: Range<usize>,
) -> [f32; R] {
    let rows: [&[[f32; WIDTH]]; R] =
        from_fn(|r| &scores[r].as_chunks::<WIDTH>().0[tiles.start..tiles.end]);
    let mut most = [simd.splat(f32::MIN); R];
    for tile in 0..tiles.len() {
        for r in 0..R {
            most[r] = simd.max(simd.load(&rows[r][tile]), most[r]);
        }
    }
    let mut all = [0.0; R];
    for r in 0..R {
        all[r] = simd.maximum(most[r]);
    }
    all
}

/// Replaces the scores of a row by their powers of two relative to `most`, and returns the sum of
/// these.
#[inline(always)]
pub(super) fn weights<S: Floats>(simd: S, scores: &mut [[f32; WIDTH]], most: f32) -> f32 {
    let most = simd.splat(most);
    let mut sum = simd.zero();
    for scores in scores {
        let weight = exp2(simd, simd.sub(simd.load(scores), most));
        simd.store(weight, scores);
        sum = simd.add(sum, weight);
    }
    simd.sum(sum)
}
