//! SentencePiece byte-pair encoding: any two neighbours whose joined text is a token may merge,
//! the token with the best score first; what has no token falls back to bytes.

use std::sync::atomic::{AtomicU8, Ordering};

use super::Token;
use super::merge::{Merges, Scratch, Symbol};
use super::table::{Merge, TextTable, Texts};
use super::vocabulary::{TokenType, Vocabulary};

/// What a space becomes: U+2581.
pub(super) const SPACE: &str = "▁";

/// An encoder by scores.
pub(super) struct SentencePiece {
    texts: Texts,
    table: TextTable,
    // Per token: 0 is the best score.
    ranks: Vec<u32>,
    bytes: [Option<Token>; 256],
    unknown: Option<Token>,
    longest: usize,
    // Per token: whether its own text is encoded as it; found out on first use.
    whole: Box<[AtomicU8]>,
    cuts: Cuts,
}

const UNDECIDED: u8 = 0;
const WHOLE: u8 = 1;
const SPLIT: u8 = 2;

impl SentencePiece {
    /// Builds the tables.
    pub fn new(vocabulary: &Vocabulary, scores: &[f32]) -> Result<SentencePiece, String> {
        let mut texts = Texts::default();
        let mut table = TextTable::with_capacity(vocabulary.len());
        let mut longest = 0;
        for token in 0..vocabulary.len() as u32 {
            let text = vocabulary.text(token);
            texts.push(text)?;
            if vocabulary.token_type(token).is_matched() && !text.is_empty() {
                table.insert(&texts, token);
                longest = longest.max(text.len());
            }
        }
        let score = |token: usize| scores.get(token).copied().unwrap_or(0.0);
        Ok(SentencePiece {
            ranks: (0..vocabulary.len())
                .map(|token| rank(score(token)))
                .collect(),
            bytes: byte_tokens(vocabulary),
            unknown: vocabulary.special.unknown,
            whole: (0..vocabulary.len())
                .map(|_| AtomicU8::new(UNDECIDED))
                .collect(),
            cuts: Cuts::new(&texts),
            texts,
            table,
            longest,
        })
    }

    /// Appends the tokens of a text in which spaces are [`SPACE`] already.
    pub fn encode(&self, text: &str, scratch: &mut Scratch, out: &mut Vec<Token>) {
        self.cuts.each(text, |word| self.word(word, scratch, out));
    }

    /// Appends tokens for bytes that are no text.
    pub fn encode_bytes(&self, bytes: &[u8], out: &mut Vec<Token>) {
        for &byte in bytes {
            out.extend(self.bytes[usize::from(byte)].or(self.unknown));
        }
    }

    fn word(&self, word: &str, scratch: &mut Scratch, out: &mut Vec<Token>) {
        let bytes = word.as_bytes();
        if bytes.len() <= self.longest
            && let Some(token) = self.table.find(&self.texts, bytes)
        {
            // Whether merging arrives at this token depends on nothing but its text, so it is
            // found out once. Threads may find it out twice; they agree.
            let whole = &self.whole[token as usize];
            match whole.load(Ordering::Relaxed) {
                WHOLE => return out.push(token),
                UNDECIDED => {
                    self.merge(word, scratch);
                    let is_whole = matches!(&scratch.symbols[..], [one] if one.number == token);
                    whole.store(if is_whole { WHOLE } else { SPLIT }, Ordering::Relaxed);
                    return self.emit(bytes, scratch, out);
                }
                _ => {}
            }
        }
        self.merge(word, scratch);
        self.emit(bytes, scratch, out);
    }

    fn merge(&self, word: &str, scratch: &mut Scratch) {
        scratch.symbols.clear();
        scratch
            .symbols
            .extend(word.char_indices().map(|(start, c)| {
                let mut buffer = [0; 4];
                let c = c.encode_utf8(&mut buffer).as_bytes();
                Symbol {
                    start: start as u32,
                    number: self.table.find(&self.texts, c).unwrap_or(u32::MAX),
                }
            }));
        scratch.merge(word.as_bytes(), self);
    }

    fn emit(&self, word: &[u8], scratch: &Scratch, out: &mut Vec<Token>) {
        for (index, symbol) in scratch.symbols.iter().enumerate() {
            if symbol.number != u32::MAX {
                out.push(symbol.number);
                continue;
            }
            let next = scratch.symbols.get(index + 1);
            let end = next.map_or(word.len(), |next| next.start as usize);
            self.encode_bytes(&word[symbol.start as usize..end], out);
        }
    }
}

impl Merges for SentencePiece {
    fn merge(&self, text: &[u8], _: u32, _: u32) -> Option<Merge> {
        if text.len() > self.longest {
            return None;
        }
        let symbol = self.table.find(&self.texts, text)?;
        let rank = self.ranks[symbol as usize];
        Some(Merge { rank, symbol })
    }
}

/// Scores as ranks: the higher score has the lower rank, and equal scores have equal ranks. The
/// highest rank is kept free.
fn rank(score: f32) -> u32 {
    // Adding zero makes -0.0 equal to 0.0.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
    };
    (!ascending).min(u32::MAX - 1)
}

/// The token of each byte: that of type byte, or else the one whose text is `<0x..>`, or the byte.
pub(super) fn byte_tokens(vocabulary: &Vocabulary) -> [Option<Token>; 256] {
    let mut bytes = [None; 256];
    for token in 0..vocabulary.len() as u32 {
        let text = vocabulary.text(token);
        if let Some(byte) = hexadecimal_byte(text) {
            let entry = &mut bytes[usize::from(byte)];
            if entry.is_none() || vocabulary.token_type(token) == TokenType::Byte {
                *entry = Some(token);
            }
        }
    }
    for token in 0..vocabulary.len() as u32 {
        if let &[byte] = vocabulary.text(token) {
            bytes[usize::from(byte)].get_or_insert(token);
        }
    }
    bytes
}

/// The byte that a text such as `<0x0A>` stands for.
pub(super) fn hexadecimal_byte(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    let &[high, low] = digits else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(high)? << 4 | digit(low)?) as u8)
}

/// Where text can be cut before a space without changing what merging makes of it: where no token
/// holds a space after the byte in question. A cut text is merged word by word, which is faster
/// and lets the result for a whole word be remembered.
pub(super) struct Cuts {
    // Whether some token has a space after this byte.
    joined: [bool; 256],
}

impl Cuts {
    /// The cuts of a vocabulary with the given texts.
    pub fn new(texts: &Texts) -> Cuts {
        let mut joined = [false; 256];
        for number in 0..texts.len() as u32 {
            let text = texts.get(number);
            for at in 1..text.len().saturating_sub(2) {
                if &text[at..at + 3] == SPACE.as_bytes() {
                    joined[usize::from(text[at - 1])] = true;
                }
            }
        }
        Cuts { joined }
    }

    /// Calls `each` with the words of a text.
    pub fn each<'a>(&self, text: &'a str, mut each: impl FnMut(&'a str)) {
        let bytes = text.as_bytes();
        let mut start = 0;
        for (at, _) in text.match_indices(SPACE) {
            if at > start && !self.joined[usize::from(bytes[at - 1])] {
                each(&text[start..at]);
                start = at;
            }
        }
        if start < text.len() {
            each(&text[start..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_order_as_scores_do() {
        let scores = [f32::INFINITY, 2.0, 0.5, 0.0, -0.5, -1e9, f32::NEG_INFINITY];
        assert!(scores.is_sorted_by(|a, b| rank(*a) < rank(*b)));
        assert_eq!(rank(0.0), rank(-0.0));
        assert!(rank(f32::NAN) < u32::MAX && rank(-f32::NAN) < u32::MAX);
    }

    #[test]
    fn hexadecimal_bytes() {
        assert_eq!(hexadecimal_byte(b"<0x0A>"), Some(10));
        assert_eq!(hexadecimal_byte(b"<0xff>"), Some(255));
        for other in ["<0x0>", "<0x0G>", "<0x00A>", "0x0A", "<0x+1>", ""] {
            assert_eq!(hexadecimal_byte(other.as_bytes()), None, "{other}");
        }
    }
}
