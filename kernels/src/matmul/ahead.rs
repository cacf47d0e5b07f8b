//! What tiles ask the memory for: the weights that are unpacked next.

use crate::aligned::LINE;
use crate::isa::Lanes;

/// Lines of rows to ask for at a time where the first-level cache has room for them, at least: few times,
/// so that they can be the last ones before the rows are unpacked.
const LATE_SHARE: usize = 8;

/// Weights to be brought near while others are multiplied, a share at a time: all at once they would
/// be more than there are buffers for what is missing, and the processor drops what does not fit.
pub(super) struct Ahead {
    /// The next line, and the end of the bytes it belongs to.
    next: *const u8,
    end: *const u8,
    /// As many bytes as from `next` to `end` at first, `stride` bytes apart, to be asked for then.
    pieces: usize,
    stride: usize,
    bytes: usize,
    /// From a line to another that is asked for with it, if there is one.
    further: Option<usize>,
    /// Lines to ask for at a time.
    share: usize,
    /// Times when nothing is asked for, before any others.
    wait: usize,
    /// Whether they are to come into the first-level cache, not the second.
    near: bool,
}

impl Ahead {
    /// Will ask, in `times` times, for `bytes` bytes of each of `rows` rows, `stride` bytes apart, the
    /// first at `base`: where the first-level cache has room (`near`) as late as can be, as what is there
    /// early is gone again, and so is much of what was asked for into the second.
    #[inline(always)]
    pub(super) fn of_rows(
        base: *const u8,
        (rows, stride): (usize, usize),
        bytes: usize,
        (times, near): (usize, bool),
    ) -> Ahead {
        let lines = rows * (bytes.div_ceil(LINE) + 1);
        let share = lines.div_ceil(times);
        let (share, wait) = match near {
            true => {
                let share = share.max(LATE_SHARE);
                (share, times.saturating_sub(lines.div_ceil(share)))
            }
            false => (share, 0),
        };
        Ahead {
            next: line_of(base),
            end: base.wrapping_add(bytes),
            pieces: rows - 1,
            stride,
            bytes,
            further: None,
            share,
            wait,
            near,
        }
    }

    /// Will ask, in `times` times, for `bytes` bytes at each of two places.
    #[inline(always)]
    pub(super) fn of_both([first, second]: [*const u8; 2], bytes: usize, times: usize) -> Ahead {
        Ahead {
            next: line_of(first),
            end: first.wrapping_add(bytes),
            pieces: 0,
            stride: 0,
            bytes,
            further: Some(second.addr().wrapping_sub(first.addr())),
            share: bytes.div_ceil(LINE).div_ceil(times),
            wait: 0,
            near: false,
        }
    }

    /// Asks for the next share.
    #[inline(always)]
    pub(super) fn ask<S: Lanes>(&mut self, simd: S) {
        if self.wait > 0 {
            self.wait -= 1;
            return;
        }
        // In variables of its own: a request is not known to leave memory as it is.
        let (mut next, mut end, mut pieces) = (self.next, self.end, self.pieces);
        let (further, near) = (self.further, self.near);
        for _ in 0..self.share {
            if next >= end {
                if pieces == 0 {
                    break;
                }
                pieces -= 1;
                let start = end.wrapping_sub(self.bytes).wrapping_add(self.stride);
                next = line_of(start);
                end = start.wrapping_add(self.bytes);
            }
            if let Some(further) = further {
                simd.prefetch(next.wrapping_add(further));
            }
            match near {
                true => simd.prefetch_near(next.cast()),
                false => simd.prefetch(next),
            }
            next = next.wrapping_add(LINE);
        }
        (self.next, self.end, self.pieces) = (next, end, pieces);
    }
}

/// The beginning of the cache line that `at` lies in.
#[inline(always)]
fn line_of(at: *const u8) -> *const u8 {
    at.wrapping_sub(at.addr() % LINE)
}
