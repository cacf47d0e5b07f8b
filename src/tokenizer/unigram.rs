//! SentencePiece Unigram: of all ways to cover the normalized text with tokens, the one with the
//! best sum of scores.

use super::Token;
use super::charsmap::CharacterMap;
use super::sentence::{Cuts, SPACE};
use super::table::Texts;
use super::trie::Trie;
use super::vocabulary::{TokenType, Vocabulary};

/// How white space is treated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spaces {
    /// A space is put before a text.
    pub prefix: bool,
    /// Runs of spaces are one, and those at the ends none.
    pub merge: bool,
}

/// An encoder by the best path.
pub(super) struct Unigram {
    trie: Trie,
    // Texts that normalization leaves as they are.
    kept: Trie,
    // Score of each token.
    scores: Vec<f64>,
    map: CharacterMap,
    spaces: Spaces,
    unknown: Token,
    unknown_score: f64,
    cuts: Cuts,
}

/// How much worse than the worst token an unknown character is.
const UNKNOWN_PENALTY: f32 = 10.0;

#[derive(Clone, Copy)]
struct Step {
    score: f64,
    start: u32,
    token: Token,
}

impl Unigram {
    /// Builds the tables.
    pub fn new(
        vocabulary: &Vocabulary,
        scores: &[f32],
        map: CharacterMap,
        spaces: Spaces,
    ) -> Result<Unigram, String> {
        let Some(unknown) = vocabulary.special.unknown else {
            return Err("a unigram vocabulary needs an unknown token".into());
        };
        let mut trie = Trie::default();
        let mut kept = Trie::default();
        let mut texts = Texts::default();
        let mut worst = f32::MAX;
        let score = |token: Token| scores.get(token as usize).copied().unwrap_or(0.0);
        let mut of_token = Vec::with_capacity(vocabulary.len());
        for token in 0..vocabulary.len() as Token {
            let (kind, text) = (vocabulary.token_type(token), vocabulary.text(token));
            of_token.push(f64::from(score(token)));
            match kind {
                TokenType::Normal => worst = worst.min(score(token)),
                TokenType::UserDefined => {
                    // Always better than being put together from others.
                    of_token[token as usize] = 0.0;
                    kept.insert(text, token);
                }
                TokenType::Unused => {}
                _ => continue,
            }
            trie.insert(text, token);
            texts.push(text)?;
        }
        Ok(Unigram {
            trie,
            kept,
            scores: of_token,
            map,
            spaces,
            unknown,
            unknown_score: f64::from(worst - UNKNOWN_PENALTY),
            cuts: Cuts::new(&texts),
        })
    }

    /// Appends the tokens of a text.
    pub fn encode(&self, text: &str, out: &mut Vec<Token>) {
        let mut path = Path {
            total: 0.0,
            after_unknown: false,
            steps: Vec::new(),
        };
        let normal = self.normalize(text);
        self.cuts
            .each(&normal, |word| self.word(word, &mut path, out));
    }

    /// Appends the tokens of the best path over a word. Scores go on from word to word, so that
    /// rounding is that of one path over the whole text.
    fn word(&self, word: &str, path: &mut Path, out: &mut Vec<Token>) {
        let nothing = Step {
            score: f64::MIN,
            start: 0,
            token: self.unknown,
        };
        path.steps.clear();
        path.steps.resize(word.len() + 1, nothing);
        path.steps[0].score = path.total;
        for (start, character) in word.char_indices() {
            let before = path.steps[start].score;
            let mut whole_character = false;
            let mut offer = |token: Token, length: usize, score: f64| {
                let step = &mut path.steps[start + length];
                if before + score > step.score {
                    *step = Step {
                        score: before + score,
                        start: start as u32,
                        token,
                    };
                }
            };
            for (token, length) in self.trie.prefixes(&word.as_bytes()[start..]) {
                whole_character |= length == character.len_utf8();
                offer(token, length, self.scores[token as usize]);
            }
            if !whole_character {
                offer(self.unknown, character.len_utf8(), self.unknown_score);
            }
        }
        path.total = path.steps[word.len()].score;
        let first = out.len();
        let mut end = word.len();
        while end > 0 {
            let step = path.steps[end];
            out.push(step.token);
            // Every step starts before its end; the bound only keeps this provable here.
            end = (step.start as usize).min(end - 1);
        }
        out[first..].reverse();
        // Unknown characters in a row are one unknown token.
        let mut after_unknown = path.after_unknown;
        let mut write = first;
        for read in first..out.len() {
            let token = out[read];
            let is_unknown = token == self.unknown;
            if !(is_unknown && after_unknown) {
                out[write] = token;
                write += 1;
            }
            after_unknown = is_unknown;
        }
        out.truncate(write);
        path.after_unknown = after_unknown;
    }

    /// The text with characters mapped and spaces written as [`SPACE`].
    fn normalize(&self, text: &str) -> String {
        let mut normal = String::with_capacity(text.len() * 3 / 2);
        let mut prefixed = false;
        let mut in_word = false;
        let mut add = |piece: &str| {
            for character in piece.chars() {
                if character == ' ' {
                    in_word = false;
                    if !self.spaces.merge {
                        normal.push_str(SPACE);
                    }
                    continue;
                }
                if !in_word {
                    in_word = true;
                    if self.spaces.merge || (self.spaces.prefix && !prefixed) {
                        normal.push_str(SPACE);
                        prefixed = true;
                    }
                }
                normal.push(character);
            }
        };
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let kept = self.kept.prefixes(rest.as_bytes()).last();
            let kept = kept.map_or(0, |(_, length)| length);
            let length = if kept > 0 && rest.is_char_boundary(kept) {
                add(&rest[..kept]);
                kept
            } else if let Some((length, replacement)) = self.map.longest(rest) {
                add(replacement);
                length
            } else {
                add(character.encode_utf8(&mut [0; 4]));
                character.len_utf8()
            };
            rest = &rest[length..];
        }
        normal
    }
}

struct Path {
    total: f64,
    after_unknown: bool,
    // Per byte of the word: the best step that ends there.
    steps: Vec<Step>,
}
