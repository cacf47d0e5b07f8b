//! What pre-tokenizers ask about characters: the Unicode general category, in one lookup.

use std::sync::OnceLock;

use regex_syntax::hir::{Class, HirKind};

/// `\p{L}`
pub(super) const LETTER: u16 = 1;
/// `\p{N}`
pub(super) const NUMBER: u16 = 1 << 1;
/// `\s`
pub(super) const SPACE: u16 = 1 << 2;
/// `\p{M}`
pub(super) const MARK: u16 = 1 << 3;
/// `\p{P}`
pub(super) const PUNCTUATION: u16 = 1 << 4;
/// `\p{S}`
pub(super) const SYMBOL: u16 = 1 << 5;
/// `\p{C}` without the unassigned: control, format, private use.
pub(super) const CONTROL: u16 = 1 << 6;
/// `\d`
pub(super) const DECIMAL: u16 = 1 << 7;
/// `\w`
pub(super) const WORD: u16 = 1 << 8;

/// The table rows: a class of the regular-expression syntax and its bit.
const CLASSES: [(&str, u16); 9] = [
    (r"\p{L}", LETTER),
    (r"\p{N}", NUMBER),
    (r"\s", SPACE),
    (r"\p{M}", MARK),
    (r"\p{P}", PUNCTUATION),
    (r"\p{S}", SYMBOL),
    (r"[\p{Cc}\p{Cf}\p{Co}]", CONTROL),
    (r"\d", DECIMAL),
    (r"\w", WORD),
];

/// The classes of every character, as a table of pages of which equal ones are stored once.
pub(super) struct Characters {
    ascii: [u16; 128],
    // Page of each 256 characters.
    pages: Vec<u16>,
    classes: Vec<[u16; 256]>,
}

impl Characters {
    /// The one table; made from the regular-expression parser's Unicode data on first use.
    pub fn get() -> &'static Characters {
        static TABLE: OnceLock<Characters> = OnceLock::new();
        TABLE.get_or_init(Characters::build)
    }

    /// The class bits of a character; none for an unassigned one.
    pub fn classes(&self, character: char) -> u16 {
        let code = character as usize;
        match self.ascii.get(code) {
            Some(&classes) => classes,
            None => self.classes[usize::from(self.pages[code >> 8])][code & 0xff],
        }
    }

    /// The class bits of a byte below 128.
    pub fn ascii(&self, byte: u8) -> u16 {
        self.ascii[usize::from(byte & 0x7f)]
    }

    fn build() -> Characters {
        let mut flat = vec![0u16; char::MAX as usize + 1];
        for (pattern, bit) in CLASSES {
            // The patterns are the constants above, which a test checks.
            let Ok(parsed) = regex_syntax::parse(pattern) else {
                continue;
            };
            if let HirKind::Class(Class::Unicode(class)) = parsed.kind() {
                for range in class.iter() {
                    for classes in &mut flat[range.start() as usize..=range.end() as usize] {
                        *classes |= bit;
                    }
                }
            }
        }
        let mut ascii = [0; 128];
        ascii.copy_from_slice(&flat[..128]);
        let (all, _) = flat.as_chunks::<256>();
        let mut known = std::collections::HashMap::new();
        let mut classes: Vec<[u16; 256]> = Vec::new();
        let pages = all.iter().map(|page| {
            *known.entry(*page).or_insert_with(|| {
                classes.push(*page);
                (classes.len() - 1) as u16
            })
        });
        let pages = pages.collect();
        Characters {
            ascii,
            pages,
            classes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_unicode() {
        let table = Characters::get();
        for (character, expected) in [
            ('a', LETTER | WORD),
            ('7', NUMBER | DECIMAL | WORD),
            (' ', SPACE),
            ('\u{85}', SPACE | CONTROL),
            ('\u{3000}', SPACE),
            ('\u{301}', MARK | WORD),
            ('!', PUNCTUATION),
            ('+', SYMBOL),
            ('é', LETTER | WORD),
            ('中', LETTER | WORD),
            ('²', NUMBER),
            ('😀', SYMBOL),
            ('\u{200d}', CONTROL | WORD),
            ('\u{378}', 0),
        ] {
            assert_eq!(table.classes(character), expected, "{character:?}");
        }
        assert_eq!(table.ascii(b'\n'), SPACE | CONTROL);
        // Rust's own tables agree, save for what a newer Unicode version assigned.
        let differing = (0..=0x2ffff).filter_map(char::from_u32).filter(|&c| {
            c.is_whitespace() != (table.classes(c) & SPACE != 0)
                || (c.is_ascii() && c.is_alphabetic() != (table.classes(c) & LETTER != 0))
        });
        assert_eq!(differing.count(), 0);
    }
}
