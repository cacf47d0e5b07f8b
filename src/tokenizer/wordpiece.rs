//! WordPiece: text is normalized and cut into words; a word is the longest token that begins it,
//! then the longest that continues it, and so on; or the unknown token if that fails.

use unicode_normalization::char::decompose_canonical;

use super::Token;
use super::sentence::SPACE as WORD_START;
use super::trie::Trie;
use super::unicode::{CONTROL, Characters, MARK, PUNCTUATION, SPACE, SYMBOL};
use super::vocabulary::Vocabulary;

/// What is done to text first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Normalizer {
    pub lowercase: bool,
    pub strip_accents: bool,
}

/// An encoder into word pieces.
pub(super) struct WordPiece {
    trie: Trie,
    normalizer: Normalizer,
    unknown: Option<Token>,
}

impl WordPiece {
    /// Builds the tables. The file marks the tokens that begin words with `▁`.
    pub fn new(vocabulary: &Vocabulary, normalizer: Normalizer) -> WordPiece {
        let mut trie = Trie::default();
        for token in 0..vocabulary.len() as Token {
            if vocabulary.token_type(token).is_matched() {
                trie.insert(vocabulary.text(token), token);
            }
        }
        WordPiece {
            trie,
            normalizer,
            unknown: vocabulary.special.unknown,
        }
    }

    /// Appends the tokens of a text.
    pub fn encode(&self, text: &str, out: &mut Vec<Token>) {
        self.normalizer
            .words(text, |word| self.word(word.as_bytes(), out));
    }

    /// Appends the tokens of a word, which begins with [`WORD_START`].
    fn word(&self, mut rest: &[u8], out: &mut Vec<Token>) {
        let start = out.len();
        while !rest.is_empty() {
            let Some((token, length)) = self.trie.prefixes(rest).last() else {
                out.truncate(start);
                break;
            };
            out.push(token);
            rest = &rest[length..];
        }
        if out.len() == start {
            out.extend(self.unknown);
        }
    }
}

impl Normalizer {
    /// Calls `each` for each word of the text, with [`WORD_START`] before it.
    fn words(self, text: &str, mut each: impl FnMut(&str)) {
        let characters = Characters::get();
        let mut word = String::from(WORD_START);
        let mut finish = |word: &mut String| {
            if word.len() > WORD_START.len() {
                each(word);
                word.truncate(WORD_START.len());
            }
        };
        for character in text.chars() {
            let character = self.base(character);
            let classes = characters.classes(character);
            if classes & SPACE != 0 {
                finish(&mut word);
                continue;
            }
            let dropped = matches!(character, '\0' | char::REPLACEMENT_CHARACTER);
            if dropped || classes & CONTROL != 0 || (self.strip_accents && classes & MARK != 0) {
                continue;
            }
            let alone = classes & PUNCTUATION != 0
                || (character.is_ascii() && classes & SYMBOL != 0)
                || is_ideograph(character);
            if alone {
                finish(&mut word);
            }
            word.push(self.lower(character));
            if alone {
                finish(&mut word);
            }
        }
        finish(&mut word);
    }

    /// The character without its marks.
    fn base(self, character: char) -> char {
        if !self.strip_accents || character.is_ascii() {
            return character;
        }
        let mut base = None;
        decompose_canonical(character, |part| {
            base.get_or_insert(part);
        });
        base.unwrap_or(character)
    }

    fn lower(self, character: char) -> char {
        if !self.lowercase {
            return character;
        }
        character.to_lowercase().next().unwrap_or(character)
    }
}

/// The ideographs that are words of their own: the blocks that BERT's tokenizer lists, with the
/// gap in its last but two.
fn is_ideograph(character: char) -> bool {
    matches!(
        u32::from(character),
        0x4e00..=0x9fff
            | 0x3400..=0x4dbf
            | 0x20000..=0x2a6df
            | 0x2a700..=0x2b81f
            | 0x2b920..=0x2ceaf
            | 0xf900..=0xfaff
            | 0x2f800..=0x2fa1f
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, lowercase: bool) -> Vec<String> {
        let mut words = Vec::new();
        let normalizer = Normalizer {
            lowercase,
            strip_accents: lowercase,
        };
        normalizer.words(text, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn normalizes_and_cuts() {
        assert_eq!(
            words("Héllo,\tWORLD中文 a\u{200b}b\0", true),
            ["▁hello", "▁,", "▁world", "▁中", "▁文", "▁ab"]
        );
        assert_eq!(words("Héllo", false), ["▁Héllo"]);
        assert_eq!(words(" \n", true), [""; 0]);
    }
}
