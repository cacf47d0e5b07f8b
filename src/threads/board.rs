//! The board on which leaders post operations and from which helpers take them.
//!
//! Each pass in progress has a slot. Its whole state is one word, so that joining an operation is
//! one compare-and-exchange:
//!
//! ```text
//! bits 63..17  number of the operation     bit 16  open     bits 15..0  helpers inside
//! ```
//!
//! The leader stores the job, then publishes the word with the next number, `open` set and nobody
//! inside. A helper joins by adding itself while `open` is set, and leaves by subtracting itself.
//! The leader clears `open` and waits until nobody is inside; from then on nobody can look at the
//! job. The number makes sure that a helper joins the operation that it looked at.

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use yareta_kernels::Expected;

use super::place::{self, Place};

/// Passes that can have helpers at the same time. A pass beyond them runs on its leader alone.
const SLOTS: usize = 8;

/// A helper without an operation spins this often before it yields: about five microseconds, the
/// time in which nearly every next operation comes.
const SPINS: u32 = 300;
/// Cache lines that a helper asks for with each spin: as fast as one core reads memory.
const LINES: usize = 5;
/// Bytes that it asks for at most: what stays in the second-level cache until it is read.
const MOST_EXPECTED: usize = 128 << 10;
/// A helper yields for this long, then sleeps between looks: its leader is held up.
const YIELDS: Duration = Duration::from_micros(300);
/// A yield that takes longer gave the processor to somebody else, who may be the leader.
const LONG_YIELD: Duration = Duration::from_micros(200);
/// One such sleep.
const NAP: Duration = Duration::from_micros(50);
/// A helper stays for this long after the last pass, so that the next finds it awake.
const LINGER: Duration = Duration::from_millis(1);

const OPEN: u64 = 1 << 16;
const INSIDE: u64 = OPEN - 1;
const NUMBER_ONE: u64 = 1 << 17;

/// What an operation does, with its lifetime erased. See [`Slot::join`] for why that is sound.
type Job = *const (dyn Fn() + Sync + 'static);

/// The board of one set of threads.
pub(super) struct Board {
    /// Bit `i`: slot `i` belongs to a pass in progress.
    used: AtomicU32,
    /// Helpers that were called and have not gone home.
    alive: AtomicUsize,
    /// Spins before a yield; 0 where threads outnumber cores and spinning keeps the leader waiting.
    spins: u32,
    slots: [Slot; SLOTS],
    /// Where each helper is.
    places: Vec<Place>,
}

impl Board {
    /// A board for so many helpers, who yield at once if they are `crowded`: more than there are
    /// cores.
    pub(super) fn new(helpers: usize, crowded: bool) -> Board {
        Board {
            used: AtomicU32::new(0),
            alive: AtomicUsize::new(0),
            spins: if crowded { 0 } else { SPINS },
            slots: Default::default(),
            places: (0..helpers).map(|_| Place::nowhere()).collect(),
        }
    }

    /// How many helpers to call so that `wanted` are alive; they count as alive from now on.
    pub(super) fn missing(&self, wanted: usize) -> usize {
        // Sequentially consistent with the leader's `used` before it: see `go_home`.
        let before = self.alive.fetch_max(wanted, Ordering::SeqCst);
        wanted.saturating_sub(before)
    }

    /// As [`Board::missing`], without counting them.
    #[cfg(test)]
    pub(super) fn missing_now(&self, wanted: usize) -> usize {
        wanted.saturating_sub(self.alive.load(Ordering::SeqCst))
    }

    /// The life of the helper `number`: joins operations until no pass has come for [`LINGER`].
    pub(super) fn help(&self, number: usize) {
        let mut seen = [0; SLOTS];
        self.settle(number);
        let mut idle = Idle::new(self.spins, Expected::default());
        loop {
            let used = self.used.load(Ordering::Acquire);
            let mut joined = None;
            for (index, slot) in self.slots.iter().enumerate() {
                if used & (1 << index) != 0 {
                    joined = slot.join(&mut seen[index]).or(joined);
                }
            }
            if let Some(expected) = joined {
                idle = Idle::new(self.spins, expected);
            } else if used == 0 && idle.for_longer_than(LINGER) {
                if self.go_home() {
                    if let Some(place) = self.places.get(number) {
                        place.clear();
                    }
                    return;
                }
                idle = Idle::new(self.spins, Expected::default());
            } else if idle.wait() > LONG_YIELD {
                self.settle(number);
            }
        }
    }

    /// Moves the helper `number` away from leaders and other helpers, if it is where one of them
    /// is: there it could only take their time.
    fn settle(&self, number: usize) {
        // Where threads outnumber cores, some must share one.
        if self.spins == 0 {
            return;
        }
        let used = self.used.load(Ordering::Relaxed);
        let slots = self.slots.iter().enumerate();
        let leaders = slots.filter(|(index, _)| used & (1 << index) != 0);
        let leaders = leaders.map(|(_, slot)| &slot.leader);
        let helpers = self.places.iter().enumerate();
        let helpers = helpers.filter(|(index, _)| *index != number);
        place::keep_clear_of(leaders.chain(helpers.map(|(_, place)| place)));
        if let Some(place) = self.places.get(number) {
            place.update();
        }
    }

    /// Signs off, unless a pass has begun meanwhile.
    fn go_home(&self) -> bool {
        self.alive.fetch_sub(1, Ordering::SeqCst);
        // A leader sets `used` and then reads `alive`; this reads them in the other order. One of
        // the two sees the other's write, so a pass that counted on this helper keeps it.
        if self.used.load(Ordering::SeqCst) == 0 {
            return true;
        }
        // A leader that saw the sign-off has called another helper; then there are enough. One
        // too many is harmless, and goes home like the others.
        self.alive.fetch_add(1, Ordering::SeqCst);
        false
    }
}

/// How long a thread has waited, and so in which manner it goes on waiting.
struct Idle {
    spins: u32,
    since: Option<Instant>,
    /// What is asked for with each spin: memory is idle as well.
    expected: Expected,
}

impl Idle {
    fn new(spins: u32, expected: Expected) -> Idle {
        Idle {
            spins,
            since: None,
            expected,
        }
    }

    /// Waits a little: spins at first, yields later, sleeps at last. Says for how long it yielded.
    fn wait(&mut self) -> Duration {
        if self.spins > 0 {
            self.spins -= 1;
            self.expected.ask(LINES);
            std::hint::spin_loop();
        } else if self.for_longer_than(YIELDS) {
            thread::sleep(NAP);
        } else {
            let before = Instant::now();
            thread::yield_now();
            return before.elapsed();
        }
        Duration::ZERO
    }

    fn for_longer_than(&mut self, limit: Duration) -> bool {
        // The clock is read only after the spins, which it would slow down.
        self.spins == 0 && self.since.get_or_insert_with(Instant::now).elapsed() > limit
    }
}

/// The operation of one pass. Alone on its cache lines (two, because they are fetched in pairs).
#[repr(align(128))]
struct Slot {
    state: AtomicU64,
    /// Where the leader was when the pass began.
    leader: Place,
    job: UnsafeCell<Option<Job>>,
    /// What is read after it, where the first helper is expected to begin.
    expected: UnsafeCell<Expected>,
    /// Whether `panic` has something in it.
    panicked: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Default for Slot {
    fn default() -> Slot {
        Slot {
            state: AtomicU64::new(0),
            leader: Place::nowhere(),
            job: UnsafeCell::new(None),
            expected: UnsafeCell::new(Expected::default()),
            panicked: AtomicBool::new(false),
            panic: Mutex::new(None),
        }
    }
}

// SAFETY: `job` and `expected` are the only fields that are not `Sync` by themselves. They are written
// only by the leader that owns the slot, while the slot is closed and empty, and read only by helpers
// inside the open slot; `state` orders the two (see `Pass::share` and `Slot::join`). What `job` points
// to is `Sync`.
#[allow(unsafe_code)]
unsafe impl Sync for Slot {}
// SAFETY: nothing in a slot is tied to a thread; the pointer is used under the rule above only.
#[allow(unsafe_code)]
unsafe impl Send for Slot {}

impl Slot {
    /// Joins the slot's operation, if it is open and not the one `seen` before, and works in it
    /// until nothing is left. If there was one, returns what this thread is expected to read then.
    fn join(&self, seen: &mut u64) -> Option<Expected> {
        let state = self.state.load(Ordering::Acquire);
        let number = state / NUMBER_ONE;
        if state & OPEN == 0 || number == *seen {
            return None;
        }
        // Fails if the operation has ended, or if another helper came first: then look again.
        if self
            .state
            .compare_exchange(state, state + 1, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            return Some(Expected::default());
        }
        *seen = number;
        let expected = match state & INSIDE {
            // SAFETY: as of the job, below.
            #[allow(unsafe_code)]
            0 => unsafe { *self.expected.get() },
            _ => Expected::default(),
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: this thread is counted inside the open operation `number`. The leader wrote
            // the job before it published that number (release, acquired above), and between
            // clearing `open` and returning from `share` — before which neither the job's cell nor
            // the closure it points to changes or ends — it waits until nobody is inside.
            #[allow(unsafe_code)]
            let job = unsafe { (*self.job.get()).map(|job| &*job) };
            if let Some(work) = job {
                work();
            }
        }));
        if let Err(payload) = outcome {
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            if first.is_none() {
                *first = Some(payload);
                self.panicked.store(true, Ordering::Relaxed);
            } else {
                // Dropping a stranger's payload could panic again, and here nobody would catch it.
                std::mem::forget(payload);
            }
        }
        self.state.fetch_sub(1, Ordering::Release);
        Some(expected)
    }
}

/// A pass in progress that has a slot on the board. Only its leader holds it.
pub(super) struct Pass<'a> {
    board: &'a Board,
    index: usize,
    /// A leader posts one operation at a time: this must not be shared between threads.
    not_sync: PhantomData<Cell<()>>,
}

impl<'a> Pass<'a> {
    /// Takes a free slot; `None` if all are taken.
    pub(super) fn open(board: &'a Board) -> Option<Pass<'a>> {
        let mut used = board.used.load(Ordering::Relaxed);
        loop {
            let index = (!used).trailing_zeros() as usize;
            if index >= SLOTS {
                return None;
            }
            // Acquires what the slot's last owner left in it; the order with `alive` matters too,
            // see `Board::go_home`.
            match board.used.compare_exchange_weak(
                used,
                used | (1 << index),
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    board.slots[index].leader.update();
                    return Some(Pass {
                        board,
                        index,
                        not_sync: PhantomData,
                    });
                }
                Err(now) => used = now,
            }
        }
    }

    /// Runs `work` here and on every helper that joins; returns when all have returned. The first that
    /// joins then asks for the beginning of `next` while it waits.
    pub(super) fn share(&self, work: &(dyn Fn() + Sync), next: &[u8]) {
        let slot = &self.board.slots[self.index];
        // SAFETY: only the lifetime changes. The pointer is followed only by helpers inside the
        // operation opened below, and `closing`, dropped before this function returns or unwinds,
        // waits until none is.
        #[allow(unsafe_code)]
        let job = unsafe { std::mem::transmute::<*const (dyn Fn() + Sync + '_), Job>(work) };
        // SAFETY: the slot is closed and nobody is inside (its state after every `share`, and at
        // first), so no helper reads the cells; this thread owns the slot, so no leader writes them.
        #[allow(unsafe_code)]
        unsafe {
            *slot.job.get() = Some(job);
            *slot.expected.get() = Expected::beginning(next, MOST_EXPECTED);
        }
        // Only helpers that are inside an open operation change the state, and there are none.
        let number = slot.state.load(Ordering::Relaxed) / NUMBER_ONE + 1;
        slot.state
            .store((number * NUMBER_ONE) | OPEN, Ordering::Release);
        let closing = Closing {
            slot,
            spins: self.board.spins,
        };
        work();
        drop(closing);
        if slot.panicked.load(Ordering::Relaxed) {
            slot.panicked.store(false, Ordering::Relaxed);
            let payload = slot
                .panic
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            if let Some(payload) = payload {
                resume_unwind(payload);
            }
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let slot = &self.board.slots[self.index];
        // Left over only if the leader panicked as well: the slot's next owner must not see it.
        if slot.panicked.swap(false, Ordering::Relaxed) {
            let payload = slot
                .panic
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            std::mem::forget(payload);
        }
        self.board
            .used
            .fetch_and(!(1 << self.index), Ordering::SeqCst);
    }
}

/// Ends the slot's operation when dropped, so that a panic of the leader ends it as well.
struct Closing<'a> {
    slot: &'a Slot,
    spins: u32,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let state = &self.slot.state;
        let mut now = state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = self.spins;
        while now & INSIDE != 0 {
            if spins > 0 {
                spins -= 1;
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
            // Acquires what the helpers did before they left.
            now = state.load(Ordering::Acquire);
        }
    }
}
