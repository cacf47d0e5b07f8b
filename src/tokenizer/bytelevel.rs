//! The GPT-2 byte alphabet, in which byte-level vocabularies write arbitrary bytes as printable
//! characters: bytes that print in Latin-1 stand for themselves, the others for U+0100 onwards.

/// The byte that a character of the alphabet stands for.
pub(super) fn byte(character: char) -> Option<u8> {
    let code = character as u32;
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => Some(code as u8),
        // The bytes that do not print, in order: 00..=20, 7f..=a0, ad.
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// Appends the bytes that a text in the alphabet stands for; false, having appended nothing, if
/// it is not written in the alphabet.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let (code, tail) = match (first, tail) {
            (0..0x80, tail) => (u32::from(first), tail),
            // Every character beyond ASCII in the alphabet has two bytes.
            (0xc2..0xe0, [second @ 0x80..0xc0, tail @ ..]) => (
                u32::from(first & 0x1f) << 6 | u32::from(second & 0x3f),
                tail,
            ),
            _ => (u32::MAX, tail),
        };
        let Some(byte) = char::from_u32(code).and_then(byte) else {
            out.truncate(start);
            return false;
        };
        out.push(byte);
        rest = tail;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        let bytes: Vec<u8> = (0..0x150)
            .filter_map(char::from_u32)
            .filter_map(byte)
            .collect();
        let mut sorted = bytes.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn decodes_known_tokens() {
        let mut out = Vec::new();
        assert!(decode("Ġhello".as_bytes(), &mut out));
        assert!(decode("Ċ".as_bytes(), &mut out));
        assert!(decode("Ã©".as_bytes(), &mut out));
        assert_eq!(out, " hello\né".as_bytes());
        for outside in ["a b", "中", "\u{144}", "a\n"] {
            assert!(!decode(outside.as_bytes(), &mut out), "{outside:?}");
        }
        assert!(!decode(&[0xc3], &mut out));
        assert_eq!(out, " hello\né".as_bytes());
    }
}
