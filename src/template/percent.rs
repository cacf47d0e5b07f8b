//! Python's `text % values`: the formats of C's `printf` as Python has them.
//!
//! The engine has no such operator for text; [`super::remainder`] calls this filter in its place.

use super::methods::WIDTH;
use super::python;
use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// `left % right`: a remainder, or where `left` is text, its formats filled with `right`.
pub(super) fn percent(state: &State, left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(format) = left.as_str() {
        let text = fill(state, format, right, left.is_safe())?;
        return Ok(match left.is_safe() {
            true => Value::from_safe_string(text),
            false => Value::from(text),
        });
    }
    if let (Some(left), Some(right)) = (left.as_i64(), right.as_i64())
        && let Some(remainder) = left.checked_rem(right)
    {
        // Python's has the sign of the divisor.
        let floor = remainder != 0 && (remainder < 0) != (right < 0);
        return Ok(Value::from(remainder + if floor { right } else { 0 }));
    }
    state
        .env()
        .compile_expression("left % right")?
        .eval(Value::from_pairs([
            ("left", left.clone()),
            ("right", right.clone()),
        ]))
}

/// What is left to be formatted.
struct Values<'a> {
    all: &'a Value,
    tuple: Option<Vec<Value>>,
    next: usize,
}

impl Values<'_> {
    fn next(&mut self) -> Result<Value, Error> {
        let value = match &self.tuple {
            Some(values) => values.get(self.next).cloned(),
            None => (self.next == 0).then(|| self.all.clone()),
        };
        self.next += 1;
        value.ok_or_else(|| invalid("not enough arguments for format string"))
    }

    /// The value of a width or precision that is written as `*`.
    fn number(&mut self) -> Result<i64, Error> {
        let value = self.next()?;
        let number = value.as_i64().filter(|_| value.is_integer());
        number.ok_or_else(|| invalid("* wants int"))
    }
}

/// One format: `%(key)flags width.precision type`.
#[derive(Default)]
struct Spec {
    left: bool,
    sign: bool,
    blank: bool,
    zero: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
}

fn fill(state: &State, format: &str, values: &Value, safe: bool) -> Result<String, Error> {
    let is_tuple = values.downcast_object_ref::<Tuple>().is_some() || values.is_tuple();
    let mut values = Values {
        all: values,
        tuple: match is_tuple {
            true => Some(values.try_iter()?.collect()),
            false => None,
        },
        next: 0,
    };
    // Python takes whatever has items for a mapping, lists too.
    let mapping = !is_tuple && matches!(values.all.kind(), ValueKind::Map | ValueKind::Seq);
    let mut out = String::with_capacity(format.len());
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        out.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let mut keyed = None;
        if let Some(after) = rest.strip_prefix('(') {
            let end = closing(after).ok_or_else(|| invalid("incomplete format key"))?;
            if !mapping {
                return Err(invalid("format requires a mapping"));
            }
            keyed = Some(values.all.get_item(&Value::from(&after[..end]))?);
            if keyed.as_ref().is_some_and(Value::is_undefined) {
                return Err(invalid("the mapping has no such key"));
            }
            rest = &after[end + 1..];
        }
        let spec = Spec::parse(&mut rest, &mut values)?;
        state.consume_fuel(1 + (spec.width + spec.precision.unwrap_or(0)) as u64 / 64)?;
        rest = rest.trim_start_matches(['h', 'l', 'L']);
        let mut letters = rest.chars();
        let Some(kind) = letters.next() else {
            return Err(invalid("incomplete format"));
        };
        rest = letters.as_str();
        let value = match keyed {
            Some(value) => value,
            None => values.next()?,
        };
        let before = out.len();
        spec.write(state, kind, &value, safe, &mut out)?;
        state.consume_fuel(1 + (out.len() - before) as u64 / 64)?;
    }
    out.push_str(rest);
    let given = values.tuple.as_ref().map_or(1, Vec::len);
    if values.next < given && !mapping {
        return Err(invalid(
            "not all arguments converted during string formatting",
        ));
    }
    Ok(out)
}

/// Offset of the parenthesis that ends a key; keys may hold pairs of them.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1;
    for (offset, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(offset);
        }
    }
    None
}

impl Spec {
    /// Reads flags, width and precision from the start of `rest`.
    fn parse(rest: &mut &str, values: &mut Values) -> Result<Spec, Error> {
        let mut spec = Spec::default();
        loop {
            match rest.as_bytes().first() {
                Some(b'-') => spec.left = true,
                Some(b'+') => spec.sign = true,
                Some(b' ') => spec.blank = true,
                Some(b'0') => spec.zero = true,
                Some(b'#') => spec.alternate = true,
                _ => break,
            }
            *rest = &rest[1..];
        }
        if let Some(width) = count(rest, values)? {
            spec.left |= width < 0;
            spec.width = bounded(width.unsigned_abs())?;
        }
        if let Some(after) = rest.strip_prefix('.') {
            *rest = after;
            let precision = count(rest, values)?.unwrap_or(0);
            spec.precision = Some(bounded(precision.max(0).unsigned_abs())?);
        }
        Ok(spec)
    }

    fn write(
        &self,
        state: &State,
        kind: char,
        value: &Value,
        safe: bool,
        out: &mut String,
    ) -> Result<(), Error> {
        let (sign, prefix, body) = match kind {
            's' | 'r' | 'a' => {
                let text = match kind {
                    's' => python::text(state, value)?,
                    _ => {
                        let mut text = String::new();
                        python::repr(state, value, 0, &mut text)?;
                        match kind {
                            'a' => ascii(&text),
                            _ => text,
                        }
                    }
                };
                let text = match safe && !value.is_safe() {
                    true => escaped(&text),
                    false => text,
                };
                let most = self.precision.unwrap_or(usize::MAX);
                ("", "", text.chars().take(most).collect())
            }
            'c' => {
                let letter = match value.as_str() {
                    Some(text) if text.chars().count() == 1 => text.chars().next(),
                    _ => value
                        .as_i64()
                        .and_then(|code| u32::try_from(code).ok()?.try_into().ok()),
                };
                let letter = letter.ok_or_else(|| invalid("%c requires int or char"))?;
                ("", "", letter.to_string())
            }
            'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
                let number = integer(value, !matches!(kind, 'x' | 'X' | 'o'))?;
                let size = number.unsigned_abs();
                let (prefix, digits) = match kind {
                    'x' => ("0x", format!("{size:x}")),
                    'X' => ("0X", format!("{size:X}")),
                    'o' => ("0o", format!("{size:o}")),
                    _ => ("", size.to_string()),
                };
                let digits = format!("{digits:0>least$}", least = self.precision.unwrap_or(0));
                let prefix = if self.alternate { prefix } else { "" };
                (self.sign_of(number < 0), prefix, digits)
            }
            'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
                let number = float(value)?;
                let negative = number.is_sign_negative() && !number.is_nan();
                let mut digits = self.float(number.abs(), kind.to_ascii_lowercase());
                if kind.is_ascii_uppercase() {
                    digits.make_ascii_uppercase();
                }
                (self.sign_of(negative), "", digits)
            }
            other => return Err(invalid(&format!("unsupported format character {other:?}"))),
        };
        let length = sign.len() + prefix.len() + body.chars().count();
        let missing = self.width.saturating_sub(length);
        let numeric = !matches!(kind, 's' | 'r' | 'a' | 'c');
        let pad = |fill: char, out: &mut String| out.extend(std::iter::repeat_n(fill, missing));
        let zeros = self.zero && numeric && !self.left;
        if !self.left && !zeros {
            pad(' ', out);
        }
        out.push_str(sign);
        out.push_str(prefix);
        if zeros {
            pad('0', out);
        }
        out.push_str(&body);
        if self.left {
            pad(' ', out);
        }
        Ok(())
    }

    fn sign_of(&self, negative: bool) -> &'static str {
        match (negative, self.sign, self.blank) {
            (true, ..) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            (false, false, false) => "",
        }
    }

    /// A float without its sign.
    fn float(&self, number: f64, kind: char) -> String {
        if number.is_nan() {
            return "nan".to_owned();
        }
        if number.is_infinite() {
            return "inf".to_owned();
        }
        let precision = self.precision.unwrap_or(6);
        let digits = match kind {
            'f' => format!("{number:.precision$}"),
            'e' => exponential(number, precision),
            _ => {
                // as many digits as the precision says, as `f` where the exponent is near
                let precision = precision.max(1);
                let rounded = format!("{number:.*e}", precision - 1);
                let exponent = rounded.split_once('e').and_then(|(_, e)| e.parse().ok());
                let exponent: i64 = exponent.unwrap_or(0);
                let near = (-4..precision as i64).contains(&exponent);
                let digits = match near {
                    true => format!("{number:.*}", (precision as i64 - 1 - exponent) as usize),
                    false => exponential(number, precision - 1),
                };
                if self.alternate {
                    digits
                } else {
                    let (mantissa, exponent) = match digits.find('e') {
                        Some(at) => digits.split_at(at),
                        None => (digits.as_str(), ""),
                    };
                    match mantissa.contains('.') {
                        true => {
                            let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
                            format!("{mantissa}{exponent}")
                        }
                        false => digits,
                    }
                }
            }
        };
        if self.alternate && !digits.contains('.') {
            let at = digits.find('e').unwrap_or(digits.len());
            return format!("{}.{}", &digits[..at], &digits[at..]);
        }
        digits
    }
}

/// A float with an exponent of at least two digits.
fn exponential(number: f64, precision: usize) -> String {
    let written = format!("{number:.precision$e}");
    match written.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => written,
    }
}

/// The number at the start of `rest`, or the next value where it is `*`.
fn count(rest: &mut &str, values: &mut Values) -> Result<Option<i64>, Error> {
    if let Some(after) = rest.strip_prefix('*') {
        *rest = after;
        return values.number().map(Some);
    }
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    *rest = after;
    match digits {
        "" => Ok(None),
        // more digits than any number in use has are too wide in any case
        digits => Ok(Some(digits.parse().unwrap_or(i64::MAX))),
    }
}

fn bounded(width: u64) -> Result<usize, Error> {
    match width > WIDTH {
        true => Err(invalid("the format asks for too wide a field")),
        false => Ok(width as usize),
    }
}

/// An integer, or where `truncate` says so the integer part of a float.
fn integer(value: &Value, truncate: bool) -> Result<i128, Error> {
    let wrong = || invalid("the format requires an integer");
    if value.kind() == ValueKind::Bool {
        return Ok(i128::from(value.is_true()));
    }
    if value.kind() != ValueKind::Number {
        return Err(wrong());
    }
    if value.is_integer() {
        return i128::try_from(value.clone());
    }
    let float = f64::try_from(value.clone())?;
    match truncate && float.abs() < 1e38 {
        true => Ok(float as i128),
        false => Err(wrong()),
    }
}

fn float(value: &Value) -> Result<f64, Error> {
    match value.kind() {
        ValueKind::Bool => Ok(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value.clone()),
        _ => Err(invalid("must be real number")),
    }
}

/// What Python's `ascii` makes of what its `repr` gives.
fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match u32::from(letter) {
            0..=0x7f => out.push(letter),
            code @ ..=0xff => out.push_str(&format!("\\x{code:02x}")),
            code @ ..=0xffff => out.push_str(&format!("\\u{code:04x}")),
            code => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    super::engine::escape(text, &mut out);
    out
}

fn invalid(reason: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.to_owned())
}
