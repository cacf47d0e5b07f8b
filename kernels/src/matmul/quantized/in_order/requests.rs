//! What is asked for ahead while rows are read in the order of the file: one stream, in which what is
//! read next follows what is read now wherever it lies.

use crate::aligned::LINE;
use crate::isa::Lanes;

/// Runs of consecutive bytes, in the order in which they will be read, all of one length.
pub(super) struct Runs {
    /// Where those begin that are read now, and how many they are.
    pub(super) now: (*const u8, usize),
    /// Where those begin that are read then.
    pub(super) then: *const u8,
    /// Bytes of a run.
    pub(super) length: usize,
    /// Bytes from run to run.
    pub(super) stride: usize,
}

impl Runs {
    /// Where a run begins.
    #[inline(always)]
    fn start(&self, run: usize) -> *const u8 {
        match run.checked_sub(self.now.1) {
            None => self.now.0.wrapping_add(run * self.stride),
            Some(run) => self.then.wrapping_add(run * self.stride),
        }
    }
}

/// What of some runs has been asked for.
pub(super) struct Requests {
    runs: Runs,
    /// What is to be asked for next, and where its run ends.
    at: *const u8,
    end: *const u8,
    /// The number of the run behind that.
    next: usize,
}

impl Requests {
    /// All before byte `ahead` has been asked for.
    #[inline(always)]
    pub(super) fn new(runs: Runs, ahead: usize) -> Self {
        let at = runs.now.0;
        let mut requests = Requests {
            at,
            end: at.wrapping_add(runs.length),
            next: 1,
            runs,
        };
        requests.skip(ahead);
        requests
    }

    /// Goes on behind so many bytes.
    #[inline(always)]
    fn skip(&mut self, bytes: usize) {
        self.at = self.at.wrapping_add(bytes);
        while self.at >= self.end {
            let beyond = self.at.addr() - self.end.addr();
            let start = self.runs.start(self.next);
            self.next += 1;
            self.at = start.wrapping_add(beyond);
            self.end = start.wrapping_add(self.runs.length);
        }
    }

    /// The next lines, which are to be asked for; those of the end of a run may lie behind it.
    #[inline(always)]
    pub(super) fn take(&mut self, count: usize) -> Lines {
        let lines = Lines { at: self.at, count };
        self.skip(count * LINE);
        lines
    }
}

/// Consecutive lines, which are asked for in eight shares.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    at: *const u8,
    count: usize,
}

impl Lines {
    /// Asks for those of share `number`.
    #[inline(always)]
    pub(super) fn ask<S: Lanes>(self, simd: S, number: usize) {
        for line in self.count * number / 8..self.count * (number + 1) / 8 {
            simd.prefetch_near(self.at.wrapping_add(line * LINE));
        }
    }
}
