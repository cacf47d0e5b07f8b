//! Makes metadata values from Rust's, for writing.

use super::array::Array;
use super::value::{Text, Value, ValueType};

/// Implements the conversions of a number type and of lists of it.
macro_rules! numbers {
    ($($number:ty => $variant:ident;)*) => {$(
        impl From<$number> for Value {
            fn from(value: $number) -> Value {
                Value::$variant(value)
            }
        }

        impl From<&[$number]> for Value {
            fn from(values: &[$number]) -> Value {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                let array = Array::from_bytes(ValueType::$variant, values.len(), bytes);
                Value::Array(array)
            }
        }

        impl From<Vec<$number>> for Value {
            fn from(values: Vec<$number>) -> Value {
                Value::from(values.as_slice())
            }
        }
    )*};
}

numbers! {
    u8 => U8;
    i8 => I8;
    u16 => U16;
    i16 => I16;
    u32 => U32;
    i32 => I32;
    f32 => F32;
    u64 => U64;
    i64 => I64;
    f64 => F64;
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<&[bool]> for Value {
    fn from(values: &[bool]) -> Value {
        let bytes = values.iter().map(|&value| u8::from(value)).collect();
        Value::Array(Array::from_bytes(ValueType::Bool, values.len(), bytes))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(Text::from(text.as_bytes()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::from(text.as_str())
    }
}

impl From<Text> for Value {
    fn from(text: Text) -> Value {
        Value::String(text)
    }
}

impl From<Array> for Value {
    fn from(array: Array) -> Value {
        Value::Array(array)
    }
}

impl From<&[&str]> for Value {
    fn from(texts: &[&str]) -> Value {
        Value::Array(Array::of_strings(texts))
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Value {
        Value::Array(Array::of_strings(texts))
    }
}

impl Array {
    /// An array of texts, which need not be UTF-8.
    pub fn of_strings(texts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Array {
        let mut bytes = Vec::new();
        let mut len = 0;
        let mut not_utf8 = None;
        for text in texts {
            let text = text.as_ref();
            if not_utf8.is_none() && std::str::from_utf8(text).is_err() {
                not_utf8 = Some(len);
            }
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text);
            len += 1;
        }
        let mut array = Array::from_bytes(ValueType::String, len, bytes);
        array.not_utf8 = not_utf8;
        array
    }
}
