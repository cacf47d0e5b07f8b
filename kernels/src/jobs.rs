//! What jobs are made of: claiming pieces of work by any number of threads at once, and an output
//! that they fill together.
//!
//! Which pieces there are and what is done with them is each job's own business; so is the order
//! of its arithmetic, which must not depend on who claims what.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Hands out the numbers `0..count`, each once.
pub(crate) struct Claims {
    next: AtomicUsize,
    count: usize,
}

impl Claims {
    /// None is claimed yet.
    pub(crate) fn new(count: usize) -> Claims {
        Claims {
            next: AtomicUsize::new(0),
            count,
        }
    }

    /// How many numbers there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The lowest number that nobody has claimed; `None` when all are.
    #[inline(always)]
    pub(crate) fn claim(&self) -> Option<usize> {
        // A claim beyond the end counts too, but a thread stops at its first such claim, so the
        // counter passes `count` by no more than the number of calls of `work`.
        let claimed = self.next.fetch_add(1, Ordering::Relaxed);
        (claimed < self.count).then_some(claimed)
    }
}

/// Hands out the numbers `0..count` in ranges, each number once: a sixteenth of what is left at a
/// time, within limits. Work in order is served by long ranges, and finishing together by short
/// ones.
pub(crate) struct Ranges {
    next: AtomicUsize,
    count: usize,
    /// The shortest and the longest range.
    limits: (usize, usize),
}

impl Ranges {
    /// Ranges are between `limits` long, except the last, and multiples of the shorter limit.
    pub(crate) fn new(count: usize, limits: (usize, usize)) -> Ranges {
        debug_assert!(limits.0 > 0 && limits.0 <= limits.1);
        Ranges {
            next: AtomicUsize::new(0),
            count,
            limits,
        }
    }

    /// The lowest numbers that nobody has claimed; `None` when all are.
    #[inline(always)]
    pub(crate) fn claim(&self) -> Option<Range<usize>> {
        let mut start = self.next.load(Ordering::Relaxed);
        while start < self.count {
            let left = self.count - start;
            let (least, most) = self.limits;
            let len = (left / 16).clamp(least, most) / least * least;
            let end = start + len.min(left);
            let exchange =
                self.next
                    .compare_exchange_weak(start, end, Ordering::Relaxed, Ordering::Relaxed);
            match exchange {
                Ok(_) => return Some(start..end),
                Err(now) => start = now,
            }
        }
        None
    }
}

/// A mutable slice of which several threads fill disjoint pieces at once.
pub(crate) struct SharedOutput<'a, T> {
    start: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: a `SharedOutput` gives nothing but `&mut` to elements, which `piece` obliges its caller
// to keep disjoint; sending those between threads needs `T: Send` and nothing more.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for SharedOutput<'_, T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for SharedOutput<'_, T> {}

impl<'a, T> SharedOutput<'a, T> {
    /// Takes the slice for as long as the output is shared.
    pub(crate) fn new(slice: &'a mut [T]) -> SharedOutput<'a, T> {
        SharedOutput {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            borrow: PhantomData,
        }
    }

    /// Where it begins, to ask for its memory.
    pub(crate) fn address(&self) -> *const T {
        self.start
    }

    /// Its length.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The elements of `range`, which must lie within the slice.
    ///
    /// # Safety
    ///
    /// While the piece lives, no other piece that overlaps it does. (Pieces made from the numbers
    /// of one [`Claims`] so that different numbers give disjoint pieces fulfil it.)
    #[allow(unsafe_code, clippy::mut_from_ref)]
    #[inline(always)]
    pub(crate) unsafe fn piece(&self, range: Range<usize>) -> &mut [T] {
        assert!(
            range.start <= range.end && range.end <= self.len,
            "a piece outside of the output"
        );
        // SAFETY: the range lies within the slice, which is borrowed mutably for `'a` and so is
        // reached through this value alone; that pieces do not overlap is the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_claimed_once_by_any_number_of_threads() {
        let claims = Claims::new(1000);
        let mut counts = vec![0u8; 1000];
        let shared = SharedOutput::new(&mut counts);
        std::thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| {
                    while let Some(i) = claims.claim() {
                        // SAFETY: `i` is claimed once, and its piece is the element `i` alone.
                        #[allow(unsafe_code)]
                        let piece = unsafe { shared.piece(i..i + 1) };
                        piece[0] += 1;
                    }
                });
            }
        });
        assert_eq!(claims.claim(), None);
        assert_eq!(counts, [1; 1000]);
    }

    #[test]
    fn ranges_cover_every_number_once_and_become_shorter() {
        for (count, limits) in [
            (0, (1, 1)),
            (5, (16, 64)),
            (1000, (16, 100)),
            (7777, (16, 4096)),
        ] {
            let ranges = Ranges::new(count, limits);
            let (mut next, mut longest) = (0, limits.1);
            while let Some(range) = ranges.claim() {
                assert_eq!(range.start, next);
                assert!(!range.is_empty() && range.len() <= longest);
                assert!(range.len().is_multiple_of(limits.0) || range.end == count);
                (next, longest) = (range.end, range.len());
            }
            assert_eq!(next, count);
        }
    }

    #[test]
    #[should_panic(expected = "outside of the output")]
    fn a_piece_outside_of_the_output_is_refused() {
        let mut output = [0u8; 4];
        let shared = SharedOutput::new(&mut output);
        // SAFETY: no other piece lives.
        #[allow(unsafe_code)]
        let _ = unsafe { shared.piece(2..5) };
    }
}
