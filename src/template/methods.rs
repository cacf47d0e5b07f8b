//! The methods of Python's strings, lists and dictionaries, which templates call as they please.
//!
//! Methods that change their object are absent on purpose: the sandbox that templates are written
//! for forbids them too.

use super::python::is_space;
use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Rest, Tuple, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};
use std::fmt;
use std::sync::Arc;

/// Calls `method` of `value`; the engine asks this for every method that it does not have itself.
pub(super) fn call(
    state: &mut State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let unknown = || Error::from(ErrorKind::UnknownMethod);
    match value.kind() {
        ValueKind::String => {
            let text = value.as_str().ok_or_else(unknown)?;
            if method == "format" {
                check_widths(text)?;
                return format(FormatStyle::StrFormat, text, arguments).map(Value::from);
            }
            string(state, text, method, &Arguments::new(arguments))
        }
        ValueKind::Map => dictionary(value, method, &Arguments::new(arguments)),
        ValueKind::Seq => sequence(state, value, method, &Arguments::new(arguments)),
        _ => Err(unknown()),
    }
}

/// Widest field and precision that `format` may ask for: it would allocate any of them at once.
pub(super) const WIDTH: u64 = 10_000;

/// Refuses wide fields, and fields whose width is itself a field.
fn check_widths(text: &str) -> Result<(), Error> {
    let wide = |digits: &str| match digits.parse::<u64>() {
        Ok(width) => width > WIDTH,
        Err(_) => !digits.is_empty(), // more digits than any number has
    };
    let fields = text.split('{').skip(1);
    for field in fields {
        let (inside, closed) = match field.split_once('}') {
            Some((inside, _)) => (inside, true),
            None => (field, false),
        };
        let nested = !closed && inside.contains([':', '.']);
        if nested || inside.split(|c: char| !c.is_ascii_digit()).any(wide) {
            return Err(invalid("the format asks for too wide a field"));
        }
    }
    Ok(())
}

/// Positional and named arguments of a call.
struct Arguments<'a> {
    positional: &'a [Value],
    named: Option<Kwargs>,
}

impl<'a> Arguments<'a> {
    fn new(arguments: &'a [Value]) -> Arguments<'a> {
        if let Some((last, positional)) = arguments.split_last()
            && last.is_kwargs()
            && let Ok(named) = Kwargs::try_from(last.clone())
        {
            return Arguments {
                positional,
                named: Some(named),
            };
        }
        Arguments {
            positional: arguments,
            named: None,
        }
    }

    /// Refuses more than `most` positional arguments, and all named ones but `names`.
    fn accept(&self, most: usize, names: &[&str]) -> Result<(), Error> {
        let named = self.named.iter().flat_map(Kwargs::args);
        if self.positional.len() > most || named.into_iter().any(|name| !names.contains(&name)) {
            return Err(Error::from(ErrorKind::TooManyArguments));
        }
        Ok(())
    }

    /// The argument at `index`, or called `name`.
    fn get(&self, index: usize, name: &str) -> Option<Value> {
        self.positional.get(index).cloned().or_else(|| {
            let named = self.named.as_ref()?;
            match named.has(name) {
                true => named.peek(name).ok(),
                false => None,
            }
        })
    }

    fn required(&self, index: usize) -> Result<&Value, Error> {
        self.positional
            .get(index)
            .ok_or_else(|| Error::from(ErrorKind::MissingArgument))
    }

    /// The string at `index`, which must be there.
    fn string(&self, index: usize) -> Result<&str, Error> {
        self.required(index)?
            .as_str()
            .ok_or_else(|| invalid("the argument must be a string"))
    }

    /// The string at `index` or called `name`; nothing where it is absent or `none`.
    fn optional_string(&self, index: usize, name: &str) -> Result<Option<Value>, Error> {
        match self.get(index, name) {
            None => Ok(None),
            Some(value) if value.is_none() => Ok(None),
            Some(value) if value.as_str().is_some() => Ok(Some(value)),
            Some(_) => Err(invalid("the argument must be a string or none")),
        }
    }

    /// The integer at `index` or called `name`, or `default`.
    fn integer(&self, index: usize, name: &str, default: i64) -> Result<i64, Error> {
        match self.get(index, name) {
            None => Ok(default),
            Some(value) => value
                .as_i64()
                .ok_or_else(|| invalid("the argument must be an integer")),
        }
    }
}

fn string(state: &State, text: &str, method: &str, arguments: &Arguments) -> Result<Value, Error> {
    state.consume_fuel(1 + text.len() as u64 / 64)?;
    let all = |test: fn(char) -> bool| Value::from(!text.is_empty() && text.chars().all(test));
    let plain = |value: String| -> Result<Value, Error> {
        arguments.accept(0, &[])?;
        Ok(Value::from(value))
    };
    match method {
        "upper" => plain(text.to_uppercase()),
        "lower" | "casefold" => plain(text.to_lowercase()),
        "title" => plain(title(text)),
        "capitalize" => plain(capitalize(text)),
        "swapcase" => plain(text.chars().flat_map(swap_case).collect()),
        "strip" | "lstrip" | "rstrip" => {
            arguments.accept(1, &["chars"])?;
            let set = arguments.optional_string(0, "chars")?;
            let set = set.as_ref().and_then(Value::as_str);
            Ok(Value::from(strip(text, method, set)))
        }
        "removeprefix" => {
            arguments.accept(1, &[])?;
            let prefix = arguments.string(0)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        "removesuffix" => {
            arguments.accept(1, &[])?;
            let suffix = arguments.string(0)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        "replace" => {
            arguments.accept(3, &["count"])?;
            let (old, new) = (arguments.string(0)?, arguments.string(1)?);
            let count = usize::try_from(arguments.integer(2, "count", -1)?).unwrap_or(usize::MAX);
            let found = text.matches(old).take(count).count();
            let grown = found.saturating_mul(new.len()).saturating_add(text.len());
            state.consume_fuel(grown as u64 / 64)?; // before so much is allocated
            Ok(Value::from(text.replacen(old, new, count)))
        }
        "split" | "rsplit" => {
            arguments.accept(2, &["sep", "maxsplit"])?;
            let separator = arguments.optional_string(0, "sep")?;
            let most = arguments.integer(1, "maxsplit", -1)?;
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let separator = separator.as_ref().and_then(Value::as_str);
            if separator == Some("") {
                return Err(invalid("empty separator"));
            }
            Ok(strings(split(text, separator, most, method == "rsplit")))
        }
        "splitlines" => {
            arguments.accept(1, &["keepends"])?;
            let keep = arguments.get(0, "keepends");
            Ok(strings(lines(
                text,
                keep.is_some_and(|keep| keep.is_true()),
            )))
        }
        "partition" | "rpartition" => {
            arguments.accept(1, &[])?;
            let separator = arguments.string(0)?;
            let parts = match method {
                "partition" => text.split_once(separator),
                _ => text.rsplit_once(separator),
            };
            let parts = match parts {
                _ if separator.is_empty() => return Err(invalid("empty separator")),
                Some((before, after)) => [before, separator, after],
                None if method == "partition" => [text, "", ""],
                None => ["", "", text],
            };
            Ok(Value::from(Tuple::from(parts.map(Value::from))))
        }
        "join" => {
            arguments.accept(1, &[])?;
            let mut joined = String::new();
            for (index, item) in arguments.required(0)?.try_iter()?.enumerate() {
                let item = item
                    .as_str()
                    .ok_or_else(|| invalid("only strings can be joined"))?;
                if index > 0 {
                    joined.push_str(text);
                }
                joined.push_str(item);
                state.consume_fuel(1 + (text.len() + item.len()) as u64 / 64)?;
            }
            Ok(Value::from(joined))
        }
        "startswith" | "endswith" => {
            arguments.accept(3, &[])?;
            let part = slice(text, arguments)?;
            let matches = |affix: &str| match (part, method) {
                (None, _) => false,
                (Some((_, part)), "startswith") => part.starts_with(affix),
                (Some((_, part)), _) => part.ends_with(affix),
            };
            let affix = arguments.required(0)?;
            if let Some(affix) = affix.as_str() {
                return Ok(Value::from(matches(affix)));
            }
            if affix.kind() != ValueKind::Seq {
                return Err(invalid(
                    "the argument must be a string or a tuple of strings",
                ));
            }
            let mut found = false;
            for affix in affix.try_iter()? {
                let affix = affix
                    .as_str()
                    .ok_or_else(|| invalid("the tuple must contain only strings"))?;
                found |= matches(affix);
            }
            Ok(Value::from(found))
        }
        "find" | "rfind" | "index" | "rindex" => {
            arguments.accept(3, &[])?;
            let wanted = arguments.string(0)?;
            let found = slice(text, arguments)?.and_then(|(start, part)| {
                let offset = match method {
                    "find" | "index" => part.find(wanted)?,
                    _ => part.rfind(wanted)?,
                };
                Some(start + part[..offset].chars().count())
            });
            match found {
                Some(index) => Ok(Value::from(index)),
                None if method.ends_with("find") => Ok(Value::from(-1)),
                None => Err(invalid("substring not found")),
            }
        }
        "count" => {
            arguments.accept(3, &[])?;
            let wanted = arguments.string(0)?;
            let part = slice(text, arguments)?;
            Ok(Value::from(
                part.map_or(0, |(_, part)| part.matches(wanted).count()),
            ))
        }
        "zfill" | "ljust" | "rjust" | "center" => pad(state, text, method, arguments),
        "isalpha" => Ok(all(char::is_alphabetic)),
        "isalnum" => Ok(all(char::is_alphanumeric)),
        "isnumeric" | "isdigit" | "isdecimal" => Ok(all(char::is_numeric)),
        "isspace" => Ok(all(is_space)),
        "isascii" => Ok(Value::from(text.is_ascii())),
        "islower" => Ok(Value::from(
            text.chars().any(char::is_lowercase) && !text.chars().any(char::is_uppercase),
        )),
        "isupper" => Ok(Value::from(
            text.chars().any(char::is_uppercase) && !text.chars().any(char::is_lowercase),
        )),
        "istitle" => Ok(Value::from(
            text.chars().any(char::is_alphabetic) && title(text) == text,
        )),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn dictionary(value: &Value, method: &str, arguments: &Arguments) -> Result<Value, Error> {
    let object = value
        .as_object()
        .ok_or_else(|| Error::from(ErrorKind::UnknownMethod))?;
    let pairs = || object.try_iter_pairs().into_iter().flatten();
    let view = |name, values: Vec<Value>| -> Result<Value, Error> {
        arguments.accept(0, &[])?;
        Ok(Value::from_object(View { name, values }))
    };
    match method {
        "keys" => view("dict_keys", pairs().map(|(key, _)| key).collect()),
        "values" => view("dict_values", pairs().map(|(_, value)| value).collect()),
        "items" => view(
            "dict_items",
            pairs()
                .map(|(key, value)| Value::from(Tuple::from([key, value])))
                .collect(),
        ),
        "get" => {
            arguments.accept(2, &[])?;
            let found = object.get_value(arguments.required(0)?);
            Ok(found
                .or_else(|| arguments.get(1, "default"))
                .unwrap_or(Value::from(())))
        }
        "copy" => {
            arguments.accept(0, &[])?;
            Ok(Value::from_pairs(pairs()))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn sequence(
    state: &State,
    value: &Value,
    method: &str,
    arguments: &Arguments,
) -> Result<Value, Error> {
    state.consume_fuel(1 + value.len().unwrap_or(0) as u64)?;
    match method {
        "count" => {
            arguments.accept(1, &[])?;
            let wanted = arguments.required(0)?;
            Ok(Value::from(
                value.try_iter()?.filter(|item| item == wanted).count(),
            ))
        }
        "index" => {
            arguments.accept(1, &[])?;
            let wanted = arguments.required(0)?;
            match value.try_iter()?.position(|item| item == *wanted) {
                Some(index) => Ok(Value::from(index)),
                None => Err(invalid("the value is not in the list")),
            }
        }
        "copy" => {
            arguments.accept(0, &[])?;
            Ok(value.clone())
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// What `keys`, `values` and `items` return: iterable, but no list.
#[derive(Debug)]
struct View {
    name: &'static str,
    values: Vec<Value>,
}

impl Object for View {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.values.clone())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.values.len())
    }

    fn render(self: &Arc<Self>, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}({:?})", self.name, self.values)
    }
}

fn strings<'a>(parts: impl IntoIterator<Item = &'a str>) -> Value {
    parts.into_iter().map(Value::from).collect()
}

fn strip<'a>(text: &'a str, method: &str, set: Option<&str>) -> &'a str {
    let inside = |letter: char| match set {
        Some(set) => set.contains(letter),
        None => is_space(letter),
    };
    match method {
        "lstrip" => text.trim_start_matches(inside),
        "rstrip" => text.trim_end_matches(inside),
        _ => text.trim_matches(inside),
    }
}

/// Python's `split` and `rsplit`: by white space, where there is no separator.
fn split<'a>(text: &'a str, separator: Option<&str>, most: usize, backward: bool) -> Vec<&'a str> {
    let most = most.saturating_add(1);
    match (separator, backward) {
        (Some(separator), false) => text.splitn(most, separator).collect(),
        (Some(separator), true) => {
            let mut parts: Vec<&str> = text.rsplitn(most, separator).collect();
            parts.reverse();
            parts
        }
        (None, false) => {
            let mut parts = Vec::new();
            let mut rest = text.trim_start_matches(is_space);
            while !rest.is_empty() {
                let end = match parts.len() + 1 < most {
                    true => rest.find(is_space).unwrap_or(rest.len()),
                    // the last part keeps its end, as in Python
                    false => rest.len(),
                };
                parts.push(&rest[..end]);
                rest = rest[end..].trim_start_matches(is_space);
            }
            parts
        }
        (None, true) => {
            let mut parts = Vec::new();
            let mut rest = text.trim_end_matches(is_space);
            while !rest.is_empty() {
                let start = match parts.len() + 1 < most {
                    true => rest
                        .char_indices()
                        .rev()
                        .find(|(_, letter)| is_space(*letter)),
                    false => None,
                };
                let start = start.map_or(0, |(index, letter)| index + letter.len_utf8());
                parts.push(&rest[start..]);
                rest = rest[..start].trim_end_matches(is_space);
            }
            parts.reverse();
            parts
        }
    }
}

/// Python's `splitlines`, which knows more line ends than `\n`.
fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let is_end = |letter: char| {
        matches!(
            letter,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(end) = rest.find(is_end) else {
            parts.push(rest);
            break;
        };
        let after = match rest[end..].starts_with("\r\n") {
            true => end + 2,
            false => end + rest[end..].chars().next().map_or(1, char::len_utf8),
        };
        parts.push(&rest[..if keep_ends { after } else { end }]);
        rest = &rest[after..];
    }
    parts
}

/// The part of `text` that the optional arguments 1 and 2, `start` and `end` in characters, choose,
/// with the index of its first character; `None` if they choose nothing.
fn slice<'a>(text: &'a str, arguments: &Arguments) -> Result<Option<(usize, &'a str)>, Error> {
    if arguments.positional.len() < 2 {
        return Ok(Some((0, text)));
    }
    let length = text.chars().count();
    let clamp = |index: i64| match usize::try_from(index) {
        Ok(index) => index,
        Err(_) => length.saturating_sub(usize::try_from(index.unsigned_abs()).unwrap_or(length)),
    };
    let bound = |index, default| -> Result<usize, Error> {
        match arguments.get(index, "") {
            Some(value) if value.is_none() => Ok(default),
            _ => Ok(clamp(arguments.integer(index, "", default as i64)?)),
        }
    };
    let (start, end) = (bound(1, 0)?, bound(2, length)?.min(length));
    if start > end {
        return Ok(None);
    }
    let byte = |index| {
        let mut indices = text.char_indices().map(|(offset, _)| offset);
        indices.nth(index).unwrap_or(text.len())
    };
    Ok(Some((start, &text[byte(start)..byte(end)])))
}

fn pad(state: &State, text: &str, method: &str, arguments: &Arguments) -> Result<Value, Error> {
    arguments.accept(if method == "zfill" { 1 } else { 2 }, &[])?;
    arguments.required(0)?;
    let width = usize::try_from(arguments.integer(0, "", 0)?).unwrap_or(0);
    let fill = match arguments.get(1, "") {
        None if method == "zfill" => '0',
        None => ' ',
        Some(fill) => match fill.as_str().map(|fill| fill.chars().collect::<Vec<_>>()) {
            Some(letters) if letters.len() == 1 => letters[0],
            _ => return Err(invalid("the fill must be one character")),
        },
    };
    let missing = width.saturating_sub(text.chars().count());
    state.consume_fuel(missing as u64 / 16)?; // before so much is allocated
    let repeat = |count: usize| -> String { std::iter::repeat_n(fill, count).collect() };
    Ok(Value::from(match method {
        "ljust" => format!("{text}{}", repeat(missing)),
        "center" => {
            // Python's rule for odd remainders
            let left = missing / 2 + (missing & width & 1);
            format!("{}{text}{}", repeat(left), repeat(missing - left))
        }
        "zfill" if text.starts_with(['+', '-']) => {
            format!("{}{}{}", &text[..1], repeat(missing), &text[1..])
        }
        _ => format!("{}{text}", repeat(missing)),
    }))
}

/// Python's `title`: a letter after anything that is not a letter is capital.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for letter in text.chars() {
        match inside {
            true => out.extend(letter.to_lowercase()),
            false => out.extend(letter.to_uppercase()),
        }
        inside = letter.is_alphabetic();
    }
    out
}

fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first
            .to_uppercase()
            .chain(letters.as_str().to_lowercase().chars())
            .collect(),
        None => String::new(),
    }
}

fn swap_case(letter: char) -> Vec<char> {
    match letter.is_uppercase() {
        true => letter.to_lowercase().collect(),
        false => letter.to_uppercase().collect(),
    }
}

/// Jinja's `indent(text, width=4, first=false, blank=false)`, which unlike the engine's own keeps a
/// final newline.
pub(super) fn indent(
    state: &State,
    text: &str,
    positional: Rest<Value>,
    named: Kwargs,
) -> Result<String, Error> {
    let arguments = Arguments {
        positional: &positional,
        named: Some(named),
    };
    arguments.accept(3, &["width", "first", "blank"])?;
    let indention = match arguments.get(0, "width") {
        Some(width) if width.as_str().is_some() => width.to_string(),
        // wider than any output may be is as good as too wide
        _ => " ".repeat(
            usize::try_from(arguments.integer(0, "width", 4)?)
                .unwrap_or(0)
                .min(4096),
        ),
    };
    let flag = |index, name| {
        arguments
            .get(index, name)
            .is_some_and(|value| value.is_true())
    };
    let (first, blank) = (flag(1, "first"), flag(2, "blank"));
    let text = format!("{text}\n");
    let mut out = String::new();
    for (index, line) in lines(&text, false).into_iter().enumerate() {
        if index > 0 {
            out.push('\n');
        }
        if (index == 0 && first) || (index > 0 && (blank || !line.is_empty())) {
            out.push_str(&indention);
        }
        out.push_str(line);
        state.consume_fuel(1 + (indention.len() + line.len()) as u64 / 64)?;
    }
    Ok(out)
}

fn invalid(reason: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.to_owned())
}
