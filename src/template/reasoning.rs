//! Telling what a model thinks from what it answers, in a text that comes in pieces.

use std::fmt;

/// How a family of templates marks reasoning: what begins it, what ends it, and what else belongs
/// to no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReasoningMarkers {
    /// Begins reasoning.
    pub open: &'static str,
    /// Ends it.
    pub close: &'static str,
    /// Is left out of answers.
    pub skipped: Option<&'static str>,
}

impl ReasoningMarkers {
    /// The markers that models are trained with.
    pub const ALL: [ReasoningMarkers; 7] = [
        marker("<think>", "</think>", None),
        marker("<|START_THINKING|>", "<|END_THINKING|>", None),
        marker("[THINK]", "[/THINK]", None),
        marker("<seed:think>", "</seed:think>", None),
        marker("<mm:think>", "</mm:think>", None),
        marker("<|channel>thought\n", "<channel|>", None),
        marker(
            "<|channel|>analysis<|message|>",
            "<|end|>",
            Some("<|start|>assistant<|channel|>final<|message|>"),
        ),
    ];

    /// The markers that a template's source names, the earliest; `None` if it names none.
    pub fn detect(source: &str) -> Option<ReasoningMarkers> {
        let place = |markers: &ReasoningMarkers| {
            let open = source.find(markers.open.trim_end());
            open.or_else(|| source.find(markers.close))
        };
        Self::ALL
            .into_iter()
            .filter_map(|markers| Some((place(&markers)?, markers)))
            .min_by_key(|(at, _)| *at)
            .map(|(_, markers)| markers)
    }

    /// Whether a rendered prompt leaves the model in the middle of its reasoning.
    pub fn left_open(&self, prompt: &str) -> bool {
        prompt.trim_end().ends_with(self.open.trim_end())
    }

    /// Whether `text` is a piece of a marker.
    pub(crate) fn contain(&self, text: &str) -> bool {
        let markers = [Some(self.open), Some(self.close), self.skipped];
        !text.is_empty()
            && markers
                .into_iter()
                .flatten()
                .any(|marker| marker.contains(text))
    }
}

const fn marker(
    open: &'static str,
    close: &'static str,
    skipped: Option<&'static str>,
) -> ReasoningMarkers {
    ReasoningMarkers {
        open,
        close,
        skipped,
    }
}

/// A piece of what a model writes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Piece {
    /// Of its reasoning.
    Reasoning(String),
    /// Of its answer.
    Answer(String),
}

impl Piece {
    /// The text, whichever it belongs to.
    pub fn text(&self) -> &str {
        match self {
            Piece::Reasoning(text) | Piece::Answer(text) => text,
        }
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}

/// Splits a streamed text into reasoning and answer. The markers and the line ends beside them
/// belong to neither.
#[derive(Clone, Debug)]
pub struct ReasoningSplitter {
    markers: Option<ReasoningMarkers>,
    inside: bool,
    /// Line ends are dropped until the next letter: a marker came just before.
    after_marker: bool,
    held: String,
}

impl ReasoningSplitter {
    /// Splits by `markers`, or not at all. `inside` says whether the text begins within reasoning:
    /// see [`ReasoningMarkers::left_open`].
    pub fn new(markers: Option<ReasoningMarkers>, inside: bool) -> ReasoningSplitter {
        ReasoningSplitter {
            markers,
            inside: inside && markers.is_some(),
            after_marker: inside && markers.is_some(),
            held: String::new(),
        }
    }

    /// Takes the next piece of the text and gives what is certain of it, in order.
    pub fn push(&mut self, piece: &str) -> Vec<Piece> {
        self.held.push_str(piece);
        let mut out = Vec::new();
        let Some(markers) = self.markers else {
            self.give(self.held.len(), &mut out);
            return out;
        };
        loop {
            let awaited = match self.inside {
                true => [Some(markers.close), None],
                false => [Some(markers.open), markers.skipped],
            };
            let awaited = awaited.into_iter().flatten();
            let found = awaited
                .clone()
                .filter_map(|marker| Some((self.held.find(marker)?, marker)))
                .min_by_key(|(at, _)| *at);
            if let Some((at, marker)) = found {
                let end = match self.inside {
                    true => self.held[..at].trim_end_matches('\n').len(),
                    false => at,
                };
                self.give(end, &mut out);
                self.held.drain(..at - end + marker.len());
                self.inside = marker == markers.open;
                self.after_marker = true;
                continue;
            }
            let begun = awaited.map(|marker| begun(&self.held, marker)).max();
            let mut certain = self.held.len() - begun.unwrap_or(0);
            if self.inside {
                // line ends before the closing marker are not part of the reasoning
                certain = self.held[..certain].trim_end_matches('\n').len();
            }
            self.give(certain, &mut out);
            return out;
        }
    }

    /// What was held back, when the text ends.
    pub fn finish(&mut self) -> Vec<Piece> {
        let mut out = Vec::new();
        self.give(self.held.len(), &mut out);
        out
    }

    /// Gives the first `length` bytes of what is held.
    fn give(&mut self, length: usize, out: &mut Vec<Piece>) {
        let rest = self.held.split_off(length);
        let mut text = std::mem::replace(&mut self.held, rest);
        if self.after_marker {
            text.drain(..text.len() - text.trim_start_matches('\n').len());
        }
        if text.is_empty() {
            return;
        }
        self.after_marker = false;
        out.push(match self.inside {
            true => Piece::Reasoning(text),
            false => Piece::Answer(text),
        });
    }
}

/// Length of the longest end of `text` that is a beginning of `string`, but not all of it.
fn begun(text: &str, string: &str) -> usize {
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

    /// Reasoning and answer of `text` fed in pieces of `width` characters.
    fn split(
        markers: Option<ReasoningMarkers>,
        inside: bool,
        text: &str,
        width: usize,
    ) -> [String; 2] {
        let mut splitter = ReasoningSplitter::new(markers, inside);
        let letters: Vec<char> = text.chars().collect();
        let mut pieces: Vec<Piece> = letters
            .chunks(width)
            .flat_map(|piece| splitter.push(&String::from_iter(piece)))
            .collect();
        pieces.extend(splitter.finish());
        let mut out = [String::new(), String::new()];
        for piece in pieces {
            match piece {
                Piece::Reasoning(text) => out[0].push_str(&text),
                Piece::Answer(text) => out[1].push_str(&text),
            }
        }
        out
    }

    #[test]
    fn every_cut_gives_the_same_split() {
        let think = ReasoningMarkers::detect("… '</think>' …");
        let harmony = ReasoningMarkers::detect("<|channel|>analysis<|message|>");
        for (markers, inside, text, reasoning, answer) in [
            (
                think,
                false,
                "<think>\nHm.\n\nYes.\n</think>\n\nIt is.\n",
                "Hm.\n\nYes.",
                "It is.\n",
            ),
            (think, true, "\nHm.</think>It <thinks", "Hm.", "It <thinks"),
            (think, true, "no end\n", "no end\n", ""),
            (
                think,
                false,
                "\nplain </think> text",
                "",
                "\nplain </think> text",
            ),
            (
                think,
                false,
                "a<think></think>b<think>c</think>d",
                "c",
                "abd",
            ),
            (None, true, "<think>a</think>", "", "<think>a</think>"),
            (
                harmony,
                false,
                "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
                "Hm.",
                "Yes.",
            ),
        ] {
            for width in 1..=text.chars().count() {
                assert_eq!(
                    split(markers, inside, text, width),
                    [reasoning, answer],
                    "{text:?}"
                );
            }
        }
    }

    #[test]
    fn open_prompts_are_seen() {
        let think = ReasoningMarkers::ALL[0];
        assert!(think.left_open("<|assistant|>\n<think>\n"));
        assert!(!think.left_open("<|assistant|>\n<think>\n\n</think>\n\n"));
        assert_eq!(ReasoningMarkers::detect("{{ messages }}"), None);
    }
}
