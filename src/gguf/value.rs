//! Metadata values: numbers, texts and arrays, and how they are read. Texts and arrays stay where
//! they are in the file.

use std::fmt;

use super::array::Array;
use super::cursor::{Cursor, Encoding, Subject};
use crate::Result;
use crate::file::Bytes;

/// How deeply arrays may be nested in arrays. Files in use nest at most two.
const DEEPEST: usize = 4;

/// The value of a metadata key, or an element of an array.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Value {
    /// An 8-bit unsigned integer.
    U8(u8),
    /// An 8-bit signed integer.
    I8(i8),
    /// A 16-bit unsigned integer.
    U16(u16),
    /// A 16-bit signed integer.
    I16(i16),
    /// A 32-bit unsigned integer.
    U32(u32),
    /// A 32-bit signed integer.
    I32(i32),
    /// A 32-bit float.
    F32(f32),
    /// A truth value.
    Bool(bool),
    /// A text.
    String(Text),
    /// An array of values of one type.
    Array(Array),
    /// A 64-bit unsigned integer.
    U64(u64),
    /// A 64-bit signed integer.
    I64(i64),
    /// A 64-bit float.
    F64(f64),
}

/// The type of a value, in the order of the numbers by which GGUF files name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// An 8-bit unsigned integer.
    U8,
    /// An 8-bit signed integer.
    I8,
    /// A 16-bit unsigned integer.
    U16,
    /// A 16-bit signed integer.
    I16,
    /// A 32-bit unsigned integer.
    U32,
    /// A 32-bit signed integer.
    I32,
    /// A 32-bit float.
    F32,
    /// A truth value.
    Bool,
    /// A text.
    String,
    /// An array of values of one type.
    Array,
    /// A 64-bit unsigned integer.
    U64,
    /// A 64-bit signed integer.
    I64,
    /// A 64-bit float.
    F64,
}

impl ValueType {
    const ALL: [ValueType; 13] = [
        ValueType::U8,
        ValueType::I8,
        ValueType::U16,
        ValueType::I16,
        ValueType::U32,
        ValueType::I32,
        ValueType::F32,
        ValueType::Bool,
        ValueType::String,
        ValueType::Array,
        ValueType::U64,
        ValueType::I64,
        ValueType::F64,
    ];

    /// The type that files write as `id`.
    pub(crate) fn from_id(id: u32) -> Option<ValueType> {
        ValueType::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// The number that stands for it in files.
    pub(crate) fn id(self) -> u32 {
        self as u32
    }

    /// Its name: `u32`, `string`, `array`.
    pub fn name(self) -> &'static str {
        match self {
            ValueType::U8 => "u8",
            ValueType::I8 => "i8",
            ValueType::U16 => "u16",
            ValueType::I16 => "i16",
            ValueType::U32 => "u32",
            ValueType::I32 => "i32",
            ValueType::F32 => "f32",
            ValueType::Bool => "bool",
            ValueType::String => "string",
            ValueType::Array => "array",
            ValueType::U64 => "u64",
            ValueType::I64 => "i64",
            ValueType::F64 => "f64",
        }
    }

    /// Bytes of a value where they are always the same number.
    fn size(self) -> Option<usize> {
        match self {
            ValueType::U8 | ValueType::I8 | ValueType::Bool => Some(1),
            ValueType::U16 | ValueType::I16 => Some(2),
            ValueType::U32 | ValueType::I32 | ValueType::F32 => Some(4),
            ValueType::U64 | ValueType::I64 | ValueType::F64 => Some(8),
            ValueType::String | ValueType::Array => None,
        }
    }

    /// The fewest bytes that a value takes.
    fn least_size(self, encoding: Encoding) -> usize {
        match self {
            ValueType::String => encoding.length_bytes,
            ValueType::Array => 4 + encoding.length_bytes,
            other => other.size().unwrap_or(1),
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text of the file, in its place. GGUF asks for UTF-8, but tokens of some vocabularies are
/// pieces of characters, so that every text can be had as bytes too.
#[derive(Clone)]
pub struct Text {
    bytes: Bytes,
    start: usize,
    end: usize,
}

impl Text {
    /// The bytes as they are in the file.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// The text; `None` if it is not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.as_bytes()).ok()
    }
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Text {
        Text {
            start: 0,
            end: bytes.len(),
            bytes: bytes.to_vec().into(),
        }
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

impl Value {
    /// Its type; for an array, [`ValueType::Array`].
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::U8(_) => ValueType::U8,
            Value::I8(_) => ValueType::I8,
            Value::U16(_) => ValueType::U16,
            Value::I16(_) => ValueType::I16,
            Value::U32(_) => ValueType::U32,
            Value::I32(_) => ValueType::I32,
            Value::F32(_) => ValueType::F32,
            Value::Bool(_) => ValueType::Bool,
            Value::String(_) => ValueType::String,
            Value::Array(_) => ValueType::Array,
            Value::U64(_) => ValueType::U64,
            Value::I64(_) => ValueType::I64,
            Value::F64(_) => ValueType::F64,
        }
    }

    /// The name that errors give its type: `u32`, `string`, `an array of strings`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Array(array) => array.type_name(),
            other => other.value_type().name(),
        }
    }

    /// An integer of any width and sign.
    pub fn as_integer(&self) -> Option<i128> {
        match *self {
            Value::U8(value) => Some(value.into()),
            Value::I8(value) => Some(value.into()),
            Value::U16(value) => Some(value.into()),
            Value::I16(value) => Some(value.into()),
            Value::U32(value) => Some(value.into()),
            Value::I32(value) => Some(value.into()),
            Value::U64(value) => Some(value.into()),
            Value::I64(value) => Some(value.into()),
            _ => None,
        }
    }

    /// A float of either width, as f32.
    pub fn as_f32(&self) -> Option<f32> {
        match *self {
            Value::F32(value) => Some(value),
            Value::F64(value) => Some(value as f32),
            _ => None,
        }
    }

    /// A truth value.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// A text that is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => text.as_str(),
            _ => None,
        }
    }

    /// An array.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }

    /// Reads the value of metadata key `key`, its type first.
    pub(crate) fn read<'a>(
        bytes: &'a Bytes,
        cursor: &mut Cursor<'a>,
        key: &'a str,
    ) -> Result<Value> {
        cursor.about(Subject::Value(key));
        let kind = read_type(cursor)?;
        Reader { bytes, base: 0 }.value(cursor, kind, 0)
    }
}

/// Shows values as a listing does: strings quoted, of arrays the beginning.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::U8(value) => value.fmt(f),
            Value::I8(value) => value.fmt(f),
            Value::U16(value) => value.fmt(f),
            Value::I16(value) => value.fmt(f),
            Value::U32(value) => value.fmt(f),
            Value::I32(value) => value.fmt(f),
            Value::F32(value) => value.fmt(f),
            Value::Bool(value) => value.fmt(f),
            Value::String(text) => write!(f, "{text:?}"),
            Value::Array(array) => array.fmt(f),
            Value::U64(value) => value.fmt(f),
            Value::I64(value) => value.fmt(f),
            Value::F64(value) => value.fmt(f),
        }
    }
}

/// Reads the number of a value type.
fn read_type(cursor: &mut Cursor<'_>) -> Result<ValueType> {
    let at = cursor.position();
    let id = cursor.number()?;
    ValueType::from_id(id)
        .ok_or_else(|| cursor.malformed(at, format_args!("unknown value type {id}")))
}

/// Reads values out of `bytes`, of which the cursor sees what lies from `base` on.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a Bytes,
    pub(super) base: usize,
}

impl Reader<'_> {
    pub(super) fn value(
        &self,
        cursor: &mut Cursor<'_>,
        kind: ValueType,
        depth: usize,
    ) -> Result<Value> {
        let at = cursor.position();
        let encoding = cursor.encoding();
        match kind {
            ValueType::String => {
                cursor.string()?;
                let end = self.base + cursor.position();
                return Ok(Value::String(Text {
                    bytes: self.bytes.clone(),
                    start: self.base + at + encoding.length_bytes,
                    end,
                }));
            }
            ValueType::Array => {
                let skipped = skip_array(cursor, depth)?;
                return Ok(Value::Array(Array {
                    bytes: self.bytes.clone(),
                    start: self.base + skipped.start,
                    end: self.base + cursor.position(),
                    len: skipped.len,
                    element_type: skipped.element_type,
                    encoding,
                    not_utf8: skipped.not_utf8,
                }));
            }
            _ => {}
        }
        let bytes = cursor.take(kind.size().unwrap_or(0))?;
        let unsigned = encoding.unsigned(bytes);
        // Each conversion keeps all bits, because exactly as many were read.
        Ok(match kind {
            ValueType::U8 => Value::U8(unsigned as u8),
            ValueType::I8 => Value::I8(unsigned as i8),
            ValueType::U16 => Value::U16(unsigned as u16),
            ValueType::I16 => Value::I16(unsigned as i16),
            ValueType::U32 => Value::U32(unsigned as u32),
            ValueType::I32 => Value::I32(unsigned as i32),
            ValueType::F32 => Value::F32(f32::from_bits(unsigned as u32)),
            ValueType::U64 => Value::U64(unsigned),
            ValueType::I64 => Value::I64(unsigned as i64),
            ValueType::F64 => Value::F64(f64::from_bits(unsigned)),
            ValueType::Bool | ValueType::String | ValueType::Array => {
                check_bools(cursor, at, bytes)?;
                Value::Bool(unsigned != 0)
            }
        })
    }
}

/// An array that was read over.
struct Skipped {
    start: usize, // of the first element
    len: usize,
    element_type: ValueType,
    not_utf8: Option<usize>,
}

/// Reads over an array, checking every element, without keeping any: no array in a file makes
/// more memory be taken than any other.
fn skip_array(cursor: &mut Cursor<'_>, depth: usize) -> Result<Skipped> {
    if depth >= DEEPEST {
        let what = format_args!("arrays nested deeper than {DEEPEST}");
        return Err(cursor.malformed(cursor.position(), what));
    }
    let element_type = read_type(cursor)?;
    let len = cursor.count("array elements", element_type.least_size(cursor.encoding()))?;
    let start = cursor.position();
    let mut not_utf8 = None;
    match element_type {
        ValueType::String => {
            for position in 0..len {
                let text = cursor.string()?;
                if not_utf8.is_none() && std::str::from_utf8(text).is_err() {
                    not_utf8 = Some(position);
                }
            }
        }
        ValueType::Array => {
            for _ in 0..len {
                skip_array(cursor, depth + 1)?;
            }
        }
        other => {
            // The product fits, because `count` found the elements to fit the file.
            let bytes = cursor.take(len * other.size().unwrap_or(0))?;
            if other == ValueType::Bool {
                check_bools(cursor, start, bytes)?;
            }
        }
    }
    Ok(Skipped {
        start,
        len,
        element_type,
        not_utf8,
    })
}

/// A bool is 0 or 1; `at` is the position of the first of `bytes`.
fn check_bools(cursor: &Cursor<'_>, at: usize, bytes: &[u8]) -> Result<()> {
    match bytes.iter().position(|&byte| byte > 1) {
        Some(first) => Err(cursor.malformed(
            at + first,
            format_args!("a bool of value {}, not 0 or 1", bytes[first]),
        )),
        None => Ok(()),
    }
}
