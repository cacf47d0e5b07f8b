//! Threads that share the work of a forward pass.
//!
//! A pass is sequential code on the calling thread, the *leader*, with a few dozen short
//! operations per layer of which some are worth sharing. A fork and a join for each would cost a
//! small model more than its arithmetic does, so helpers are called once: they stay with the
//! leader, watching for operations, for as long as passes follow each other, and go back to the
//! pool when none has come for a millisecond.
//!
//! The leader never waits for a helper that has not begun: an operation is finished when the
//! leader has found nothing left to claim and every helper that joined it has left it. Busy
//! pools, more threads than cores and several sessions at once therefore cost speed at worst,
//! and cannot block. What an operation computes must not depend on who claims what; that is the
//! contract of the jobs, not of this module.

mod board;
mod place;
mod topology;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::{Error, Result};
use board::{Board, Pass};

/// More threads than this are refused: it is beyond every machine this runs on.
const MOST_THREADS: usize = 1024;

/// Items that [`Team::for_each`] hands to a thread at once, at most: threads that take one each time
/// spend as long waiting for each other as a short row takes.
const FOR_EACH_MOST: usize = 8;

/// Times that it hands out items, at least.
const FOR_EACH_CLAIMS: usize = 32;

/// The threads that models and sessions compute with. Clones share the same threads, and any
/// number of sessions may use them at the same time.
#[derive(Clone)]
pub struct Threads {
    inner: Arc<Inner>,
}

struct Inner {
    /// The calling thread and the helpers.
    count: usize,
    helpers: Option<Helpers>,
}

/// Where helpers come from and where they look for work.
struct Helpers {
    pool: Arc<ThreadPool>,
    board: Arc<Board>,
}

impl Threads {
    /// `count` threads, the calling thread being one of them: `count - 1` are created.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if `count` is 0 or above 1024, or if the system refuses to create
    /// the threads.
    pub fn new(count: usize) -> Result<Threads> {
        if count == 0 || count > MOST_THREADS {
            return Err(invalid(format!(
                "must be 1 to {MOST_THREADS}, found {count}"
            )));
        }
        if count == 1 {
            return Ok(Threads::shared(1, None));
        }
        let pool = ThreadPoolBuilder::new()
            .num_threads(count - 1)
            .thread_name(|index| format!("yareta-{}", index + 1))
            .build()
            .map_err(|error| invalid(format!("cannot create {} threads: {error}", count - 1)))?;
        Ok(Threads::shared(count, Some(Arc::new(pool))))
    }

    /// One thread for each physical performance core that this process may use: second hardware
    /// threads of a core and efficiency cores add contention rather than speed.
    ///
    /// # Errors
    ///
    /// As [`Threads::new`].
    pub fn physical() -> Result<Threads> {
        Threads::new(topology::performance_cores().min(MOST_THREADS))
    }

    /// The caller's own pool: the calling thread and all but one of the pool's threads compute.
    /// A pass may be started from inside the pool or from outside.
    pub fn from_pool(pool: Arc<ThreadPool>) -> Threads {
        let count = pool.current_num_threads().clamp(1, MOST_THREADS);
        Threads::shared(count, (count > 1).then_some(pool))
    }

    /// How many threads compute, the calling one included.
    pub fn count(&self) -> usize {
        self.inner.count
    }

    fn shared(count: usize, pool: Option<Arc<ThreadPool>>) -> Threads {
        let helpers = pool.map(|pool| Helpers {
            board: Arc::new(Board::new(
                pool.current_num_threads(),
                count > topology::usable_cores(),
            )),
            pool,
        });
        Threads {
            inner: Arc::new(Inner { count, helpers }),
        }
    }

    /// Runs one forward pass: `pass` gets the team that shares its operations.
    pub(crate) fn enter<R>(&self, pass: impl FnOnce(&Team) -> R) -> R {
        let Some(Helpers { pool, board }) = &self.inner.helpers else {
            return pass(&Team { pass: None });
        };
        let opened = Pass::open(board);
        if opened.is_some() {
            for _ in 0..board.missing(self.inner.count - 1) {
                let board = Arc::clone(board);
                pool.spawn(move || board.help(rayon::current_thread_index().unwrap_or(0)));
            }
        }
        pass(&Team { pass: opened })
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

fn invalid(reason: String) -> Error {
    Error::InvalidOption {
        option: "threads",
        reason,
    }
}

/// The threads of one pass: what the leader shares operations with.
pub(crate) struct Team<'a> {
    /// `None` when the leader is alone.
    pass: Option<Pass<'a>>,
}

impl Team<'_> {
    /// Calls `work` on the leader and on every helper that comes before the leader is done.
    /// Returns when all of them have returned. A panic of any of them is raised here.
    pub(crate) fn run(&self, work: &(dyn Fn() + Sync)) {
        self.run_before(work, &[]);
    }

    /// As [`Team::run`]; a helper that waits then asks for what it will read, the beginning of `next`.
    pub(crate) fn run_before(&self, work: &(dyn Fn() + Sync), next: &[u8]) {
        match &self.pass {
            None => work(),
            Some(pass) => pass.share(work, next),
        }
    }

    /// Calls `each` once for every item, on whichever thread claims it.
    pub(crate) fn for_each<I>(&self, items: I, each: impl Fn(I::Item) + Sync)
    where
        I: ExactSizeIterator + Send,
    {
        if self.pass.is_none() || items.len() < 2 {
            return items.for_each(each);
        }
        // Several at a time, unless they are so few that threads would end at different times.
        let at_once = (items.len() / FOR_EACH_CLAIMS).clamp(1, FOR_EACH_MOST);
        let items = Mutex::new(items);
        self.run(&|| {
            loop {
                let mut claimed = [const { None }; FOR_EACH_MOST];
                let mut items = items.lock().unwrap_or_else(PoisonError::into_inner);
                claimed[..at_once].fill_with(|| items.next());
                drop(items);
                if claimed[0].is_none() {
                    break;
                }
                claimed.into_iter().flatten().for_each(&each);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    /// A job of `len` chunks as the kernels have them: claimed by counter, each written once.
    struct Chunks {
        next: AtomicUsize,
        done: Vec<AtomicUsize>,
    }

    impl Chunks {
        fn new(len: usize) -> Chunks {
            Chunks {
                next: AtomicUsize::new(0),
                done: (0..len).map(|_| AtomicUsize::new(0)).collect(),
            }
        }

        fn work(&self) {
            loop {
                let chunk = self.next.fetch_add(1, Ordering::Relaxed);
                match self.done.get(chunk) {
                    Some(done) => done.fetch_add(chunk + 1, Ordering::Relaxed),
                    None => break,
                };
            }
        }

        /// Every chunk was done exactly once, and its effect is visible to the leader.
        fn check(&self) {
            for (chunk, done) in self.done.iter().enumerate() {
                assert_eq!(done.load(Ordering::Relaxed), chunk + 1);
            }
        }
    }

    fn pass(threads: &Threads, operations: usize) {
        threads.enter(|team| {
            for operation in 0..operations {
                let chunks = Chunks::new(operation % 7);
                team.run(&|| chunks.work());
                chunks.check();
            }
        });
    }

    #[test]
    fn counts_are_checked() {
        for count in [0, MOST_THREADS + 1, usize::MAX] {
            assert!(matches!(
                Threads::new(count),
                Err(Error::InvalidOption {
                    option: "threads",
                    ..
                })
            ));
        }
        assert_eq!(Threads::new(3).unwrap().count(), 3);
        assert!(Threads::physical().unwrap().count() >= 1);
    }

    #[test]
    fn every_chunk_is_done_once_before_run_returns() {
        for count in [1, 2, 3, 8] {
            let threads = Threads::new(count).unwrap();
            for _ in 0..20 {
                pass(&threads, 500);
            }
        }
    }

    #[test]
    fn helpers_really_help() {
        let threads = Threads::new(2).unwrap();
        let leader = std::thread::current().id();
        let helped = AtomicUsize::new(0);
        let deadline = Instant::now() + Duration::from_secs(20);
        threads.enter(|team| {
            while helped.load(Ordering::Relaxed) == 0 {
                assert!(Instant::now() < deadline, "no helper came in 20 seconds");
                team.run(&|| {
                    if std::thread::current().id() == leader {
                        std::thread::yield_now();
                    } else {
                        helped.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
    }

    #[test]
    fn for_each_visits_each_item_once() {
        for count in [1, 3] {
            let threads = Threads::new(count).unwrap();
            let mut values = vec![0_u32; 1000];
            threads.enter(|team| {
                team.for_each(values.chunks_mut(7).enumerate(), |(index, chunk)| {
                    chunk.iter_mut().for_each(|value| *value += index as u32);
                });
            });
            assert!((0..1000).all(|i| values[i] == i as u32 / 7));
        }
    }

    #[test]
    fn a_panic_reaches_the_leader_and_the_threads_live_on() {
        let threads = Threads::new(3).unwrap();
        let leader = std::thread::current().id();
        for leader_panics in [true, false, true] {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                threads.enter(|team| {
                    // Repeated, because a helper may come late: then nobody panics yet.
                    for _ in 0..1_000_000 {
                        team.run(&|| {
                            if (std::thread::current().id() == leader) == leader_panics {
                                panic!("expected by the test");
                            }
                            std::thread::yield_now();
                        });
                    }
                });
            }));
            let message = caught.unwrap_err();
            assert_eq!(message.downcast_ref(), Some(&"expected by the test"));
            pass(&threads, 100);
        }
    }

    #[test]
    fn passes_of_several_sessions_run_at_once() {
        let threads = Threads::new(3).unwrap();
        std::thread::scope(|scope| {
            // More than the board has places for.
            for _ in 0..12 {
                scope.spawn(|| (0..20).for_each(|_| pass(&threads, 100)));
            }
        });
    }

    #[test]
    fn a_callers_pool_can_lead_and_help() {
        let pool = Arc::new(ThreadPoolBuilder::new().num_threads(3).build().unwrap());
        let threads = Threads::from_pool(Arc::clone(&pool));
        assert_eq!(threads.count(), 3);
        pass(&threads, 200);
        // Every thread of the pool leads a pass: none is left to help, and none waits for another.
        pool.broadcast(|_| (0..10).for_each(|_| pass(&threads, 100)));
        pool.install(|| rayon::join(|| pass(&threads, 100), || pass(&threads, 100)));
        // The pool is busy with something else all the while.
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        for _ in 0..3 {
            let wait = Arc::clone(&wait);
            pool.spawn(move || {
                let _ = wait.lock().map(|wait| wait.recv());
            });
        }
        pass(&threads, 200);
        drop(release);
    }

    #[test]
    fn more_threads_than_cores_do_not_collapse() {
        let time = |count: usize| {
            let threads = Threads::new(count).unwrap();
            pass(&threads, 2000);
            let start = Instant::now();
            pass(&threads, 5000);
            start.elapsed()
        };
        // Measured on two idle cores: 5 ms with 8 threads. A thread that spins through its time
        // slice while another has the work would cost milliseconds per operation: over 10 s.
        assert!(time(8) < Duration::from_secs(5));
    }

    #[test]
    fn helpers_go_home() {
        let threads = Threads::new(2).unwrap();
        let Some(Helpers { board, .. }) = &threads.inner.helpers else {
            panic!("two threads have a board");
        };
        let board = Arc::clone(board);
        pass(&threads, 100);
        let deadline = Instant::now() + Duration::from_secs(20);
        while board.missing_now(1) == 0 {
            assert!(Instant::now() < deadline, "a helper lingers for 20 seconds");
            std::thread::sleep(Duration::from_millis(1));
        }
        pass(&threads, 100);
    }
}
