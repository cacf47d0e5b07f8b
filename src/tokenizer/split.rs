//! Pre-tokenization: cutting text into the pieces within which symbols are merged.
//!
//! A pre-tokenizer is a few stages; each stage splits every piece of the stage before it. What a
//! stage matches are pieces, and so is what lies between two matches. The patterns come from the
//! table in [`super::pre`]; this module makes them run in linear time: regular expressions
//! without look-around, and the few look-aheads that the patterns have by hand.

use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input};

use super::unicode::{Characters, DECIMAL, NUMBER, SPACE, WORD};
use super::words::Words;

/// One stage, as the table writes it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// The hand-written splitter.
    Words(Words),
    /// A regular expression whose matches are pieces.
    Pattern(&'static str),
    /// A regular expression followed by `|\s+(?!\S)|\s+`.
    PatternThenSpace(&'static str),
    /// A regular expression followed by `\s{n}(?!\S)` for each of the numbers in turn, then
    /// `\s{1,2}(?!\S)|\s`.
    PatternThenSteps(&'static str, &'static [usize]),
    /// `\s+$`
    SpaceAtEnd,
    /// Numbers in groups of three counted from their end.
    DigitsFromRight(Digits),
}

/// Which numbers are cut into groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digits {
    /// All; what is not a number is a piece too.
    All,
    /// Those that end where a word could: `\d{1,3}(?=(?:\d{3})*\b)`.
    BeforeBoundary,
}

/// Stages ready to run.
pub(super) struct Splitter {
    stages: Vec<Ready>,
}

enum Ready {
    Words(Words),
    Pattern(Regex),
    Cover(Regex, Tail),
    SpaceAtEnd,
    DigitsFromRight(Digits),
}

/// What becomes of white space that the pattern does not match.
#[derive(Clone, Copy)]
enum Tail {
    /// All but the last character, if something follows.
    Run,
    /// Steps of the given lengths.
    Steps(&'static [usize]),
}

impl Splitter {
    /// Compiles the stages.
    pub fn new(stages: &[Stage]) -> Result<Splitter, String> {
        let compile = |pattern: &str| {
            Regex::new(pattern).map_err(|error| format!("pattern `{pattern}`: {error}"))
        };
        let stages = stages.iter().map(|stage| {
            Ok(match *stage {
                Stage::Words(words) => Ready::Words(words),
                Stage::Pattern(pattern) => Ready::Pattern(compile(pattern)?),
                Stage::PatternThenSpace(pattern) => Ready::Cover(compile(pattern)?, Tail::Run),
                Stage::PatternThenSteps(pattern, steps) => {
                    Ready::Cover(compile(pattern)?, Tail::Steps(steps))
                }
                Stage::SpaceAtEnd => Ready::SpaceAtEnd,
                Stage::DigitsFromRight(digits) => Ready::DigitsFromRight(digits),
            })
        });
        Ok(Splitter {
            stages: stages.collect::<Result<_, String>>()?,
        })
    }

    /// Calls `each` for each piece of the text, in order; together they are the text.
    pub fn split(&self, text: &str, each: &mut dyn FnMut(&str)) {
        self.stage(0, text, each);
    }

    fn stage(&self, index: usize, text: &str, each: &mut dyn FnMut(&str)) {
        let Some(stage) = self.stages.get(index) else {
            return each(text);
        };
        let last = index + 1 == self.stages.len();
        let mut next = |piece: &str| {
            if piece.is_empty() {
                return;
            }
            if last {
                each(piece);
            } else {
                self.stage(index + 1, piece, each);
            }
        };
        match stage {
            Ready::Words(words) => words.split(text, &mut next),
            Ready::Pattern(regex) => split_matches(regex, text, &mut next),
            Ready::Cover(regex, tail) => split_cover(regex, *tail, text, &mut next),
            Ready::SpaceAtEnd => {
                let kept = text.trim_end();
                next(kept);
                next(&text[kept.len()..]);
            }
            Ready::DigitsFromRight(digits) => split_digits(*digits, text, &mut next),
        }
    }
}

/// Matches and what lies between them.
fn split_matches(regex: &Regex, text: &str, each: &mut dyn FnMut(&str)) {
    let mut done = 0;
    for found in regex.find_iter(text) {
        each(&text[done..found.start()]);
        each(&text[found.start()..found.end()]);
        done = found.end();
    }
    each(&text[done..]);
}

/// Matches at each place in turn, white space by the tail, and what lies between.
fn split_cover(regex: &Regex, tail: Tail, text: &str, each: &mut dyn FnMut(&str)) {
    let characters = Characters::get();
    let mut gap = 0; // start of what nothing matched
    let mut at = 0;
    while at < text.len() {
        let input = Input::new(text).range(at..).anchored(Anchored::Yes);
        let found = regex.search_half(&input);
        if let Some(end) = found.map(|found| found.offset()).filter(|&end| end > at) {
            each(&text[gap..at]);
            each(&text[at..end]);
            (gap, at) = (end, end);
            continue;
        }
        let run = text[at..]
            .char_indices()
            .find(|&(_, c)| characters.classes(c) & SPACE == 0)
            .map_or(text.len(), |(offset, _)| at + offset);
        if run > at {
            each(&text[gap..at]);
            at = match tail {
                Tail::Run => split_run(text, at, run, each),
                Tail::Steps(steps) => split_steps(steps, text, at..run, each),
            };
            gap = at;
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    each(&text[gap..]);
}

/// `\s+(?!\S)|\s+` on a run of white space; returns where it ended.
fn split_run(text: &str, start: usize, end: usize, each: &mut dyn FnMut(&str)) -> usize {
    let last = text[..end].char_indices().next_back();
    let last = last.map_or(start, |(offset, _)| offset);
    let end = if end < text.len() && last > start {
        last
    } else {
        end
    };
    each(&text[start..end]);
    end
}

/// `\s{n}(?!\S)|…|\s{1,2}(?!\S)|\s` on a run of white space, until one character of it is left
/// that may belong to what follows; returns where it ended. A step at a time would search the
/// rest of the run for a line end again and again.
fn split_steps(
    steps: &[usize],
    text: &str,
    run: std::ops::Range<usize>,
    each: &mut dyn FnMut(&str),
) -> usize {
    let more = run.end < text.len();
    let starts: Vec<usize> = text[run.clone()]
        .char_indices()
        .map(|(offset, _)| run.start + offset)
        .chain([run.end])
        .collect();
    let mut at = 0;
    let mut left = starts.len() - 1;
    loop {
        let fits = |&step: &usize| left > step || (left == step && !more);
        let step = steps.iter().copied().chain([2, 1]).find(fits).unwrap_or(1);
        each(&text[starts[at]..starts[at + step]]);
        at += step;
        left -= step;
        if left == 0 || (left == 1 && more) {
            return starts[at];
        }
    }
}

fn split_digits(digits: Digits, text: &str, each: &mut dyn FnMut(&str)) {
    let characters = Characters::get();
    let class = match digits {
        Digits::All => NUMBER,
        Digits::BeforeBoundary => DECIMAL,
    };
    let is_digit = |c: char| characters.classes(c) & class != 0;
    let mut gap = 0;
    let mut at = 0;
    while let Some(start) = text[at..].find(is_digit).map(|offset| at + offset) {
        let end = text[start..]
            .find(|c| !is_digit(c))
            .map_or(text.len(), |offset| start + offset);
        at = end;
        let after = text[end..].chars().next();
        let joined = after.is_some_and(|c| characters.classes(c) & WORD != 0);
        if digits == Digits::BeforeBoundary && joined {
            continue;
        }
        each(&text[gap..start]);
        let count = text[start..end].chars().count();
        let mut from = start;
        for (index, (offset, _)) in text[start..end].char_indices().enumerate() {
            if index > 0 && (count - index).is_multiple_of(3) {
                each(&text[from..start + offset]);
                from = start + offset;
            }
        }
        each(&text[from..end]);
        gap = end;
    }
    each(&text[gap..]);
}

#[cfg(test)]
mod tests {
    use super::super::unicode::{LETTER, MARK};
    use super::super::words::{Before, Contractions};
    use super::*;

    fn pieces(stages: &[Stage], text: &str) -> Vec<String> {
        let mut pieces = Vec::new();
        let splitter = Splitter::new(stages).unwrap();
        splitter.split(text, &mut |piece| pieces.push(piece.to_owned()));
        pieces
    }

    /// Texts over an alphabet in which every class and every special case of the patterns occurs.
    fn texts() -> impl Iterator<Item = String> {
        const PARTS: &[&str] = &[
            "a", "B", "é", "中", "\u{e31}", "\u{301}", "1", "²", "٣", "!", "'", "'s", "'LL", "'Re",
            "+", "😀", " ", "  ", "\t", "\n", "\r", "\u{3000}", "\u{85}", "\0", "\u{200d}",
            "\u{378}", "/", "'ſ",
        ];
        let mut state = 7u64;
        (0..20_000).map(move |_| {
            let mut next = |below: usize| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 33) as usize % below
            };
            let length = 1 + next(12);
            (0..length).map(|_| PARTS[next(PARTS.len())]).collect()
        })
    }

    #[test]
    fn words_are_what_the_patterns_say() {
        const LOWER: &str = "'s|'t|'re|'ve|'m|'ll|'d|";
        const ANY: &str = "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]|";
        const LLAMA: &str =
            r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
        const MARKED: &str =
            r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+";
        let llama = Words {
            contractions: Contractions::AnyCase,
            before: Before::Any,
            letters: LETTER,
            digits: 3,
            line_ends: true,
        };
        let cases = [
            (
                Words {
                    contractions: Contractions::Lower,
                    before: Before::Space,
                    letters: LETTER,
                    digits: usize::MAX,
                    line_ends: false,
                },
                format!("{LOWER}{}", r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+"),
            ),
            (llama, format!("{ANY}{LLAMA}")),
            (
                Words {
                    contractions: Contractions::None,
                    ..llama
                },
                LLAMA.to_owned(),
            ),
            (
                Words {
                    digits: 1,
                    letters: LETTER | MARK,
                    ..llama
                },
                format!("{ANY}{MARKED}"),
            ),
        ];
        for (words, pattern) in cases {
            let pattern: &'static str = pattern.leak();
            let by_hand = Splitter::new(&[Stage::Words(words)]).unwrap();
            let by_pattern = Splitter::new(&[Stage::PatternThenSpace(pattern)]).unwrap();
            for text in texts() {
                let collect = |splitter: &Splitter| {
                    let mut pieces = Vec::new();
                    splitter.split(&text, &mut |piece| pieces.push(piece.to_owned()));
                    pieces
                };
                let pieces = collect(&by_hand);
                assert_eq!(pieces, collect(&by_pattern), "{text:?} by {pattern}");
                assert_eq!(pieces.concat(), text);
            }
        }
    }

    #[test]
    fn every_row_of_the_table_covers_every_text() {
        for row in super::super::pre::all() {
            let splitter = Splitter::new(row.stages).unwrap();
            for text in texts().take(500) {
                let mut whole = String::new();
                splitter.split(&text, &mut |piece| {
                    assert!(!piece.is_empty());
                    whole.push_str(piece);
                });
                assert_eq!(whole, text, "{:?}", row.names);
            }
        }
    }

    #[test]
    fn digits_group_from_the_right() {
        let all = [Stage::DigitsFromRight(Digits::All)];
        assert_eq!(
            pieces(&all, "a1234567b12"),
            ["a", "1", "234", "567", "b", "12"]
        );
        assert_eq!(pieces(&all, "123456"), ["123", "456"]);
        let bounded = [Stage::DigitsFromRight(Digits::BeforeBoundary)];
        assert_eq!(pieces(&bounded, "1234 5678x"), ["1", "234", " 5678x"]);
    }

    #[test]
    fn white_space_leaves_one_for_what_follows() {
        let stages = [Stage::PatternThenSpace(r" ?\p{L}+")];
        assert_eq!(pieces(&stages, "a   b  "), ["a", "  ", " b", "  "]);
        assert_eq!(pieces(&stages, "a\tb"), ["a", "\t", "b"]);
        let stages = [Stage::PatternThenSteps(r" ?\p{L}+", &[8, 4])];
        let spaces = format!("{}b", " ".repeat(15));
        let lengths: Vec<usize> = pieces(&stages, &spaces).iter().map(String::len).collect();
        assert_eq!(lengths, [8, 4, 2, 2]);
        let end: Vec<usize> = pieces(&stages, &" ".repeat(13))
            .iter()
            .map(String::len)
            .collect();
        assert_eq!(end, [8, 4, 1]);
        assert_eq!(pieces(&[Stage::SpaceAtEnd], "a b \n"), ["a b", " \n"]);
    }
}
