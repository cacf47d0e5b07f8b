//! On which processor a thread runs, and how to get away from one.
//!
//! A system may wake a thread on the very processor that woke it and leave it there, although
//! others are idle: in virtual machines this goes on for hundreds of milliseconds, in which two
//! threads have the speed of one. Not: pinning. A thread that was moved is as free as before.

use std::sync::atomic::{AtomicU32, Ordering};

/// Where a thread was last seen.
#[derive(Debug)]
pub(super) struct Place(AtomicU32);

/// The place of a thread that is not there.
const NOWHERE: u32 = u32::MAX;

impl Place {
    /// Of no thread yet.
    pub(super) const fn nowhere() -> Place {
        Place(AtomicU32::new(NOWHERE))
    }

    /// The calling thread is where it is.
    pub(super) fn update(&self) {
        self.0
            .store(current().unwrap_or(NOWHERE), Ordering::Relaxed);
    }

    /// The thread is gone.
    pub(super) fn clear(&self) {
        self.0.store(NOWHERE, Ordering::Relaxed);
    }

    /// The processor, if it is known. It is a hint: the thread may have moved on.
    fn get(&self) -> Option<u32> {
        let processor = self.0.load(Ordering::Relaxed);
        (processor != NOWHERE).then_some(processor)
    }
}

/// Moves the calling thread to a processor where none of the `others` is, if one of them is where
/// it is and there is such a processor.
pub(super) fn keep_clear_of<'a>(others: impl Iterator<Item = &'a Place> + Clone) {
    let taken = others.filter_map(Place::get);
    if let Some(mine) = current()
        && taken.clone().any(|processor| processor == mine)
    {
        leave(taken);
    }
}

/// The processor that the calling thread is on; `None` where the system does not say.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn current() -> Option<u32> {
    u32::try_from(rustix::thread::sched_getcpu()).ok()
}

/// Moves the calling thread to another processor than these, of those that it may use.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn leave(taken: impl Iterator<Item = u32>) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let Ok(allowed) = sched_getaffinity(None) else {
        return;
    };
    let mut free = allowed;
    for processor in taken.filter(|processor| (*processor as usize) < CpuSet::MAX_CPU) {
        free.unset(processor as usize);
    }
    // A thread that is not allowed where it is moves at once; it need not move back when it is
    // allowed there again. What is refused changes nothing.
    if free.count() > 0 && sched_setaffinity(None, &free).is_ok() {
        let _ = sched_setaffinity(None, &allowed);
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn current() -> Option<u32> {
    None
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn leave(_taken: impl Iterator<Item = u32>) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use rustix::thread::{CpuSet, sched_getaffinity};

    fn allowed() -> Vec<usize> {
        let set = sched_getaffinity(None).unwrap();
        (0..CpuSet::MAX_CPU).filter(|i| set.is_set(*i)).collect()
    }

    #[test]
    fn a_thread_moves_and_stays_free() {
        let before = allowed();
        // The system may move it back at any moment, but hardly every time.
        let moves = || {
            let place = Place::nowhere();
            place.update();
            keep_clear_of([&place].into_iter());
            current() != place.get()
        };
        if before.len() > 1 {
            assert!((0..1000).any(|_| moves()));
        }
        assert_eq!(allowed(), before);
    }

    #[test]
    fn a_thread_stays_where_there_is_nowhere_to_go() {
        let before = allowed();
        let everywhere: Vec<Place> = (0..CpuSet::MAX_CPU as u32)
            .chain([5000])
            .map(|processor| Place(AtomicU32::new(processor)))
            .collect();
        keep_clear_of(everywhere.iter());
        keep_clear_of([].into_iter());
        keep_clear_of([&Place::nowhere()].into_iter());
        assert_eq!(allowed(), before);
    }
}
