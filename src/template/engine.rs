//! The template engine, set up as Hugging Face's `transformers` sets up Jinja2: its immutable
//! sandbox with trimmed blocks, loop controls, the `generation` tag, and its own `tojson`,
//! `raise_exception` and `strftime_now`.
//!
//! Templates come from strangers: their work and memory are paid from a budget, their nesting is
//! limited, and there is nothing in reach but the values they are given: no files, no environment,
//! no other templates.

use super::clock::Timestamp;
use super::{json, lazy, methods, percent, python, remainder, rewrite};
use minijinja::functions::namespace;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};
use std::error::Error as _;
use std::fmt;
use std::sync::OnceLock;
use std::thread;

/// Work one rendering may do, in instructions and 64-byte pieces of data: a few tenths of a second
/// and at most 320 MB, and more for long conversations, because some templates join all that came
/// before to each message.
const FUEL: u64 = 5_000_000;

/// Additional work for each byte of what is rendered.
const FUEL_PER_BYTE: u64 = 24;

/// The work that rendering `bytes` bytes of values may do.
pub(super) fn fuel(bytes: usize) -> u64 {
    FUEL.saturating_add(FUEL_PER_BYTE.saturating_mul(bytes as u64))
}

/// Longest template text, in bytes. Known ones have up to twenty thousand.
pub(super) const SOURCE_LIMIT: usize = 1 << 20;

/// Deepest nesting of a value that a template assigns; inputs are nested a hundred deep at most.
const DEPTH: usize = 200;

/// Most items, each counted wherever it can be reached, of a value that a template assigns.
const SIZE: u64 = 1 << 20;

/// Deepest nesting of the engine's own calls: macros, loops, blocks.
const RECURSION: usize = 200;

/// Stack of the thread that templates are parsed and rendered on: what the engine's own limits and
/// ours on nesting and chains can take, whatever stack the caller has. Only what is touched counts.
pub(super) const STACK: usize = 64 << 20;

/// Runs `work` with a stack of [`STACK`] bytes; `None` if the system gives no thread.
pub(super) fn with_stack<R: Send>(work: impl FnOnce() -> R + Send) -> Option<R> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("template".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)
            .ok()?;
        match thread.join() {
            Ok(result) => Some(result),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The engine with one template, called by [`TEMPLATE`].
pub(super) fn environment(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_recursion_limit(RECURSION);
    environment.set_fuel(Some(fuel(0)));
    environment.set_unknown_method_callback(methods::call);
    environment.set_formatter(|out, state, value| match value.as_str() {
        Some(text) => out.write_str(text).map_err(Error::from),
        None => out
            .write_str(&python::text(state, value)?)
            .map_err(Error::from),
    });
    environment.add_filter("tojson", json::tojson);
    environment.add_filter("string", |state: &State, value: &Value| {
        python::text(state, value)
    });
    environment.add_test("sequence", |value: &Value| {
        // whatever has a length and items: in Python, strings and mappings too
        matches!(
            value.kind(),
            ValueKind::Seq | ValueKind::Map | ValueKind::String | ValueKind::Undefined
        )
    });
    environment.add_test("iterable", |value: &Value| {
        !value.is_none() && value.try_iter().is_ok()
    });
    environment.add_filter(rewrite::ITERATED, iterated);
    environment.add_filter(rewrite::BOUNDED, bounded);
    environment.add_filter(rewrite::HELD, held);
    environment.add_filter(rewrite::APPENDED, appended);
    environment.add_filter(remainder::PERCENT, percent::percent);
    lazy::add_to(&mut environment);
    environment.add_filter("indent", methods::indent);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.remove_global("debug");
    let source = remainder::replace(source);
    let source =
        rewrite::rewrite(&source).map_err(|reason| Error::new(ErrorKind::SyntaxError, reason))?;
    environment.add_template_owned(TEMPLATE, source.into_owned())?;
    Ok(environment)
}

/// Name of the template in its environment. It has no extension, so nothing is escaped.
pub(super) const TEMPLATE: &str = "chat_template";

/// Name under which the time of a rendering is kept in its state.
pub(super) const NOW: &str = "yareta_now";

/// What the template itself says is wrong.
#[derive(Debug)]
pub(super) struct Raised(pub(super) String);

impl fmt::Display for Raised {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Raised {}

/// A sentence for people: the template's own where it raised an error, otherwise the engine's with
/// the line.
pub(super) fn describe(error: &Error) -> String {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(raised) = cause.downcast_ref::<Raised>() {
            return raised.0.clone();
        }
        source = cause.source();
    }
    let what = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    match error.line() {
        Some(line) => format!("{what} (line {line})"),
        None => what,
    }
}

fn raise_exception(state: &State, message: &Value) -> Result<Value, Error> {
    let message = python::text(state, message)?;
    let error = Error::new(ErrorKind::InvalidOperation, message.clone());
    Err(error.with_source(Raised(message)))
}

/// `left + right`, where what is added to safe text is escaped: `markupsafe.Markup.__add__`.
fn appended(state: &State, left: &Value, right: &Value) -> Result<Value, Error> {
    match (left.as_str(), right.as_str()) {
        (Some(before), Some(after)) => {
            let length = before.len() + after.len();
            state.consume_fuel(1 + length as u64 / 64)?; // before so much is allocated
            let mut text = String::with_capacity(length);
            let any_safe = left.is_safe() || right.is_safe();
            for value in [left, right] {
                let part = value.as_str().unwrap_or("");
                match any_safe && !value.is_safe() {
                    true => escape(part, &mut text),
                    false => text.push_str(part),
                }
            }
            Ok(match any_safe {
                true => Value::from_safe_string(text),
                false => Value::from(text),
            })
        }
        _ => state
            .env()
            .compile_expression("left + right")?
            .eval(Value::from_pairs([
                ("left", left.clone()),
                ("right", right.clone()),
            ])),
    }
}

/// Appends `text` with the escapes of `markupsafe.escape`.
pub(super) fn escape(text: &str, out: &mut String) {
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            letter => out.push(letter),
        }
    }
}

/// A value that is assigned, after a look at all it holds: how deep, and how much.
fn bounded(state: &State, value: Value) -> Result<Value, Error> {
    let mut left = SIZE;
    measure(&value, 0, &mut left)?;
    state.consume_fuel((SIZE - left) / 16)?;
    Ok(value)
}

/// A value that a namespace is to hold: bounded, and no namespace.
fn held(state: &State, value: Value) -> Result<Value, Error> {
    match is_namespace(&value) {
        true => Err(Error::new(
            ErrorKind::InvalidOperation,
            "a namespace cannot be in another value",
        )),
        false => bounded(state, value),
    }
}

/// Whether a value is the engine's namespace, a type it does not name: one is made to compare.
fn is_namespace(value: &Value) -> bool {
    static NAME: OnceLock<Option<&str>> = OnceLock::new();
    let name = NAME.get_or_init(|| Some(namespace(None).ok()?.as_object()?.type_name()));
    value.as_object().is_some() && value.as_object().map(|object| object.type_name()) == *name
}

fn measure(value: &Value, depth: usize, left: &mut u64) -> Result<(), Error> {
    let too = |what| Err(Error::new(ErrorKind::InvalidOperation, what));
    if !matches!(
        value.kind(),
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable
    ) {
        return Ok(());
    }
    if depth > DEPTH {
        return too("values are nested too deeply");
    }
    if depth > 0 && is_namespace(value) {
        // it could come to hold itself
        return too("a namespace cannot be in another value");
    }
    let is_map = value.kind() == ValueKind::Map;
    for item in value.try_iter()? {
        match left.checked_sub(1) {
            Some(rest) => *left = rest,
            None => return too("a value holds too much"),
        }
        match is_map {
            true => measure(&value.get_item(&item)?, depth + 1, left)?,
            false => measure(&item, depth + 1, left)?,
        }
    }
    Ok(())
}

/// What a loop goes over, as a list, so that the loop knows its length. Python refuses `none`.
fn iterated(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::None => Err(Error::new(
            ErrorKind::InvalidOperation,
            "none is not iterable",
        )),
        ValueKind::Iterable => Ok(Value::from(value.try_iter()?.collect::<Vec<Value>>())),
        _ => Ok(value.clone()),
    }
}

fn strftime_now(state: &State, format: &str) -> Result<String, Error> {
    state.consume_fuel(format.len() as u64)?;
    let now = state.lookup(NOW).and_then(|now| now.as_i64());
    Ok(now
        .map_or_else(Timestamp::now, Timestamp::from_unix)
        .format(format))
}
