//! Stop strings in text that comes in pieces.

use crate::{Error, Result};

/// Longest stop string in bytes.
const MAX_LENGTH: usize = 4096;
/// The most stop strings.
const MAX_STRINGS: usize = 256;

/// Watches text that comes in pieces for strings that end it. Text that could be the beginning of
/// a stop string is held back until it is known not to be; how the text was cut into pieces makes
/// no difference. The stop string that is complete first counts, and is not part of the text.
#[derive(Clone, Debug, Default)]
pub struct StopStrings {
    stops: Vec<String>,
    // Held back: the beginning of a stop string, perhaps.
    held: String,
    // What the last call returned.
    ready: String,
    found: Option<usize>,
}

impl StopStrings {
    /// Watches for the given strings.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if one is empty or longer than 4096 bytes, or there are more than
    /// 256.
    pub fn new<S: Into<String>>(stops: impl IntoIterator<Item = S>) -> Result<StopStrings> {
        let invalid = |reason: &str| Error::InvalidOption {
            option: "stop",
            reason: reason.into(),
        };
        let mut watcher = StopStrings::default();
        for stop in stops {
            let stop = stop.into();
            if stop.is_empty() || stop.len() > MAX_LENGTH {
                return Err(invalid("a stop string has between 1 and 4096 bytes"));
            }
            if watcher.stops.len() == MAX_STRINGS {
                return Err(invalid("there are more than 256 stop strings"));
            }
            watcher.stops.push(stop);
        }
        Ok(watcher)
    }

    /// Takes a piece and returns the text that is certain. Once a stop string was found there is
    /// no more text.
    pub fn push(&mut self, piece: &str) -> &str {
        self.ready.clear();
        if self.found.is_some() {
            return &self.ready;
        }
        self.held.push_str(piece);
        let first = self.stops.iter().enumerate().filter_map(|(index, stop)| {
            let start = self.held.find(stop.as_str())?;
            Some((start + stop.len(), start, index))
        });
        let certain = match first.min() {
            Some((_, start, index)) => {
                self.found = Some(index);
                start
            }
            None => self.held.len() - self.beginning(),
        };
        self.ready.push_str(&self.held[..certain]);
        self.held.drain(..certain);
        &self.ready
    }

    /// The stop string that was found.
    pub fn found(&self) -> Option<&str> {
        self.found.map(|index| self.stops[index].as_str())
    }

    /// The text that was held back, when no more comes; nothing if a stop string was found.
    pub fn finish(&mut self) -> &str {
        self.ready = std::mem::take(&mut self.held);
        if self.found.is_some() {
            self.ready.clear();
        }
        &self.ready
    }

    /// Length of the longest end of the held text that begins a stop string.
    fn beginning(&self) -> usize {
        let held = self.held.as_bytes();
        let begins = |stop: &String| {
            let longest = held.len().min(stop.len() - 1);
            let fits = |&length: &usize| stop.as_bytes().starts_with(&held[held.len() - length..]);
            (1..=longest).rev().find(fits)
        };
        self.stops.iter().filter_map(begins).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text that comes out, and the stop string found.
    fn run<'a>(stops: &[&str], pieces: impl IntoIterator<Item = &'a str>) -> (String, String) {
        let mut watcher = StopStrings::new(stops.iter().copied()).unwrap();
        let mut text = String::new();
        for piece in pieces {
            text.push_str(watcher.push(piece));
        }
        text.push_str(watcher.finish());
        (text, watcher.found().unwrap_or_default().to_owned())
    }

    #[test]
    fn finds_across_pieces_however_cut() {
        for (stops, text, expected, found) in [
            (&["User:"][..], "Hi.\nUser: you", "Hi.\n", "User:"),
            (&["</s>", "</"], "a</s>", "a", "</"),
            (&["aab"], "aaaab!", "aa", "aab"),
            (&["END"], "the EN", "the EN", ""),
            (&["é", "日本"], "café 日本", "caf", "é"),
            (&[], "all", "all", ""),
            (&["bcd", "abcde"], "xabcdef", "xa", "bcd"),
        ] {
            let whole = run(stops, [text]);
            assert_eq!(whole, (expected.to_owned(), found.to_owned()), "{text}");
            for (at, _) in text.char_indices() {
                let (left, right) = text.split_at(at);
                assert_eq!(run(stops, [left, right]), whole, "{text} cut at {at}");
            }
            let mut buffer = [0; 4];
            let mut watcher = StopStrings::new(stops.iter().copied()).unwrap();
            let mut singly = String::new();
            for c in text.chars() {
                singly.push_str(watcher.push(c.encode_utf8(&mut buffer)));
            }
            singly.push_str(watcher.finish());
            assert_eq!(singly, whole.0, "{text} by characters");
        }
    }

    #[test]
    fn holds_back_no_more_than_needed() {
        let mut watcher = StopStrings::new(["<end>"]).unwrap();
        assert_eq!(watcher.push("a <"), "a ");
        assert_eq!(watcher.push("e"), "");
        assert_eq!(watcher.push("x"), "<ex");
        assert_eq!(watcher.push("<end> more"), "");
        assert_eq!(watcher.push("more"), "");
        assert_eq!(watcher.finish(), "");
        assert_eq!(watcher.found(), Some("<end>"));
    }

    #[test]
    fn refuses_nonsense() {
        assert!(StopStrings::new([""]).is_err());
        assert!(StopStrings::new(["a".repeat(4097)]).is_err());
        assert!(StopStrings::new((0..257).map(|n| n.to_string())).is_err());
    }
}
