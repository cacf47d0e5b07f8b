//! SentencePiece's precompiled character map: text prefixes and what replaces them, as a double
//! array trie followed by the replacements, each ended by a zero byte.
//!
//! Layout of the map: the size of the trie in bytes (u32), the trie (u32 each), the replacements.
//! A unit of the trie, as darts-clone writes it:
//!
//! ```text
//! bit 31 | 30 .. 10 | 9     | 8    | 7 .. 0
//! value? | offset   | scale | leaf | label        (or: 1 | 31 bits of value)
//! ```
//!
//! Everything is little-endian whatever the byte order of the file, and nothing in it is trusted:
//! an index outside the trie ends a match.

/// A map that is checked when it is made; matching cannot fail.
#[derive(Default)]
pub(super) struct CharacterMap {
    units: Vec<u32>,
    // Replacements, each a string; a value of the trie is an offset into them.
    replacements: String,
}

impl CharacterMap {
    /// Takes a map apart. Empty bytes are the map that replaces nothing.
    pub fn new(bytes: &[u8]) -> Result<CharacterMap, String> {
        if bytes.is_empty() {
            return Ok(CharacterMap::default());
        }
        let Some((size, rest)) = bytes.split_first_chunk::<4>() else {
            return Err("the character map has no size".into());
        };
        let size = u32::from_le_bytes(*size) as usize;
        let (Some(trie), Some(replacements)) = (rest.get(..size), rest.get(size..)) else {
            return Err(format!(
                "the character map of {} bytes cannot hold a trie of {size}",
                bytes.len()
            ));
        };
        let (units, odd) = trie.as_chunks::<4>();
        if !odd.is_empty() {
            return Err(format!("a trie of {size} bytes is not one of whole units"));
        }
        let replacements = std::str::from_utf8(replacements)
            .map_err(|_| "the replacements of the character map are not UTF-8".to_owned())?;
        Ok(CharacterMap {
            units: units.iter().map(|&unit| u32::from_le_bytes(unit)).collect(),
            replacements: replacements.to_owned(),
        })
    }

    /// The longest prefix of the text that is replaced: its length and the replacement.
    pub fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let unit = |index: usize| self.units.get(index).copied();
        let mut found = None;
        let mut index = offset(unit(0)?);
        // A prefix in use has a few characters; a cycle in a wrong trie ends here.
        for (at, &byte) in text.as_bytes().iter().enumerate().take(256) {
            index ^= usize::from(byte);
            let Some(node) = unit(index) else { break };
            if byte == 0 || node & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            index ^= offset(node);
            if node & 1 << 8 != 0 {
                found = unit(index).map(|value| (at + 1, value & !(1 << 31)));
            }
        }
        let (length, value) = found.filter(|&(length, _)| text.is_char_boundary(length))?;
        let rest = self.replacements.get(value as usize..)?;
        Some((length, rest.split('\0').next().unwrap_or(rest)))
    }
}

/// Where the children of a unit are, to be combined with their labels by exclusive or.
fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The trie that maps "a" to "xy", built by hand.
    fn small() -> Vec<u8> {
        let mut units = vec![0u32; 256];
        units[0] = 1 << 10; // children at 1 ^ label
        let a = 1 ^ usize::from(b'a');
        units[a] = 2 << 10 | 1 << 8 | u32::from(b'a'); // leaf; value at a ^ 2
        units[a ^ 2] = 1 << 31 | 3;
        let mut bytes = (units.len() as u32 * 4).to_le_bytes().to_vec();
        bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend_from_slice(b"no\0xy\0");
        bytes
    }

    #[test]
    fn finds_replacements() {
        let map = CharacterMap::new(&small()).unwrap();
        assert_eq!(map.longest("abc"), Some((1, "xy")));
        assert_eq!(map.longest("ba"), None);
        assert_eq!(map.longest(""), None);
        assert_eq!(map.longest("\0"), None);
        assert_eq!(CharacterMap::new(&[]).unwrap().longest("a"), None);
    }

    #[test]
    fn nonsense_is_harmless() {
        let good = small();
        for length in 1..good.len() {
            if let Ok(map) = CharacterMap::new(&good[..length]) {
                map.longest("abc");
            }
        }
        let mut state = 1u32;
        for _ in 0..500 {
            let mut bytes = good.clone();
            for byte in &mut bytes[4..1028] {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = (state >> 24) as u8;
            }
            if let Ok(map) = CharacterMap::new(&bytes) {
                map.longest("abc");
                map.longest("中文");
            }
        }
        assert!(CharacterMap::new(&[255, 255, 255, 255, 0]).is_err());
    }
}
