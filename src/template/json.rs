//! The `tojson` filter as chat templates know it: Python's `json.dumps`, not Jinja's own filter,
//! which would escape `<`, `>`, `&` and `'` for HTML.

use super::python::float_repr;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use std::fmt::Write;

/// Deepest nesting that is written. Python stops at its recursion limit, near a thousand.
const DEPTH: usize = 200;

/// `tojson(value, ensure_ascii=false, indent=none, separators=none, sort_keys=false)`.
///
/// `separators` is a pair: between items, and between a key and its value. Without it they are
/// `", "` and `": "`, or `","` and `": "` with an indent.
pub(super) fn tojson(
    state: &State,
    value: &Value,
    positional: minijinja::value::Rest<Value>,
    options: Kwargs,
) -> Result<String, Error> {
    const NAMES: [&str; 4] = ["ensure_ascii", "indent", "separators", "sort_keys"];
    if positional.len() > NAMES.len() {
        return Err(invalid("tojson has at most four options"));
    }
    let option = |index: usize| -> Result<Option<Value>, Error> {
        let by_name: Option<Value> = options.get(NAMES[index])?;
        Ok(positional
            .get(index)
            .cloned()
            .or(by_name)
            .filter(|value| !value.is_none()))
    };
    let indent = match option(1)? {
        None => None,
        Some(value) => Some(match value.as_str() {
            Some(text) => text.to_owned(),
            None => {
                let width = value
                    .as_i64()
                    .ok_or_else(|| invalid("indent must be a number or a string"))?;
                // far more than any output may have; negative widths indent by nothing
                " ".repeat(usize::try_from(width).unwrap_or(0).min(1000))
            }
        }),
    };
    let (between, after_key) = match option(2)? {
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
        Some(pair) => {
            let text = |index| -> Result<String, Error> {
                let item = pair.get_item_by_index(index)?;
                match item.as_str() {
                    Some(text) if pair.len() == Some(2) => Ok(text.to_owned()),
                    _ => Err(invalid("separators must be two strings")),
                }
            };
            (text(0)?, text(1)?)
        }
    };
    let mut writer = Writer {
        state,
        out: String::new(),
        charged: 0,
        ascii: option(0)?.is_some_and(|value| value.is_true()),
        sort: option(3)?.is_some_and(|value| value.is_true()),
        indent,
        between,
        after_key,
    };
    options.assert_all_used()?;
    writer.value(value, 0)?;
    Ok(writer.out)
}

struct Writer<'a, 'template, 'env> {
    state: &'a State<'template, 'env>,
    out: String,
    charged: usize, // bytes of `out` that fuel was taken for
    ascii: bool,
    sort: bool,
    indent: Option<String>,
    between: String,
    after_key: String,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH {
            return Err(invalid("values are nested too deeply for tojson"));
        }
        // a small value can hold the same list many times over, so the output is paid as it grows
        self.state
            .consume_fuel(1 + (self.out.len() - self.charged) as u64 / 64)?;
        self.charged = self.out.len();
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(match value.is_true() {
                true => "true",
                false => "false",
            }),
            ValueKind::Number => self.number(value),
            ValueKind::String => string(value.as_str().unwrap_or(""), self.ascii, &mut self.out),
            ValueKind::Seq => {
                let items = value.try_iter()?;
                self.items('[', ']', items, depth, |writer, item| {
                    writer.value(&item, depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort {
                    keys.sort();
                }
                self.items('{', '}', keys.into_iter(), depth, |writer, key| {
                    writer.key(&key)?;
                    let item = value.get_item(&key)?;
                    writer.value(&item, depth + 1)
                })?;
            }
            kind => return Err(invalid(&format!("a value of type {kind} is not JSON"))),
        }
        Ok(())
    }

    fn items(
        &mut self,
        open: char,
        close: char,
        items: impl Iterator<Item = Value>,
        depth: usize,
        mut write: impl FnMut(&mut Self, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        let mut any = false;
        for item in items {
            if any {
                self.out.push_str(&self.between);
            }
            any = true;
            self.line(depth + 1);
            write(self, item)?;
        }
        if any {
            self.line(depth);
        }
        self.out.push(close);
        Ok(())
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            (0..depth).for_each(|_| self.out.push_str(indent));
        }
    }

    fn key(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => string(key.as_str().unwrap_or(""), self.ascii, &mut self.out),
            ValueKind::None => self.out.push_str("\"null\""),
            ValueKind::Bool => self.out.push_str(match key.is_true() {
                true => "\"true\"",
                false => "\"false\"",
            }),
            ValueKind::Number => {
                self.out.push('"');
                self.number(key);
                self.out.push('"');
            }
            kind => return Err(invalid(&format!("a key of type {kind} is not JSON"))),
        }
        self.out.push_str(&self.after_key);
        Ok(())
    }

    fn number(&mut self, value: &Value) {
        match f64::try_from(value.clone()) {
            Ok(float) if !value.is_integer() => self.out.push_str(&match float {
                float if float.is_nan() => "NaN".to_owned(),
                f64::INFINITY => "Infinity".to_owned(),
                f64::NEG_INFINITY => "-Infinity".to_owned(),
                float => float_repr(float),
            }),
            _ => self.out.push_str(&value.to_string()),
        }
    }
}

/// Writes a JSON string with the escapes that `json.dumps` chooses.
fn string(text: &str, ascii: bool, out: &mut String) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            letter if letter < ' ' || (ascii && letter > '~') => {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    // writing to a string cannot fail
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
}

fn invalid(reason: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.to_owned())
}
