//! The RWKV vocabulary: at each place the longest token that fits.

use super::Token;
use super::trie::Trie;
use super::vocabulary::Vocabulary;

/// An encoder by longest match.
pub(super) struct Rwkv {
    trie: Trie,
    unknown: Option<Token>,
}

impl Rwkv {
    /// Builds the tables. The file writes tokens as Python literals without quotes.
    pub fn new(vocabulary: &Vocabulary) -> Rwkv {
        let mut trie = Trie::default();
        let mut text = Vec::new();
        for token in 0..vocabulary.len() as Token {
            if vocabulary.token_type(token).is_matched() {
                text.clear();
                unescape(vocabulary.text(token), &mut text);
                trie.insert(&text, token);
            }
        }
        Rwkv {
            trie,
            unknown: vocabulary.special.unknown,
        }
    }

    /// Appends the tokens of a text. A byte that begins no token is the unknown token, or
    /// nothing where there is none.
    pub fn encode(&self, mut text: &[u8], out: &mut Vec<Token>) {
        while !text.is_empty() {
            let (token, length) = match self.trie.prefixes(text).last() {
                Some((token, length)) => (Some(token), length),
                None => (self.unknown, 1),
            };
            out.extend(token);
            text = &text[length..];
        }
    }
}

/// Appends what a Python literal stands for: `\t`, `\n`, `\r`, `\x..`, and any other character
/// after a backslash itself.
pub(super) fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text.iter().copied();
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match rest.next() {
            Some(b't') => out.push(b'\t'),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b'x') => {
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                out.push((high.unwrap_or(0) << 4 | low.unwrap_or(0)) as u8);
            }
            other => out.extend(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unescapes() {
        let mut out = Vec::new();
        unescape(br"a\tb\n\r\x00\xff\\\'\x4", &mut out);
        assert_eq!(out, b"a\tb\n\r\x00\xff\\'\x40");
    }
}
