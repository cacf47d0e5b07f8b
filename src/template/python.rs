//! How Python prints values, and which characters it calls space: what templates rely on where
//! they print a list or strip a string.

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use std::fmt::Write;

/// Deepest nesting that is printed.
const DEPTH: usize = 200;

/// `str(value)`: text as it is, everything else as [`repr`].
pub(super) fn text(state: &State, value: &Value) -> Result<String, Error> {
    match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None if value.is_undefined() => Ok(String::new()),
        None => {
            let mut out = String::new();
            repr(state, value, 0, &mut out)?;
            Ok(out)
        }
    }
}

/// Writes `repr(value)`.
pub(super) fn repr(
    state: &State,
    value: &Value,
    depth: usize,
    out: &mut String,
) -> Result<(), Error> {
    if depth > DEPTH {
        let reason = "values are nested too deeply to be printed";
        return Err(Error::new(ErrorKind::InvalidOperation, reason));
    }
    let before = out.len();
    match value.kind() {
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::String => string_repr(value.as_str().unwrap_or(""), out),
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(float) => out.push_str(&float_repr(float)),
            Err(_) => out.push_str(&value.to_string()),
        },
        ValueKind::Seq => {
            let tuple = value.downcast_object_ref::<Tuple>().is_some() || value.is_tuple();
            out.push(if tuple { '(' } else { '[' });
            let mut count = 0;
            for item in value.try_iter()? {
                if count > 0 {
                    out.push_str(", ");
                }
                count += 1;
                repr(state, &item, depth + 1, out)?;
            }
            if tuple && count == 1 {
                out.push(',');
            }
            out.push(if tuple { ')' } else { ']' });
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                repr(state, &key, depth + 1, out)?;
                out.push_str(": ");
                repr(state, &value.get_item(&key)?, depth + 1, out)?;
            }
            out.push('}');
        }
        // writing to a string cannot fail
        _ => drop(write!(out, "{value}")),
    }
    // a small value can hold the same list many times over, so the output is paid as it grows
    state.consume_fuel(1 + (out.len() - before) as u64 / 64)
}

/// `repr` of a float: the shortest digits that give the same number, an exponent below 1e-4 and
/// from 1e16 on.
pub(super) fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return (if value > 0.0 { "inf" } else { "-inf" }).to_owned();
    }
    if value == 0.0 || (1e-4..1e16).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let written = format!("{value:e}");
    match written.split_once('e') {
        Some((digits, exponent)) => match exponent.strip_prefix('-') {
            Some(exponent) => format!("{digits}e-{exponent:0>2}"),
            None => format!("{digits}e+{exponent:0>2}"),
        },
        None => written,
    }
}

/// Writes `repr` of a string.
fn string_repr(text: &str, out: &mut String) {
    let quote = match text.contains('\'') && !text.contains('"') {
        true => '"',
        false => '\'',
    };
    out.push(quote);
    for letter in text.chars() {
        let code = u32::from(letter);
        match letter {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if letter == quote => {
                out.push('\\');
                out.push(letter);
            }
            letter if is_printable(letter) => out.push(letter),
            // writing to a string cannot fail
            _ if code <= 0xff => drop(write!(out, "\\x{code:02x}")),
            _ if code <= 0xffff => drop(write!(out, "\\u{code:04x}")),
            _ => drop(write!(out, "\\U{code:08x}")),
        }
    }
    out.push(quote);
}

/// Whether Python prints the character as it is: not a control, a separator other than the space,
/// a format character, private, or a noncharacter. Characters that no Unicode version has assigned
/// are printed here, where Python escapes them.
fn is_printable(letter: char) -> bool {
    if letter == ' ' || letter.is_ascii_graphic() {
        return true;
    }
    let code = u32::from(letter);
    let format_or_private = matches!(code,
        0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x890..=0x891 | 0x8E2 | 0x180E
        | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F | 0xFEFF | 0xFFF9..=0xFFFB
        | 0x110BD | 0x110CD | 0x13430..=0x1343F | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A
        | 0xE0000..=0xE007F | 0xE000..=0xF8FF | 0xF0000..=0x10FFFF | 0xFDD0..=0xFDEF);
    !(letter.is_control() || letter.is_whitespace() || format_or_private || code & 0xFFFE == 0xFFFE)
}

/// Python's `str.isspace`: Unicode's white space and the four separators of ASCII.
pub(super) fn is_space(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{1c}'..='\u{1f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_like_python() {
        for (value, expected) in [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e16, "1e+16"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (9_999_999_999_999_998.0, "9999999999999998.0"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (1e100, "1e+100"),
            (-0.0, "-0.0"),
        ] {
            assert_eq!(float_repr(value), expected);
        }
    }

    #[test]
    fn strings_print_like_python() {
        for (text, expected) in [
            ("plain", "'plain'"),
            ("it's", "\"it's\""),
            ("it's \"so\"", "'it\\'s \"so\"'"),
            (
                "a\nb\\\u{7f}\u{a0}\u{200b}\u{e9}",
                "'a\\nb\\\\\\x7f\\xa0\\u200bé'",
            ),
            ("\u{1F600}\u{F0000}", "'\u{1F600}\\U000f0000'"),
        ] {
            let mut out = String::new();
            string_repr(text, &mut out);
            assert_eq!(out, expected);
        }
    }
}
