//! Arrays of metadata, read over once when the file is opened and then again where they are used.

use std::fmt;

use super::cursor::{Cursor, Encoding};
use super::value::{Reader, Value, ValueType};
use crate::file::Bytes;

/// An array of the file, in its place. Its elements were checked when the file was opened.
#[derive(Clone)]
pub struct Array {
    pub(super) bytes: Bytes,
    pub(super) start: usize, // of the first element
    pub(super) end: usize,
    pub(super) len: usize, // elements
    pub(super) element_type: ValueType,
    pub(super) encoding: Encoding,
    pub(super) not_utf8: Option<usize>, // the first string that is not UTF-8
}

impl Array {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The type of every element.
    pub fn element_type(&self) -> ValueType {
        self.element_type
    }

    /// The elements in order.
    pub fn iter(&self) -> Values<'_> {
        Values {
            array: self,
            cursor: self.cursor(),
            left: self.len,
        }
    }

    /// The strings in order, as bytes; `None` if the elements are no strings.
    pub fn byte_strings(&self) -> Option<ByteStrings<'_>> {
        (self.element_type == ValueType::String).then(|| ByteStrings {
            cursor: self.cursor(),
            left: self.len,
        })
    }

    /// The position of the first string that is not UTF-8, if there is one.
    pub(crate) fn not_utf8(&self) -> Option<usize> {
        self.not_utf8
    }

    /// The elements as they are in the file, if that is how `encoding` writes them.
    pub(crate) fn raw(&self, encoding: Encoding) -> Option<&[u8]> {
        (self.encoding == encoding).then(|| self.elements())
    }

    /// An array that stands alone: `bytes` hold `len` elements as [`Encoding::CURRENT`] writes
    /// them.
    pub(crate) fn from_bytes(element_type: ValueType, len: usize, bytes: Vec<u8>) -> Array {
        Array {
            start: 0,
            end: bytes.len(),
            bytes: bytes.into(),
            len,
            element_type,
            encoding: Encoding::CURRENT,
            not_utf8: None,
        }
    }

    fn elements(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    fn cursor(&self) -> Cursor<'_> {
        Cursor::new(self.elements(), 0, self.encoding)
    }

    /// The name that errors give the type of the whole array.
    pub(super) fn type_name(&self) -> &'static str {
        match self.element_type {
            ValueType::U8 => "an array of u8",
            ValueType::I8 => "an array of i8",
            ValueType::U16 => "an array of u16",
            ValueType::I16 => "an array of i16",
            ValueType::U32 => "an array of u32",
            ValueType::I32 => "an array of i32",
            ValueType::F32 => "an array of f32",
            ValueType::Bool => "an array of bool",
            ValueType::String => "an array of strings",
            ValueType::Array => "an array of arrays",
            ValueType::U64 => "an array of u64",
            ValueType::I64 => "an array of i64",
            ValueType::F64 => "an array of f64",
        }
    }
}

impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.type_name(), self)
    }
}

/// The elements of an [`Array`].
#[derive(Clone)]
pub struct Values<'a> {
    array: &'a Array,
    cursor: Cursor<'a>,
    left: usize,
}

impl Iterator for Values<'_> {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        self.left = self.left.checked_sub(1)?;
        // The elements were read once when the file was opened; should they have changed under
        // the map since, the iteration ends early rather than trusting them.
        let kind = self.array.element_type;
        let reader = Reader {
            bytes: &self.array.bytes,
            base: self.array.start,
        };
        reader.value(&mut self.cursor, kind, 0).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

/// The strings of an [`Array`], as bytes.
#[derive(Clone)]
pub struct ByteStrings<'a> {
    cursor: Cursor<'a>,
    left: usize,
}

impl<'a> Iterator for ByteStrings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.checked_sub(1)?;
        // As for `Values`, except that the number of strings is kept: a string that cannot be
        // read any more is empty.
        Some(self.cursor.string().unwrap_or_default())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for ByteStrings<'_> {}

/// The strings of an [`Array`] whose strings are all UTF-8.
#[derive(Clone)]
pub struct Strings<'a>(pub(crate) ByteStrings<'a>);

impl<'a> Iterator for Strings<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        // That it is UTF-8 was checked when the file was opened.
        Some(std::str::from_utf8(self.0.next()?).unwrap_or_default())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Strings<'_> {}

/// Shows the first eight elements, and how many there are if there are more.
impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        f.write_str("[")?;
        for (position, value) in self.iter().take(SHOWN).enumerate() {
            let comma = if position == 0 { "" } else { ", " };
            write!(f, "{comma}{value}")?;
        }
        if self.len > SHOWN {
            write!(f, ", … {} in all", self.len)?;
        }
        f.write_str("]")
    }
}
