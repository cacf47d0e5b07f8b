//! What jobs are made of: claiming pieces of work by any number of threads at once, and an output
//! that they fill together.
//!
//! Which pieces there are and what is done with them is each job's own business; so is the order
//! of its arithmetic, which must not depend on who claims what.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

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

/// Hands out the numbers `0..count` in ranges, each number once, so that every thread goes on where it
/// left off: memory that is read in order is read faster, and beginning elsewhere costs about as much
/// as reading 30 KB. The first thread owns all numbers; the second takes those from the middle on, and
/// one that has none left the upper half of what the one with the most has not claimed. An owner claims
/// an eighth of what it has left at a time, within limits, so that threads finish together.
pub(crate) struct Ranges {
    /// What each owner has left: the first unit in the lower half, the end in the upper one.
    owners: [AtomicU64; OWNERS],
    /// Threads so far.
    joined: AtomicUsize,
    count: usize,
    /// Numbers in a unit, of which ranges are made.
    unit: usize,
    /// The most units of a range.
    most: u32,
}

/// Threads that can own numbers. More of them claim a short range at a time of what others own.
const OWNERS: usize = 64;

impl Ranges {
    /// Ranges are between `limits` long, except the last, and multiples of the shorter limit.
    pub(crate) fn new(count: usize, limits: (usize, usize)) -> Ranges {
        let (least, most) = limits;
        debug_assert!(least > 0 && least <= most);
        let (unit, units) = units(count, least);
        let owners = [const { AtomicU64::new(0) }; OWNERS];
        owners[0].store(packed(0, units), Ordering::Relaxed);
        Ranges {
            owners,
            joined: AtomicUsize::new(0),
            count,
            unit,
            most: u32::try_from(most / unit).unwrap_or(u32::MAX).max(1),
        }
    }

    /// The number that the second thread begins with, if the first has not come so far, of ranges at
    /// least `least` long.
    pub(crate) fn middle(count: usize, least: usize) -> usize {
        let (unit, units) = units(count, least);
        units as usize / 2 * unit
    }

    /// The claims of one more thread.
    #[inline(always)]
    pub(crate) fn join(&self) -> Owner<'_> {
        Owner {
            ranges: self,
            number: self.joined.fetch_add(1, Ordering::Relaxed),
        }
    }
}

/// The claims of one thread.
pub(crate) struct Owner<'r> {
    ranges: &'r Ranges,
    number: usize,
}

impl Owner<'_> {
    /// How many threads came before this one.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    /// Numbers that nobody has claimed: the next of this thread, or some of another; `None` when there
    /// are none.
    #[inline(always)]
    pub(crate) fn claim(&self) -> Option<Range<usize>> {
        let Ranges {
            owners,
            count,
            unit,
            most,
            ..
        } = self.ranges;
        let units = match owners.get(self.number) {
            Some(own) => loop {
                match claim_first(own, *most) {
                    Some(units) => break units,
                    None => {
                        // Nobody else writes to what is empty.
                        let (start, end) = self.steal(u32::MAX)?;
                        own.store(packed(start, end), Ordering::Relaxed);
                    }
                }
            },
            None => {
                let (start, end) = self.steal(1)?;
                start..end
            }
        };
        Some(units.start as usize * unit..(units.end as usize * unit).min(*count))
    }

    /// Takes the upper half of what the owner with the most has left, one unit at least and `most` at
    /// most; the second thread all from the middle on, if it is among that. What moves meanwhile from one
    /// owner to another is its new owner's to do.
    #[inline(always)]
    fn steal(&self, most: u32) -> Option<(u32, u32)> {
        let joined = self.ranges.joined.load(Ordering::Relaxed).min(OWNERS);
        let half = units(self.ranges.count, self.ranges.unit).1 / 2;
        loop {
            let owners = self.ranges.owners[..joined].iter();
            let owners = owners.map(|owner| (owner, owner.load(Ordering::Relaxed)));
            let (owner, left) = owners.max_by_key(|&(_, left)| {
                let (start, end) = unpacked(left);
                end - start
            })?;
            let (start, end) = unpacked(left);
            if start == end {
                return None;
            }
            let middle = match self.number == 1 && (start..end).contains(&half) {
                // Where it is expected to begin.
                true => half,
                false => end - ((end - start) / 2).clamp(1, most),
            };
            let kept = packed(start, middle);
            if owner
                .compare_exchange(left, kept, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                return Some((middle, end));
            }
        }
    }
}

/// Numbers in a unit, and how many units `count` numbers are.
fn units(count: usize, least: usize) -> (usize, u32) {
    // More units than fit are made fewer: of no matrix that a file can hold.
    let unit = least.max(count.div_ceil(u32::MAX as usize));
    (unit, count.div_ceil(unit) as u32)
}

/// Claims the first of what an owner has left.
#[inline(always)]
fn claim_first(own: &AtomicU64, most: u32) -> Option<Range<u32>> {
    let mut left = own.load(Ordering::Relaxed);
    loop {
        let (start, end) = unpacked(left);
        if start == end {
            return None;
        }
        let middle = start + ((end - start) / 8).clamp(1, most);
        let kept = packed(middle, end);
        match own.compare_exchange_weak(left, kept, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Some(start..middle),
            Err(now) => left = now,
        }
    }
}

#[inline(always)]
fn packed(start: u32, end: u32) -> u64 {
    u64::from(start) | u64::from(end) << 32
}

#[inline(always)]
fn unpacked(range: u64) -> (u32, u32) {
    (range as u32, (range >> 32) as u32)
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
    fn one_thread_claims_everything_in_order() {
        for (count, limits) in [
            (0, (1, 1)),
            (5, (16, 64)),
            (1000, (16, 100)),
            (7777, (16, 4096)),
        ] {
            let ranges = Ranges::new(count, limits);
            let owner = ranges.join();
            let (mut next, mut longest) = (0, limits.1);
            while let Some(range) = owner.claim() {
                assert_eq!(range.start, next);
                assert!(!range.is_empty() && range.len() <= longest);
                assert!(range.len().is_multiple_of(limits.0) || range.end == count);
                (next, longest) = (range.end, range.len());
            }
            assert_eq!(next, count);
        }
    }

    #[test]
    fn threads_that_take_turns_seldom_begin_elsewhere() {
        let ranges = Ranges::new(64_000, (64, 1024));
        let owners = [ranges.join(), ranges.join()];
        let mut claimed = vec![false; 64_000];
        let mut at = [0; 2];
        let mut jumps = 0;
        let mut turn = 0;
        while let Some(range) = owners[turn % 2].claim() {
            jumps += usize::from(range.start != at[turn % 2]);
            at[turn % 2] = range.end;
            for number in range {
                assert!(!claimed[number]);
                claimed[number] = true;
            }
            turn += 1;
        }
        assert!(claimed.iter().all(|&claimed| claimed));
        // Once for the second thread, and when one is done with its half.
        assert!(turn > 60 && jumps <= 6, "{jumps} of {turn}");
    }

    #[test]
    fn the_second_thread_begins_in_the_middle() {
        for (count, limits) in [(1000, (16, 100)), (7777, (16, 4096)), (40, (16, 16))] {
            let ranges = Ranges::new(count, limits);
            let owners = [ranges.join(), ranges.join()];
            // The first claims the next range while it works on one.
            assert!(owners[0].claim().is_some());
            let middle = Ranges::middle(count, limits.0);
            let claimed = owners[1].claim().expect("half of them");
            assert_eq!(claimed.start, middle, "of {count}");
        }
    }

    #[test]
    fn any_number_of_threads_claims_every_number_once() {
        for threads in [2, 3, OWNERS + 6] {
            let ranges = Ranges::new(20_003, (16, 100));
            let mut counts = vec![0u8; 20_003];
            let shared = SharedOutput::new(&mut counts);
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(|| {
                        let owner = ranges.join();
                        while let Some(range) = owner.claim() {
                            // SAFETY: no number is in two ranges, or the test fails.
                            #[allow(unsafe_code)]
                            let piece = unsafe { shared.piece(range) };
                            piece.iter_mut().for_each(|count| *count += 1);
                        }
                    });
                }
            });
            assert!(ranges.join().claim().is_none());
            assert!(counts.iter().all(|&count| count == 1));
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
