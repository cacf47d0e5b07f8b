//! Byte-pair merging: joins adjacent symbols, the best-ranked pair first, the leftmost of equals,
//! until no pair can be joined.
//!
//! Which pairs join, and how they rank, is the vocabulary's business ([`Merges`]). Short words,
//! which are nearly all, are merged by repeated scans of a small array. Long ones go through a
//! queue, in time O(n log n) and memory O(n) whatever the text.

use super::table::Merge;

/// What can be merged.
pub(super) trait Merges {
    /// The merge of two adjacent symbols. `text` is the text that they cover together.
    fn merge(&self, text: &[u8], left: u32, right: u32) -> Option<Merge>;
}

/// A symbol and where its text begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    /// Offset of the symbol's first byte in the word.
    pub start: u32,
    /// The symbol's number.
    pub number: u32,
}

/// Buffers that are reused from word to word.
#[derive(Default)]
pub(super) struct Scratch {
    /// The symbols of a word: filled by the caller, merged in place.
    pub symbols: Vec<Symbol>,
    // For each symbol the merge with its right neighbour.
    merges: Vec<Merge>,
    long: Long,
}

/// Beyond this many symbols, scans cost more than the queue.
const LONG: usize = 64;

/// No pair here.
const NONE: Merge = Merge {
    rank: u32::MAX,
    symbol: u32::MAX,
};

impl Scratch {
    /// Merges `self.symbols`, which together are `text`.
    pub fn merge(&mut self, text: &[u8], merges: &impl Merges) {
        if self.symbols.len() > LONG {
            self.long.merge(text, merges, &mut self.symbols);
        } else if self.symbols.len() > 1 {
            self.scan(text, merges);
        }
    }

    fn scan(&mut self, text: &[u8], merges: &impl Merges) {
        let Scratch {
            symbols,
            merges: pairs,
            ..
        } = self;
        let pair = |symbols: &[Symbol], at: usize| -> Merge {
            let end = match symbols.get(at + 2) {
                Some(after) => after.start as usize,
                None => text.len(),
            };
            let (left, right) = (symbols[at], symbols[at + 1]);
            merges
                .merge(&text[left.start as usize..end], left.number, right.number)
                .unwrap_or(NONE)
        };
        pairs.clear();
        pairs.extend((0..symbols.len() - 1).map(|at| pair(symbols, at)));
        loop {
            let mut best = NONE.rank;
            let mut at = 0;
            for (index, merge) in pairs.iter().enumerate() {
                if merge.rank < best {
                    (best, at) = (merge.rank, index);
                }
            }
            if best == NONE.rank {
                return;
            }
            symbols[at].number = pairs[at].symbol;
            symbols.remove(at + 1);
            pairs.remove(at);
            if at < pairs.len() {
                pairs[at] = pair(symbols, at);
            }
            if at > 0 {
                pairs[at - 1] = pair(symbols, at - 1);
            }
        }
    }
}

/// A long word as a linked list of symbols, and the queue of its pairs.
///
/// The queue is a sorted run that is consumed in order, a heap for pairs that come up while the
/// run is being consumed and belong before its end, and an unsorted rest that becomes the next
/// run. Where one pair is found a million times (a repeated character) nearly all goes through
/// the runs, and the heap stays small.
#[derive(Default)]
struct Long {
    nodes: Vec<Node>,
    // Keys: rank in the high half, index of the left symbol in the low half.
    run: Vec<u64>,
    heap: std::collections::BinaryHeap<std::cmp::Reverse<u64>>,
    rest: Vec<u64>,
}

#[derive(Clone, Copy)]
struct Node {
    start: u32,
    number: u32,
    previous: u32,
    next: u32,
    // With the symbol to the right; its rank tells whether a key in the queue is still true.
    merge: Merge,
}

/// No neighbour.
const END: u32 = u32::MAX;

impl Long {
    fn merge(&mut self, text: &[u8], merges: &impl Merges, symbols: &mut Vec<Symbol>) {
        let last = symbols.len() - 1;
        self.nodes.clear();
        self.nodes
            .extend(symbols.iter().enumerate().map(|(index, symbol)| Node {
                start: symbol.start,
                number: symbol.number,
                previous: if index == 0 { END } else { index as u32 - 1 },
                next: if index == last { END } else { index as u32 + 1 },
                merge: NONE,
            }));
        self.run.clear();
        self.heap.clear();
        self.rest.clear();
        for index in 0..last as u32 {
            self.update(text, merges, index, 0);
        }
        self.drain(text, merges);

        symbols.clear();
        let mut index = 0;
        while index != END {
            let node = &self.nodes[index as usize];
            symbols.push(Symbol {
                start: node.start,
                number: node.number,
            });
            index = node.next;
        }
        // A long word is rare, and its buffers are large.
        *self = Long::default();
    }

    fn drain(&mut self, text: &[u8], merges: &impl Merges) {
        loop {
            std::mem::swap(&mut self.run, &mut self.rest);
            self.rest.clear();
            self.run.sort_unstable();
            let Some(&end) = self.run.last() else {
                return;
            };
            let mut consumed = 0;
            loop {
                let near = self.heap.peek().map(|near| near.0);
                let key = match (self.run.get(consumed).copied(), near) {
                    (Some(key), Some(near)) if near < key => self.pop(),
                    (None, Some(_)) => self.pop(),
                    (Some(key), _) => {
                        consumed += 1;
                        key
                    }
                    (None, None) => break,
                };
                let (rank, index) = ((key >> 32) as u32, key as u32);
                if self.nodes[index as usize].merge.rank == rank {
                    self.join(text, merges, index, end);
                }
            }
        }
    }

    fn pop(&mut self) -> u64 {
        self.heap.pop().map_or(u64::MAX, |key| key.0)
    }

    /// Joins a symbol with its right neighbour.
    fn join(&mut self, text: &[u8], merges: &impl Merges, left: u32, run_end: u64) {
        let right = self.nodes[left as usize].next;
        let after = self.nodes[right as usize].next;
        self.nodes[right as usize].merge = NONE;
        let node = &mut self.nodes[left as usize];
        node.number = node.merge.symbol;
        node.next = after;
        let before = node.previous;
        if after != END {
            self.nodes[after as usize].previous = left;
        }
        self.update(text, merges, left, run_end);
        if before != END {
            self.update(text, merges, before, run_end);
        }
    }

    /// Finds the merge of a symbol with its right neighbour and queues it.
    fn update(&mut self, text: &[u8], merges: &impl Merges, index: u32, run_end: u64) {
        let left = self.nodes[index as usize];
        let merge = if left.next == END {
            NONE
        } else {
            let right = self.nodes[left.next as usize];
            let end = match right.next {
                END => text.len(),
                after => self.nodes[after as usize].start as usize,
            };
            merges
                .merge(&text[left.start as usize..end], left.number, right.number)
                .unwrap_or(NONE)
        };
        self.nodes[index as usize].merge = merge;
        if merge.rank == NONE.rank {
            return;
        }
        let key = u64::from(merge.rank) << 32 | u64::from(index);
        if key < run_end {
            self.heap.push(std::cmp::Reverse(key));
        } else {
            self.rest.push(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text of length two or more that `rank` accepts is a symbol.
    struct ByText<F>(F);

    impl<F: Fn(&[u8]) -> Option<u32>> Merges for ByText<F> {
        fn merge(&self, text: &[u8], _: u32, _: u32) -> Option<Merge> {
            (self.0)(text).map(|rank| Merge { rank, symbol: 0 })
        }
    }

    fn starts(text: &[u8], long: bool, merges: &impl Merges) -> Vec<u32> {
        let mut scratch = Scratch::default();
        scratch.symbols.extend((0..text.len()).map(|at| Symbol {
            start: at as u32,
            number: u32::from(text[at]),
        }));
        if long {
            let Scratch {
                symbols, long: way, ..
            } = &mut scratch;
            way.merge(text, merges, symbols);
        } else {
            scratch.scan(text, merges);
        }
        scratch.symbols.iter().map(|symbol| symbol.start).collect()
    }

    #[test]
    fn scans_and_queue_agree() {
        // A pseudo-random rank for most short texts over a small alphabet, with many ties.
        let merges = ByText(|text: &[u8]| {
            let hash = text.iter().fold(text.len() as u32, |hash, &byte| {
                (hash ^ u32::from(byte))
                    .wrapping_mul(0x9e37_79b1)
                    .rotate_left(7)
            });
            (text.len() < 7 && hash % 3 != 0).then_some(hash % 17)
        });
        let mut state = 1u32;
        for length in (2..200).chain([1000]) {
            let text: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    b'a' + (state >> 30) as u8
                })
                .collect();
            assert_eq!(starts(&text, false, &merges), starts(&text, true, &merges));
        }
    }

    #[test]
    fn leftmost_of_equals_goes_first() {
        let merges = ByText(|text: &[u8]| (text == b"aa").then_some(0));
        for long in [false, true] {
            assert_eq!(starts(b"aaaaa", long, &merges), [0, 2, 4]);
        }
    }
}
