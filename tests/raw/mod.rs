//! Writes GGUF headers field by field, valid or not, in any version and byte order.

/// The beginning of a file; every method adds what follows.
#[derive(Clone, Debug)]
pub struct Raw {
    version: u32,
    big: bool,
    bytes: Vec<u8>,
}

impl Raw {
    /// Magic, version and the two counts of a little-endian file of version 3.
    pub fn header(tensors: u64, keys: u64) -> Raw {
        Raw::start(3, false).length(tensors).length(keys)
    }

    /// Magic and version; `big` for big-endian numbers from there on.
    pub fn start(version: u32, big: bool) -> Raw {
        let raw = Raw {
            version,
            big,
            bytes: b"GGUF".to_vec(),
        };
        raw.u32(version)
    }

    /// Bytes as they are.
    pub fn bytes(mut self, bytes: &[u8]) -> Raw {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// A 16-bit number.
    pub fn u16(self, value: u16) -> Raw {
        let mut bytes = value.to_le_bytes();
        self.order(&mut bytes);
        self.bytes(&bytes)
    }

    /// A 32-bit number.
    pub fn u32(self, value: u32) -> Raw {
        let mut bytes = value.to_le_bytes();
        self.order(&mut bytes);
        self.bytes(&bytes)
    }

    /// A 64-bit number.
    pub fn u64(self, value: u64) -> Raw {
        let mut bytes = value.to_le_bytes();
        self.order(&mut bytes);
        self.bytes(&bytes)
    }

    /// A length, count or dimension, in the width of the version.
    pub fn length(self, value: u64) -> Raw {
        match self.version {
            1 => self.u32(value as u32),
            _ => self.u64(value),
        }
    }

    /// A text with its length before it.
    pub fn text(self, text: impl AsRef<[u8]>) -> Raw {
        let text = text.as_ref();
        self.length(text.len() as u64).bytes(text)
    }

    /// A key and the number of its value's type; the value is to follow.
    pub fn key(self, key: impl AsRef<[u8]>, kind: u32) -> Raw {
        self.text(key).u32(kind)
    }

    /// A key with a 32-bit value.
    pub fn key_u32(self, key: &str, value: u32) -> Raw {
        self.key(key, 4).u32(value)
    }

    /// A tensor's entry, of type number `kind`.
    pub fn tensor(self, name: impl AsRef<[u8]>, shape: &[u64], kind: u32, offset: u64) -> Raw {
        let mut raw = self.text(name).u32(shape.len() as u32);
        for &length in shape {
            raw = raw.length(length);
        }
        raw.u32(kind).u64(offset)
    }

    /// Zeros to the next multiple of 32, and then `count` bytes of data.
    pub fn data(mut self, count: usize) -> Raw {
        let data = self.bytes.len().next_multiple_of(32);
        self.bytes.resize(data, 0);
        self.bytes.extend((0..count).map(|byte| byte as u8));
        self
    }

    /// The file so far.
    pub fn done(self) -> Vec<u8> {
        self.bytes
    }

    fn order(&self, bytes: &mut [u8]) {
        if self.big {
            bytes.reverse();
        }
    }
}

mod tests {
    use super::*;

    #[test]
    fn what_is_written_field_by_field_is_a_file() {
        let file = Raw::header(0, 2)
            .key_u32("k", 7)
            .key("short", 2)
            .u16(8)
            .data(0)
            .done();
        let file = yareta::Gguf::from_bytes(file).unwrap();
        assert_eq!(file.metadata().u32("k").unwrap(), Some(7));
        assert_eq!(file.metadata().u32("short").unwrap(), Some(8));
    }
}
