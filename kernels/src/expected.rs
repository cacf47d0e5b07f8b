//! Asking for memory that will be read soon, by a thread that has nothing else to do.
//!
//! Kernels ask for what they read next themselves; this is for the time between two jobs.

use crate::aligned::LINE;
use crate::isa::prefetch;
use std::ptr;

/// Memory that a thread expects to read. It is only asked for, which does nothing where nothing is, so it
/// need not be there any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The address of what has not been asked for, and where it ends.
    at: usize,
    end: usize,
}

impl Expected {
    /// The first `most` bytes of these.
    pub fn beginning(bytes: &[u8], most: usize) -> Expected {
        let range = bytes[..bytes.len().min(most)].as_ptr_range();
        Expected {
            at: range.start.addr(),
            end: range.end.addr(),
        }
    }

    /// Asks for up to `lines` more cache lines, into the second-level cache.
    #[inline]
    pub fn ask(&mut self, lines: usize) {
        for _ in 0..lines {
            if self.at >= self.end {
                break;
            }
            prefetch(ptr::without_provenance(self.at));
            self.at = self.at.saturating_add(LINE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_asked_for_as_is_expected() {
        let bytes = [0; 10 * LINE];
        let mut expected = Expected::beginning(&bytes, 3 * LINE + 1);
        let start = expected.at;
        expected.ask(2);
        assert_eq!(expected.at - start, 2 * LINE);
        expected.ask(7);
        assert_eq!(expected.at - start, 4 * LINE);
        // Nothing is left, of nothing too.
        for mut expected in [expected, Expected::beginning(&[], 9), Expected::default()] {
            let before = expected;
            expected.ask(1);
            assert_eq!(expected, before);
        }
        // What is not there any more, or never was.
        let mut nowhere = Expected {
            at: usize::MAX - 1,
            end: usize::MAX,
        };
        nowhere.ask(4);
        assert_eq!(nowhere.at, usize::MAX);
    }
}
