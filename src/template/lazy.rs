//! The filters whose result is a generator in Python: always true, without a length, not JSON.
//!
//! The engine computes lists instead, and a template that asks whether such a result is empty
//! would get another answer from a list.

use minijinja::value::{Enumerator, Object, ObjectRepr, Rest, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value, filters};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// What the engine gives filters as their last parameter.
type Others = Rest<ValueOrKwargs>;

/// Replaces the engine's `map`, `select`, `reject`, `selectattr` and `rejectattr`.
pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.add_filter("map", map);
    environment.add_filter("select", select);
    environment.add_filter("reject", reject);
    environment.add_filter("selectattr", select_by_attribute);
    environment.add_filter("rejectattr", reject_by_attribute);
}

fn map(state: &mut State, value: Value, others: Others) -> Result<Value, Error> {
    filters::map(state, something(value), others).map(Generator::value)
}

fn select(
    state: &mut State,
    value: Value,
    test: Option<Cow<'_, str>>,
    others: Others,
) -> Result<Value, Error> {
    filters::select(state, something(value), test, others).map(Generator::value)
}

fn reject(
    state: &mut State,
    value: Value,
    test: Option<Cow<'_, str>>,
    others: Others,
) -> Result<Value, Error> {
    filters::reject(state, something(value), test, others).map(Generator::value)
}

fn select_by_attribute(
    state: &mut State,
    value: Value,
    attribute: Cow<'_, str>,
    test: Option<Cow<'_, str>>,
    others: Others,
) -> Result<Value, Error> {
    filters::selectattr(state, something(value), attribute, test, others).map(Generator::value)
}

fn reject_by_attribute(
    state: &mut State,
    value: Value,
    attribute: Cow<'_, str>,
    test: Option<Cow<'_, str>>,
    others: Others,
) -> Result<Value, Error> {
    filters::rejectattr(state, something(value), attribute, test, others).map(Generator::value)
}

/// Python's filters do not look into what is false, so that `none` is no error there.
fn something(value: Value) -> Value {
    match value.is_true() {
        true => value,
        false => Value::from(Vec::<Value>::new()),
    }
}

/// Values to go over, and nothing else.
struct Generator(Vec<Value>);

impl Generator {
    fn value(values: Vec<Value>) -> Value {
        Value::from_object(Generator(values))
    }
}

impl fmt::Debug for Generator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<generator object>")
    }
}

impl Object for Generator {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.clone())
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        None
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }
}
