//! The hand-written splitter for the patterns that most models share: contractions, letters with
//! a character before them, digits in groups, punctuation, white space. It does in one pass what
//! the regular expression does; a test holds the two equal.

use super::unicode::{Characters, LETTER, NUMBER, SPACE};

/// Which `'s 't 're 've 'm 'll 'd` are words of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contractions {
    /// None.
    None,
    /// Those in lower case.
    Lower,
    /// Those in any case, ASCII only.
    AnyCase,
}

/// What may stand before the letters of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// A space: ` ?\p{L}+`; and the same for numbers.
    Space,
    /// Any one character but letters, numbers and line ends: `[^\r\n\p{L}\p{N}]?\p{L}+`.
    Any,
}

/// A pattern of this family; see the constants of the pre-tokenizer table for whole examples.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    pub contractions: Contractions,
    pub before: Before,
    /// Classes of which a word is made: letters, in some patterns marks too.
    pub letters: u16,
    /// Longest group of digits.
    pub digits: usize,
    /// Line ends go with the punctuation before them (`[\r\n]*`), and blank space up to a line
    /// end is one piece (`\s*[\r\n]+`).
    pub line_ends: bool,
}

impl Words {
    /// Calls `each` for each piece of `text`; the pieces together are the text.
    pub fn split(&self, text: &str, each: &mut dyn FnMut(&str)) {
        let characters = Characters::get();
        let mut rest = text;
        while !rest.is_empty() {
            let length = self.first(rest, characters);
            let (piece, after) = rest.split_at(length);
            each(piece);
            rest = after;
        }
    }

    /// Length in bytes of the first piece of a text that is not empty.
    fn first(&self, text: &str, characters: &Characters) -> usize {
        let cursor = Cursor {
            text,
            bytes: text.as_bytes(),
            characters,
        };
        let byte = cursor.bytes[0];
        if byte == b'\'' && self.contractions != Contractions::None {
            let length = self.contraction(cursor.bytes);
            if length > 0 {
                return length;
            }
        }
        let (class, length) = cursor.at(0);
        if class & self.letters != 0 {
            return cursor.run(length, self.letters);
        }
        let (next, next_length) = match self.before {
            Before::Any if class & NUMBER == 0 && byte != b'\r' && byte != b'\n' => {
                cursor.at(length)
            }
            Before::Space if byte == b' ' => cursor.at(1),
            _ => (0, 0),
        };
        if next & self.letters != 0 {
            return cursor.run(length + next_length, self.letters);
        }
        if class & NUMBER != 0 {
            return cursor.number(length, self.digits);
        }
        if self.before == Before::Space && next & NUMBER != 0 {
            return cursor.number(1 + next_length, self.digits);
        }
        let outside = SPACE | LETTER | NUMBER | self.letters;
        if class & outside == 0 {
            return self.punctuation(&cursor, length);
        }
        if byte == b' ' {
            let (class, length) = cursor.at(1);
            if length > 0 && class & outside == 0 {
                return self.punctuation(&cursor, 1 + length);
            }
        }
        self.space(&cursor)
    }

    fn contraction(&self, bytes: &[u8]) -> usize {
        let letter = |at: usize| match (self.contractions, bytes.get(at)) {
            (_, None) => 0,
            (Contractions::AnyCase, Some(byte)) => byte.to_ascii_lowercase(),
            (_, Some(&byte)) => byte,
        };
        match (letter(1), letter(2)) {
            (b's' | b't' | b'm' | b'd', _) => 2,
            (b'r', b'e') | (b'v', b'e') | (b'l', b'l') => 3,
            _ => 0,
        }
    }

    fn punctuation(&self, cursor: &Cursor, from: usize) -> usize {
        let outside = SPACE | LETTER | NUMBER | self.letters;
        let mut end = cursor.run_without(from, outside);
        if self.line_ends {
            while let Some(b'\r' | b'\n') = cursor.bytes.get(end) {
                end += 1;
            }
        }
        end
    }

    /// `\s*[\r\n]+` where the pattern has it, then `\s+(?!\S)|\s+`.
    fn space(&self, cursor: &Cursor) -> usize {
        let (_, first) = cursor.at(0);
        let mut end = 0;
        let mut last = 0; // start of the last character of the run
        let mut after_line_end = 0;
        loop {
            let (class, length) = cursor.at(end);
            if class & SPACE == 0 {
                break;
            }
            last = end;
            end += length;
            if let b'\r' | b'\n' = cursor.bytes[last] {
                after_line_end = end;
            }
        }
        if self.line_ends && after_line_end > 0 {
            after_line_end
        } else if end == 0 {
            // Not reached: a character is in one of the classes. It would be its own piece.
            first
        } else if end < cursor.bytes.len() && last > 0 {
            last
        } else {
            end
        }
    }
}

struct Cursor<'a> {
    text: &'a str,
    bytes: &'a [u8],
    characters: &'a Characters,
}

impl Cursor<'_> {
    /// Classes and length of the character at an offset; (0, 0) at the end.
    #[inline(always)]
    fn at(&self, offset: usize) -> (u16, usize) {
        match self.bytes.get(offset) {
            None => (0, 0),
            Some(&byte) if byte < 128 => (self.characters.ascii(byte), 1),
            Some(_) => match self.text[offset..].chars().next() {
                Some(character) => (self.characters.classes(character), character.len_utf8()),
                None => (0, 0),
            },
        }
    }

    /// End of the run of characters of the given classes.
    #[inline(always)]
    fn run(&self, mut offset: usize, classes: u16) -> usize {
        loop {
            let (class, length) = self.at(offset);
            if class & classes == 0 {
                return offset;
            }
            offset += length;
        }
    }

    fn run_without(&self, mut offset: usize, classes: u16) -> usize {
        loop {
            let (class, length) = self.at(offset);
            if length == 0 || class & classes != 0 {
                return offset;
            }
            offset += length;
        }
    }

    /// End of a group of digits of which the first ends at `offset`.
    fn number(&self, mut offset: usize, most: usize) -> usize {
        for _ in 1..most {
            let (class, length) = self.at(offset);
            if class & NUMBER == 0 {
                break;
            }
            offset += length;
        }
        offset
    }
}
