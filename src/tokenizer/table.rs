//! Hash tables of the encoders: token text → token, and pair of symbols → merge.
//!
//! Both are open-addressing tables of plain integers, because they are built for a quarter of a
//! million tokens when a model is first used, and read for every word of a prompt. Their hash is
//! keyed with a random seed: the texts come from a file, and a file must not be able to choose
//! texts that collide. The seed changes where an entry lies, never what is found.
//!
//! The tables of a large vocabulary fit no cache, and a lookup is a chain of reads from memory:
//! slot, bounds, text. Building one makes a million lookups, so they are made in batches, each
//! read of the chain for the whole batch before the next: the processor then waits for many reads
//! at once. What is found is the same.

use std::hash::{BuildHasher, RandomState};

/// The largest number of symbols that the tables can hold.
pub(super) const MAX_SYMBOLS: usize = 1 << 28;

/// Lookups of a batch.
const BATCH: usize = 64;

/// A keyed hash by folded multiplication, good for short texts and pairs of integers.
#[derive(Clone, Copy)]
struct Keyed {
    start: u64,
    factor: u64,
}

impl Keyed {
    fn new() -> Keyed {
        let random = RandomState::new();
        Keyed {
            start: random.hash_one(0u8),
            factor: random.hash_one(1u8) | 1,
        }
    }

    fn fold(self, value: u64) -> u64 {
        let product = u128::from(value) * u128::from(self.factor);
        (product as u64) ^ ((product >> 64) as u64)
    }

    fn integer(self, value: u64) -> u64 {
        self.fold(self.fold(value ^ self.start) ^ self.start.rotate_left(32))
    }

    fn text(self, text: &[u8]) -> u64 {
        let mut hash = self.start ^ (text.len() as u64);
        let (chunks, rest) = text.as_chunks::<8>();
        for chunk in chunks {
            hash = self.fold(hash ^ u64::from_le_bytes(*chunk));
        }
        // The length went in first, so zero padding cannot make two texts equal.
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = self.fold(hash ^ u64::from_le_bytes(last));
        self.fold(hash ^ self.start.rotate_left(32))
    }
}

/// Texts end to end, each with a number.
#[derive(Default)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Texts {
    /// Number of texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Appends a text, or says that the texts would exceed 4 GiB.
    pub fn push(&mut self, text: &[u8]) -> Result<u32, String> {
        let number = self.ends.len() as u32;
        self.bytes.extend_from_slice(text);
        let end = u32::try_from(self.bytes.len())
            .map_err(|_| "the texts of all tokens together exceed 4 GiB".to_owned())?;
        self.ends.push(end);
        Ok(number)
    }

    /// Makes the last text empty.
    pub fn empty_last(&mut self) {
        let before = self
            .ends
            .len()
            .checked_sub(2)
            .map_or(0, |last| self.ends[last]);
        if let Some(end) = self.ends.last_mut() {
            *end = before;
            self.bytes.truncate(before as usize);
        }
    }

    /// The text with a number; empty for a number that was never given.
    pub fn get(&self, number: u32) -> &[u8] {
        let (start, end) = self.bounds(number);
        &self.bytes[start as usize..end as usize]
    }

    fn bounds(&self, number: u32) -> (u32, u32) {
        let number = number as usize;
        let Some(&end) = self.ends.get(number) else {
            return (0, 0);
        };
        let start = match number {
            0 => 0,
            _ => self.ends[number - 1],
        };
        (start, end)
    }
}

/// Finds the number of a text among [`Texts`].
pub(super) struct TextTable {
    // High half: the upper hash bits; low half: number + 1, or 0 where the slot is empty.
    slots: Vec<u64>,
    filled: usize,
    hash: Keyed,
}

impl TextTable {
    /// An empty table that holds `capacity` texts before it grows.
    pub fn with_capacity(capacity: usize) -> TextTable {
        TextTable {
            slots: vec![0; (capacity.max(8) * 2).next_power_of_two()],
            filled: 0,
            hash: Keyed::new(),
        }
    }

    /// Enters text `number`, unless an equal text is there: then its number is returned.
    pub fn insert(&mut self, texts: &Texts, number: u32) -> Option<u32> {
        if self.filled * 4 >= self.slots.len() * 3 {
            self.grow(texts);
        }
        let text = texts.get(number);
        let hash = self.hash.text(text);
        match self.probe(texts, text, hash) {
            Ok(found) => Some(found),
            Err(slot) => {
                self.slots[slot] = (hash & !0xffff_ffff) | (u64::from(number) + 1);
                self.filled += 1;
                None
            }
        }
    }

    /// The number of a text.
    pub fn find(&self, texts: &Texts, text: &[u8]) -> Option<u32> {
        self.probe(texts, text, self.hash.text(text)).ok()
    }

    /// Appends the number of each text of `keys`, as [`find`](TextTable::find) gives it.
    pub fn find_all<'k>(
        &self,
        texts: &Texts,
        keys: impl Iterator<Item = &'k [u8]>,
        found: &mut Vec<Option<u32>>,
    ) {
        let mask = self.slots.len() - 1;
        let mut keys = keys.peekable();
        while keys.peek().is_some() {
            let mut batch: [(&[u8], u64, u64); BATCH] = [(&[], 0, 0); BATCH];
            let mut length = 0;
            for (entry, key) in batch.iter_mut().zip(keys.by_ref().take(BATCH)) {
                *entry = (key, self.hash.text(key), 0);
                length += 1;
            }
            let batch = &mut batch[..length];
            for (_, hash, slot) in batch.iter_mut() {
                *slot = self.slots[*hash as usize & mask];
            }
            let mut starts = [0; BATCH];
            for (start, (_, _, slot)) in starts.iter_mut().zip(batch.iter()) {
                (*start, _) = texts.bounds((*slot as u32).wrapping_sub(1));
            }
            let touched = starts.iter().fold(0, |touched, &start| {
                touched ^ texts.bytes.get(start as usize).copied().unwrap_or(0)
            });
            // Nobody needs the bytes but the cache.
            std::hint::black_box(touched);
            let numbers = batch
                .iter()
                .map(|(key, hash, _)| self.probe(texts, key, *hash).ok());
            found.extend(numbers);
        }
    }

    /// The number of the text, or the slot where it would go.
    fn probe(&self, texts: &Texts, text: &[u8], hash: u64) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let entry = self.slots[slot];
            if entry == 0 {
                return Err(slot);
            }
            if (entry ^ hash) >> 32 == 0 {
                let number = entry as u32 - 1;
                if texts.get(number) == text {
                    return Ok(number);
                }
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self, texts: &Texts) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![0; old.len() * 2];
        let mask = self.slots.len() - 1;
        for entry in old.into_iter().filter(|&entry| entry != 0) {
            let mut slot = self.hash.text(texts.get(entry as u32 - 1)) as usize & mask;
            while self.slots[slot] != 0 {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = entry;
        }
    }
}

/// What two adjacent symbols become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Merge {
    /// Merges of lower rank go first.
    pub rank: u32,
    /// The symbol that the pair becomes.
    pub symbol: u32,
}

/// Finds the merge of a pair of symbols.
pub(super) struct PairTable {
    slots: Vec<PairSlot>,
    hash: Keyed,
}

#[derive(Clone, Copy)]
struct PairSlot {
    left: u32,
    right: u32,
    merge: Merge,
}

const EMPTY: PairSlot = PairSlot {
    left: u32::MAX,
    right: u32::MAX,
    merge: Merge {
        rank: u32::MAX,
        symbol: u32::MAX,
    },
};

impl PairTable {
    /// An empty table for at most `capacity` pairs.
    pub fn with_capacity(capacity: usize) -> PairTable {
        PairTable {
            slots: vec![EMPTY; (capacity.max(4) * 2).next_power_of_two()],
            hash: Keyed::new(),
        }
    }

    /// Enters pairs; the first merge of a pair stays.
    pub fn insert_all(&mut self, pairs: &[(u32, u32, Merge)]) {
        let mask = self.slots.len() - 1;
        for batch in pairs.chunks(BATCH) {
            let touched = batch.iter().fold(0, |touched, &(left, right, _)| {
                touched ^ self.slots[self.hash(left, right) & mask].left
            });
            std::hint::black_box(touched);
            for &(left, right, merge) in batch {
                let slot = self.slot(left, right);
                if self.slots[slot].left == u32::MAX {
                    self.slots[slot] = PairSlot { left, right, merge };
                }
            }
        }
    }

    /// The merge of a pair.
    pub fn find(&self, left: u32, right: u32) -> Option<Merge> {
        let found = &self.slots[self.slot(left, right)];
        (found.left != u32::MAX).then_some(found.merge)
    }

    fn hash(&self, left: u32, right: u32) -> usize {
        self.hash.integer(u64::from(left) << 32 | u64::from(right)) as usize
    }

    /// The slot that holds the pair, or the empty one where it would go. There is always an
    /// empty one: the table has twice as many slots as it was promised pairs.
    fn slot(&self, left: u32, right: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.hash(left, right) & mask;
        loop {
            let found = &self.slots[slot];
            if found.left == u32::MAX || (found.left == left && found.right == right) {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_and_first_stays() {
        let mut texts = Texts::default();
        let mut table = TextTable::with_capacity(1);
        for number in 0..1000u32 {
            let text = format!("text {}", number % 900);
            texts.push(text.as_bytes()).unwrap();
            let earlier = table.insert(&texts, number);
            assert_eq!(earlier, (number >= 900).then_some(number % 900));
        }
        for number in 0..900u32 {
            let text = format!("text {number}");
            assert_eq!(table.find(&texts, text.as_bytes()), Some(number));
        }
        assert_eq!(table.find(&texts, b"text"), None);
        assert_eq!(table.find(&texts, b"text 0\0"), None);
        assert_eq!(table.find(&texts, b""), None);
        let keys: Vec<String> = (0..1000).map(|number| format!("text {number}")).collect();
        let mut found = Vec::new();
        table.find_all(&texts, keys.iter().map(|key| key.as_bytes()), &mut found);
        let expected = (0..1000).map(|number| (number < 900).then_some(number));
        assert_eq!(found, expected.collect::<Vec<_>>());
    }

    #[test]
    fn pairs_are_found_and_first_stays() {
        let mut table = PairTable::with_capacity(500);
        let pair = |n| (n, n / 2, Merge { rank: n, symbol: n });
        table.insert_all(&(0..500).map(pair).collect::<Vec<_>>());
        table.insert_all(&[(7, 3, Merge { rank: 0, symbol: 0 })]);
        for n in 0..500 {
            let merge = Some(Merge { rank: n, symbol: n });
            assert_eq!(table.find(n, n / 2), merge);
            assert_eq!(table.find(n, n + 1), None);
        }
    }
}
