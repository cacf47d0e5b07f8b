//! The PLaMo 2 vocabulary: of all ways to cover the text with tokens, the one with the best sum of
//! scores, which are rounded to ten-thousandths; what no token covers falls back to bytes.

use super::Token;
use super::sentence::hexadecimal_byte;
use super::trie::Trie;
use super::vocabulary::{TokenType, Vocabulary};

/// An encoder by the best path, found from the end of the text.
pub(super) struct Plamo {
    trie: Trie,
    // Of each token, in ten-thousandths.
    scores: Vec<i32>,
    bytes: [Token; 256],
}

/// The score of a character without a token.
const UNKNOWN: i64 = -10_000_000;
/// Tokens scored no better than this are never used.
const INVALID: i32 = -20_000_000;

impl Plamo {
    /// Builds the tables.
    pub fn new(vocabulary: &Vocabulary, scores: &[f32]) -> Result<Plamo, String> {
        let mut trie = Trie::default();
        let mut rounded = vec![INVALID; vocabulary.len()];
        let mut bytes = [None; 256];
        for token in 0..vocabulary.len() as Token {
            let text = vocabulary.text(token);
            let kind = vocabulary.token_type(token);
            if kind == TokenType::Byte {
                if let Some(byte) = hexadecimal_byte(text) {
                    bytes[usize::from(byte)] = Some(token);
                }
            } else if kind.is_matched() {
                let score = scores.get(token as usize).copied().unwrap_or(0.0);
                if score.is_finite() {
                    // The conversion saturates.
                    rounded[token as usize] = (score * 1e4).round() as i32;
                }
                trie.insert(text, token);
            }
        }
        let mut tokens = [0; 256];
        for (byte, token) in bytes.into_iter().enumerate() {
            tokens[byte] = token.ok_or_else(|| format!("byte {byte:#04x} has no token"))?;
        }
        Ok(Plamo {
            trie,
            scores: rounded,
            bytes: tokens,
        })
    }

    /// Appends the tokens of a text. A byte order mark at its beginning is left out.
    pub fn encode(&self, text: &str, out: &mut Vec<Token>) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // Per byte where a character begins: cost of the best path from there, length of its
        // first step, token of that step if there is one.
        let mut paths = vec![(i64::MAX, 0u32, None); text.len() + 1];
        paths[text.len()].0 = 0;
        let mut found = Vec::new();
        for (start, character) in text.char_indices().rev() {
            let mut best = (i64::MAX, 0, None);
            found.clear();
            found.extend(self.trie.prefixes(&text.as_bytes()[start..]));
            // Of equally good steps the longest.
            for &(token, length) in found.iter().rev() {
                let score = self.scores[token as usize];
                let (rest, ..) = paths[start + length];
                if score > INVALID && rest != i64::MAX {
                    let cost = rest.saturating_sub(i64::from(score));
                    if cost < best.0 {
                        best = (cost, length as u32, Some(token));
                    }
                }
            }
            let length = character.len_utf8();
            let cost = paths[start + length].0.saturating_sub(UNKNOWN);
            if cost < best.0 {
                best = (cost, length as u32, None);
            }
            paths[start] = best;
        }
        let mut at = 0;
        while at < text.len() {
            let (_, length, token) = paths[at];
            let end = at + (length as usize).max(1);
            match token {
                Some(token) => out.push(token),
                None => self.encode_bytes(text.as_bytes().get(at..end).unwrap_or(&[]), out),
            }
            at = end;
        }
    }

    /// Appends the tokens of bytes one by one.
    pub fn encode_bytes(&self, bytes: &[u8], out: &mut Vec<Token>) {
        out.extend(bytes.iter().map(|&byte| self.bytes[usize::from(byte)]));
    }
}
