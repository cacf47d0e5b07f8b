//! Tokens that are found in text before anything else: control tokens where the caller asks for
//! them, user-defined tokens always.

use aho_corasick::{AhoCorasick, MatchKind};

use super::Token;
use super::vocabulary::{TokenType, Vocabulary};

/// A stretch of text between added tokens, or an added token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fragment<'a> {
    /// Text to be encoded; never empty.
    Text(&'a str),
    /// A token that stood there as text.
    Token(Token),
}

/// Finds added tokens: of those that begin leftmost, the longest.
pub(super) struct Added {
    // With control tokens, and user-defined ones alone.
    all: Option<Set>,
    user_defined: Option<Set>,
}

struct Set {
    automaton: AhoCorasick,
    tokens: Vec<Token>,
    // Per token of the set: takes the white space before it, after it.
    strips: Vec<Strip>,
}

/// White space that an added token takes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Strip {
    pub before: bool,
    pub after: bool,
}

impl Added {
    /// Builds the automata; `strip` says what white space a token takes.
    pub fn new(vocabulary: &Vocabulary, strip: impl Fn(Token) -> Strip) -> Result<Added, String> {
        let set = |wanted: fn(TokenType) -> bool| -> Result<Option<Set>, String> {
            let tokens: Vec<Token> = (0..vocabulary.len() as Token)
                .filter(|&token| {
                    wanted(vocabulary.token_type(token)) && !vocabulary.text(token).is_empty()
                })
                .collect();
            if tokens.is_empty() {
                return Ok(None);
            }
            let automaton = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(tokens.iter().map(|&token| vocabulary.text(token)))
                .map_err(|error| format!("added tokens: {error}"))?;
            Ok(Some(Set {
                automaton,
                strips: tokens.iter().map(|&token| strip(token)).collect(),
                tokens,
            }))
        };
        Ok(Added {
            all: set(|kind| {
                matches!(
                    kind,
                    TokenType::Control | TokenType::UserDefined | TokenType::Unknown
                )
            })?,
            user_defined: set(|kind| kind == TokenType::UserDefined)?,
        })
    }

    /// Calls `each` for the fragments of a text, in order.
    pub fn each<'a>(&self, text: &'a str, control: bool, mut each: impl FnMut(Fragment<'a>)) {
        let set = if control {
            &self.all
        } else {
            &self.user_defined
        };
        let mut rest = 0;
        if let Some(set) = set {
            for found in set.automaton.find_iter(text) {
                let index = found.pattern().as_usize();
                let strip = set.strips[index];
                // A vocabulary can hold part of a character; such a token is not found in text.
                // White space taken by the token before may reach beyond this match's start.
                let Some(mut before) = text.get(rest..found.start().max(rest)) else {
                    continue;
                };
                if found.start() < rest || !text.is_char_boundary(found.end()) {
                    continue;
                }
                if strip.before {
                    before = before.trim_end_matches(is_space);
                }
                if !before.is_empty() {
                    each(Fragment::Text(before));
                }
                each(Fragment::Token(set.tokens[index]));
                rest = found.end();
                if strip.after {
                    rest = text.len() - text[rest..].trim_start_matches(is_space).len();
                }
            }
        }
        if rest < text.len() {
            each(Fragment::Text(&text[rest..]));
        }
    }
}

/// The white space that added tokens take.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}
