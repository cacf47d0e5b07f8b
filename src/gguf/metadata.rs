//! Metadata: the keys of a file and typed access to their values.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::array::{Array, Strings};
use super::cursor::{Cursor, Subject};
use super::value::Value;
use crate::file::Bytes;
use crate::{Error, Result};

/// The most keys in a file. Models in use have fewer than a hundred.
const MOST_KEYS: u64 = 1 << 16;

/// The longest key in bytes, as the GGUF specification has it.
pub(crate) const LONGEST_KEY: usize = (1 << 16) - 1;

/// The keys and values that describe a model, in the order of the file.
///
/// Every typed accessor answers `Ok(None)` where the key is absent and [`Error::KeyType`] where
/// its value has another type; the `require_` ones answer [`Error::MissingKey`] where it is
/// absent. Integers of any width and sign are taken wherever their value fits, because writers of
/// files do not agree on widths; where it does not fit, the answer is [`Error::KeyValue`].
#[derive(Debug)]
pub struct Metadata {
    entries: Vec<(Box<str>, Value)>,
    positions: HashMap<Box<str>, usize>, // in `entries`
}

impl Metadata {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let position = *self.positions.get(key)?;
        self.entries.get(position).map(|(_, value)| value)
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no keys.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All keys with their values, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (&**key, value))
    }

    /// A text.
    ///
    /// # Errors
    /// [`Error::KeyType`] if it is no string, [`Error::KeyValue`] if it is not UTF-8.
    pub fn string(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => match text.as_str() {
                Some(text) => Ok(Some(text)),
                None => Err(bad_value(key, "the text is not UTF-8".into())),
            },
            Some(other) => Err(wrong_type(key, "string", other)),
        }
    }

    /// A truth value.
    ///
    /// # Errors
    /// [`Error::KeyType`] if it is no bool.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.scalar(key, "bool", Value::as_bool)
    }

    /// An integer of any type whose value fits 32 bits unsigned.
    ///
    /// # Errors
    /// [`Error::KeyType`] if it is no integer, [`Error::KeyValue`] if it does not fit.
    pub fn u32(&self, key: &str) -> Result<Option<u32>> {
        self.integer(key)
    }

    /// An integer of any type whose value fits 64 bits unsigned.
    ///
    /// # Errors
    /// [`Error::KeyType`] if it is no integer, [`Error::KeyValue`] if it is negative.
    pub fn u64(&self, key: &str) -> Result<Option<u64>> {
        self.integer(key)
    }

    /// A float of either width; 64-bit ones are rounded.
    ///
    /// # Errors
    /// [`Error::KeyType`] if it is no float.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.scalar(key, "f32", Value::as_f32)
    }

    /// An array of any type.
    ///
    /// # Errors
    /// [`Error::KeyType`] if it is no array.
    pub fn array(&self, key: &str) -> Result<Option<&Array>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(array)) => Ok(Some(array)),
            Some(other) => Err(wrong_type(key, "an array", other)),
        }
    }

    /// An array of texts, in its place in the file.
    ///
    /// # Errors
    /// [`Error::KeyType`] if it is no array of strings; [`Error::KeyValue`], naming the first, if
    /// one of them is not UTF-8 ([`Array::byte_strings`] reads those).
    pub fn strings(&self, key: &str) -> Result<Option<Strings<'_>>> {
        const EXPECTED: &str = "an array of strings";
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let array = value.as_array();
        let Some((array, strings)) = array.and_then(|array| Some((array, array.byte_strings()?)))
        else {
            return Err(wrong_type(key, EXPECTED, value));
        };
        match array.not_utf8() {
            None => Ok(Some(Strings(strings))),
            Some(position) => Err(bad_value(key, format!("string {position} is not UTF-8"))),
        }
    }

    /// An array of floats of either width; 64-bit ones are rounded.
    ///
    /// # Errors
    /// [`Error::KeyType`] if it is no array of floats.
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.elements(key, "an array of f32", |value| {
            Element::from_type(value.as_f32())
        })
    }

    /// An array of integers of any type whose values fit 32 bits signed.
    ///
    /// # Errors
    /// [`Error::KeyType`] if it is no array of integers, [`Error::KeyValue`] if one does not fit.
    pub fn i32s(&self, key: &str) -> Result<Option<Vec<i32>>> {
        self.elements(key, "an array of i32", Element::integer)
    }

    /// An array of integers of any type whose values fit 32 bits unsigned.
    ///
    /// # Errors
    /// [`Error::KeyType`] if it is no array of integers, [`Error::KeyValue`] if one does not fit.
    pub fn u32s(&self, key: &str) -> Result<Option<Vec<u32>>> {
        self.elements(key, "an array of u32", Element::integer)
    }

    /// An array of truth values.
    ///
    /// # Errors
    /// [`Error::KeyType`] if it is no array of bools.
    pub fn bools(&self, key: &str) -> Result<Option<Vec<bool>>> {
        self.elements(key, "an array of bool", |value| {
            Element::from_type(value.as_bool())
        })
    }

    /// As [`string`](Metadata::string), of a key that must be there.
    ///
    /// # Errors
    /// As there, and [`Error::MissingKey`].
    pub fn require_string(&self, key: &str) -> Result<&str> {
        required(key, self.string(key)?)
    }

    /// As [`u32`](Metadata::u32), of a key that must be there.
    ///
    /// # Errors
    /// As there, and [`Error::MissingKey`].
    pub fn require_u32(&self, key: &str) -> Result<u32> {
        required(key, self.u32(key)?)
    }

    /// As [`f32`](Metadata::f32), of a key that must be there.
    ///
    /// # Errors
    /// As there, and [`Error::MissingKey`].
    pub fn require_f32(&self, key: &str) -> Result<f32> {
        required(key, self.f32(key)?)
    }

    /// As [`strings`](Metadata::strings), of a key that must be there.
    ///
    /// # Errors
    /// As there, and [`Error::MissingKey`].
    pub fn require_strings(&self, key: &str) -> Result<Strings<'_>> {
        required(key, self.strings(key)?)
    }

    /// Reads the number of keys and the keys with their values.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub(crate) fn read<'a>(bytes: &'a Bytes, cursor: &mut Cursor<'a>) -> Result<Metadata> {
        let at = cursor.position();
        let count = cursor.length()?;
        if count > MOST_KEYS {
            let what = format_args!("{count} metadata keys, more than {MOST_KEYS}");
            return Err(cursor.malformed(at, what));
        }
        // The least a key takes: the length of its name, a type, one byte of value.
        let least = cursor.encoding().length_bytes + 4 + 1;
        let keys = cursor.fits(at, (count, "metadata keys"), least)?;
        let mut metadata = Metadata {
            entries: Vec::with_capacity(keys),
            positions: HashMap::with_capacity(keys),
        };
        for number in 0..count {
            cursor.about(Subject::Key(number, count));
            let at = cursor.position();
            let key = cursor.name(LONGEST_KEY)?;
            if key.is_empty() {
                return Err(cursor.malformed(at, "an empty name"));
            }
            let value = Value::read(bytes, cursor, key)?;
            match metadata.positions.entry(key.into()) {
                Entry::Occupied(_) => {
                    return Err(Error::Malformed {
                        what: format!("metadata key `{key}` is there twice"),
                        offset: at as u64,
                    });
                }
                Entry::Vacant(entry) => entry.insert(metadata.entries.len()),
            };
            metadata.entries.push((key.into(), value));
        }
        Ok(metadata)
    }

    fn scalar<T>(
        &self,
        key: &str,
        expected: &'static str,
        convert: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match convert(value) {
                Some(converted) => Ok(Some(converted)),
                None => Err(wrong_type(key, expected, value)),
            },
        }
    }

    fn integer<T: TryFrom<i128>>(&self, key: &str) -> Result<Option<T>> {
        match self.scalar(key, "an integer", Value::as_integer)? {
            None => Ok(None),
            Some(value) => match T::try_from(value) {
                Ok(converted) => Ok(Some(converted)),
                Err(_) => Err(bad_value(key, format!("{value} is out of range"))),
            },
        }
    }

    fn elements<T>(
        &self,
        key: &str,
        expected: &'static str,
        convert: impl Fn(&Value) -> Element<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Some(array) = value.as_array() else {
            return Err(wrong_type(key, expected, value));
        };
        let mut elements = Vec::with_capacity(array.len());
        for (position, element) in array.iter().enumerate() {
            match convert(&element) {
                Element::Fits(element) => elements.push(element),
                Element::WrongType => return Err(wrong_type(key, expected, value)),
                Element::OutOfRange => {
                    let reason = format!("element {position}, {element}, is out of range");
                    return Err(bad_value(key, reason));
                }
            }
        }
        Ok(Some(elements))
    }
}

/// What an element of an array is to its reader.
enum Element<T> {
    Fits(T),
    WrongType,
    OutOfRange,
}

impl<T> Element<T> {
    fn from_type(element: Option<T>) -> Element<T> {
        element.map_or(Element::WrongType, Element::Fits)
    }

    fn integer(value: &Value) -> Element<T>
    where
        T: TryFrom<i128>,
    {
        match value.as_integer().map(T::try_from) {
            Some(Ok(element)) => Element::Fits(element),
            Some(Err(_)) => Element::OutOfRange,
            None => Element::WrongType,
        }
    }
}

fn required<T>(key: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::MissingKey { key: key.into() })
}

fn wrong_type(key: &str, expected: &'static str, found: &Value) -> Error {
    Error::KeyType {
        key: key.into(),
        expected,
        found: found.type_name(),
    }
}

fn bad_value(key: &str, reason: String) -> Error {
    Error::KeyValue {
        key: key.into(),
        reason,
    }
}
