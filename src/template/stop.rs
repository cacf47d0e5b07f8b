//! Stop strings, found in a text that comes in pieces.

use crate::error::{Error, Result};

/// Longest stop string, in bytes, and most of them: what might be the beginning of one is held
/// back, and compared with every piece.
const LENGTH: usize = 1024;
const COUNT: usize = 256;

/// Ends a streamed text before the first of some strings, wherever pieces are cut.
///
/// ```
/// use yareta::template::StopStrings;
/// let mut stops = StopStrings::new(["\nUser:"])?;
/// assert_eq!(stops.push("Yes.\nUs"), "Yes."); // "\nUs" may become a stop string
/// assert_eq!(stops.push("eful, too.\nUser: "), "\nUseful, too.");
/// assert_eq!(stops.found(), Some("\nUser:"));
/// # Ok::<(), yareta::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct StopStrings {
    strings: Vec<String>,
    held: String,
    found: Option<usize>,
}

impl StopStrings {
    /// Stops at any of `strings`.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] naming `stop`, for an empty string, one longer than 1024 bytes, or
    /// more than 256 strings.
    pub fn new<S: Into<String>>(strings: impl IntoIterator<Item = S>) -> Result<StopStrings> {
        let invalid = |reason: String| Error::InvalidOption {
            option: "stop",
            reason,
        };
        let mut stops = StopStrings::default();
        for string in strings {
            let string = string.into();
            if string.is_empty() {
                return Err(invalid("must not be empty".to_owned()));
            }
            if string.len() > LENGTH {
                return Err(invalid(format!("must not be longer than {LENGTH} bytes")));
            }
            if stops.strings.len() == COUNT {
                return Err(invalid(format!("there must not be more than {COUNT}")));
            }
            stops.strings.push(string);
        }
        Ok(stops)
    }

    /// Takes the next piece of the text and gives what is certain to be before any stop string.
    /// Nothing comes after a stop string was found.
    pub fn push(&mut self, piece: &str) -> String {
        if self.found.is_some() {
            return String::new();
        }
        self.held.push_str(piece);
        // the one that is complete first, as if the text came letter by letter; of those that end
        // together the longest
        let first = self
            .strings
            .iter()
            .enumerate()
            .filter_map(|(index, string)| Some((self.held.find(string.as_str())?, index)))
            .min_by_key(|(at, index)| (at + self.strings[*index].len(), *at));
        if let Some((at, index)) = first {
            self.found = Some(index);
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let certain = self.held.len()
            - self
                .strings
                .iter()
                .map(|s| begun(&self.held, s))
                .max()
                .unwrap_or(0);
        let rest = self.held.split_off(certain);
        std::mem::replace(&mut self.held, rest)
    }

    /// What was held back, when the text ends without a stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The stop string that was found.
    pub fn found(&self) -> Option<&str> {
        self.found.map(|index| self.strings[index].as_str())
    }

    /// Makes it ready for another text.
    pub fn reset(&mut self) {
        self.held.clear();
        self.found = None;
    }
}

/// Length of the longest end of `text` that is a beginning of `string`, but not all of it.
pub(super) fn begun(text: &str, string: &str) -> usize {
    let (text, string) = (text.as_bytes(), string.as_bytes());
    let longest = text.len().min(string.len().saturating_sub(1));
    (1..=longest)
        .rev()
        .find(|&length| text.ends_with(&string[..length]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(stops: &[&str], pieces: &[&str]) -> (String, Option<String>) {
        let mut stops = StopStrings::new(stops.iter().copied()).unwrap();
        let mut out: String = pieces.iter().map(|piece| stops.push(piece)).collect();
        out.push_str(&stops.finish());
        (out, stops.found().map(str::to_owned))
    }

    #[test]
    fn every_cut_gives_the_same_text() {
        let text = "one twö ththree thre";
        for (stops, expected, found) in [
            (&["three"][..], "one twö th", Some("three")),
            (&["ö t", "ö"], "one tw", Some("ö")),
            (&["zzz", "thrf"], text, None),
            (&["hre", "three"], "one twö tht", Some("hre")),
            (&["hree", "three"], "one twö th", Some("three")),
            (&[], text, None),
        ] {
            for width in 1..=text.chars().count() {
                let letters: Vec<char> = text.chars().collect();
                let pieces: Vec<String> = letters.chunks(width).map(String::from_iter).collect();
                let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
                let (out, stop) = stream(stops, &pieces);
                assert_eq!(
                    (out.as_str(), stop.as_deref()),
                    (expected, found),
                    "{width}"
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for strings in [
            vec![String::new()],
            vec!["x".repeat(1025)],
            vec!["x".to_owned(); 257],
        ] {
            match StopStrings::new(strings).unwrap_err() {
                Error::InvalidOption { option, .. } => assert_eq!(option, "stop"),
                other => panic!("{other}"),
            }
        }
    }
}
