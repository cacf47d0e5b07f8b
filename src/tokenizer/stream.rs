//! Decoding token by token.

use super::{Token, Tokenizer};
use crate::Result;

/// Turns tokens into text as they come, never splitting a character: bytes that could be the
/// beginning of one are kept until it is complete. Made by [`Tokenizer::decoder`].
///
/// What it decodes is taken as a continuation, so a space before the first word stays. Control
/// tokens have no text. Bytes that are no UTF-8 come out as U+FFFD, as in
/// [`String::from_utf8_lossy`].
#[derive(Clone, Debug)]
pub struct StreamDecoder {
    tokenizer: Tokenizer,
    // Bytes that have not come out: at most an incomplete character after a push.
    pending: Vec<u8>,
    // What the last push or finish returned.
    ready: String,
}

/// Bytes of text that few tokens are longer than.
const LONG_TOKEN: usize = 256;

impl StreamDecoder {
    pub(super) fn new(tokenizer: Tokenizer) -> StreamDecoder {
        StreamDecoder {
            tokenizer,
            // Room for any token of the usual vocabularies, so that later ones need no more.
            pending: Vec::with_capacity(LONG_TOKEN),
            ready: String::with_capacity(LONG_TOKEN),
        }
    }

    /// The text that is complete with this token; empty if its bytes end within a character.
    ///
    /// # Errors
    /// [`Error::Token`](crate::Error::Token) for a token outside the vocabulary,
    /// [`Error::Tokenizer`](crate::Error::Tokenizer) if the vocabulary is unusable.
    pub fn push(&mut self, token: Token) -> Result<&str> {
        let tables = self.tokenizer.tables()?;
        tables.vocabulary.check(token)?;
        if !tables.vocabulary.is_hidden(token) {
            tables.vocabulary.append_bytes(token, &mut self.pending);
        }
        self.ready.clear();
        let mut done = 0;
        for chunk in self.pending.utf8_chunks() {
            self.ready.push_str(chunk.valid());
            done += chunk.valid().len();
            let invalid = chunk.invalid();
            if done + invalid.len() == self.pending.len() && could_continue(invalid) {
                break;
            }
            if !invalid.is_empty() {
                self.ready.push(char::REPLACEMENT_CHARACTER);
            }
            done += invalid.len();
        }
        self.pending.drain(..done);
        Ok(&self.ready)
    }

    /// What the last push or finish returned.
    pub(crate) fn ready(&self) -> &str {
        &self.ready
    }

    /// What is left when no more tokens come: U+FFFD if the last character is incomplete. The
    /// decoder is as new afterwards.
    pub fn finish(&mut self) -> &str {
        self.ready.clear();
        for chunk in self.pending.utf8_chunks() {
            self.ready.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                self.ready.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.pending.clear();
        &self.ready
    }
}

/// Whether bytes that are not UTF-8 are so only because the end of the character is missing.
fn could_continue(bytes: &[u8]) -> bool {
    let needed = match bytes.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => return false,
    };
    bytes.len() < needed
}
