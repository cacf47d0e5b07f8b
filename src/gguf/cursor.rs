//! Reads the numbers and texts of a GGUF header one after another, never past its end.
//!
//! Every read names its subject, so that the error of a file that ends too soon says inside what.

use std::fmt;

use byteorder::{BigEndian, ByteOrder, LittleEndian};

use crate::{Error, Result};

/// How numbers and lengths are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Encoding {
    /// Byte order.
    pub(crate) order: Order,
    /// Width of counts, lengths and dimensions: 4 bytes in version 1, 8 bytes since.
    pub(crate) length_bytes: usize,
}

/// The byte order of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Encoding {
    /// What the writer writes: little endian with 8-byte lengths.
    pub(crate) const CURRENT: Encoding = Encoding {
        order: Order::Little,
        length_bytes: 8,
    };

    /// An unsigned integer of 1, 2, 4 or 8 bytes.
    pub(crate) fn unsigned(self, bytes: &[u8]) -> u64 {
        match self.order {
            Order::Little => LittleEndian::read_uint(bytes, bytes.len()),
            Order::Big => BigEndian::read_uint(bytes, bytes.len()),
        }
    }
}

/// What is being read, for errors.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Subject<'a> {
    /// Magic, version and counts.
    Header,
    /// The name of a metadata key: its number from 0, and how many there are.
    Key(u64, u64),
    /// The value of a metadata key.
    Value(&'a str),
    /// The name of a tensor: its number from 0, and how many there are.
    TensorName(u64, u64),
    /// The shape, type and offset of a tensor.
    TensorEntry(&'a str),
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Header => write!(f, "the header"),
            Subject::Key(number, of) => write!(f, "metadata key {} of {of}", number + 1),
            Subject::Value(key) => write!(f, "the value of metadata key `{key}`"),
            Subject::TensorName(number, of) => {
                write!(f, "the name of tensor {} of {of}", number + 1)
            }
            Subject::TensorEntry(name) => write!(f, "the entry of tensor `{name}`"),
        }
    }
}

/// A position in the bytes of a header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    encoding: Encoding,
    subject: Subject<'a>,
}

impl<'a> Cursor<'a> {
    /// A cursor at `at`; reads fail if that is past the end.
    pub(crate) fn new(bytes: &'a [u8], at: usize, encoding: Encoding) -> Cursor<'a> {
        Cursor {
            bytes,
            at,
            encoding,
            subject: Subject::Header,
        }
    }

    /// Position from the start of the bytes.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// How numbers are written.
    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Names what is read from here on.
    pub(crate) fn about(&mut self, subject: Subject<'a>) {
        self.subject = subject;
    }

    /// Bytes from here to the end.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// An error about the current subject, at byte `at`.
    pub(crate) fn malformed(&self, at: usize, what: impl fmt::Display) -> Error {
        Error::Malformed {
            what: format!("{}: {what}", self.subject),
            offset: at as u64,
        }
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count);
        let Some(bytes) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return Err(Error::Malformed {
                what: format!("the file ends inside {}", self.subject),
                offset: self.bytes.len() as u64,
            });
        };
        self.at += count;
        Ok(bytes)
    }

    /// A 32-bit number: a type, a version, a number of dimensions.
    pub(crate) fn number(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(self.encoding.unsigned(bytes) as u32) // four bytes fit
    }

    /// An offset, which is 64 bits wide in every version.
    pub(crate) fn offset(&mut self) -> Result<u64> {
        let bytes = self.take(8)?;
        Ok(self.encoding.unsigned(bytes))
    }

    /// A length, count or dimension.
    pub(crate) fn length(&mut self) -> Result<u64> {
        let bytes = self.take(self.encoding.length_bytes)?;
        Ok(self.encoding.unsigned(bytes))
    }

    /// A count of things that take at least `least` bytes each, all of which must still fit.
    pub(crate) fn count(&mut self, things: &str, least: usize) -> Result<usize> {
        let at = self.at;
        let count = self.length()?;
        self.fits(at, (count, things), least)
    }

    /// Checks that `count` things of at least `least` bytes each can follow; `at` is where the
    /// count was read.
    pub(crate) fn fits(
        &self,
        at: usize,
        (count, things): (u64, &str),
        least: usize,
    ) -> Result<usize> {
        let most = self.remaining() / least.max(1);
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(self.malformed(
                at,
                format_args!("{count} {things} do not fit the rest of the file"),
            )),
        }
    }

    /// A string: a length and as many bytes, which need not be UTF-8.
    pub(crate) fn string(&mut self) -> Result<&'a [u8]> {
        let length = self.count("bytes of text", 1)?;
        self.take(length)
    }

    /// A string that must be UTF-8 and at most `longest` bytes long.
    pub(crate) fn name(&mut self, longest: usize) -> Result<&'a str> {
        let at = self.at;
        let bytes = self.string()?;
        if bytes.len() > longest {
            let length = bytes.len();
            return Err(self.malformed(
                at,
                format_args!("a name of {length} bytes, longer than {longest}"),
            ));
        }
        std::str::from_utf8(bytes).map_err(|_| self.malformed(at, "a name that is not UTF-8"))
    }
}
