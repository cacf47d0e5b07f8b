//! Models in which one thing is broken, and the error that each must give.

use super::common::{Spec, TinyLlama};
use yareta::{Model, ModelOptions, Threads};

/// One thing to break in a model that is otherwise fine, and the error it must give, to the
/// letter.
pub type Case = (fn(&mut Spec) -> &mut Spec, &'static str);

/// Breaks `model` in each way and compares the errors.
pub fn check(model: &TinyLlama, cases: &[Case]) {
    // Without the change, it opens: what is reported is the change.
    open(model.bytes()).unwrap();
    let mut wrong = Vec::new();
    for (change, error) in cases {
        let mut spec = model.spec();
        change(&mut spec);
        let found = match open(spec.bytes()) {
            Ok(_) => "opened".into(),
            Err(found) => found.to_string(),
        };
        if found != *error {
            wrong.push(format!("expected: {error}\n   found: {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Opens a model on one thread.
pub fn open(bytes: Vec<u8>) -> yareta::Result<Model> {
    let options = ModelOptions::new().threads(Threads::new(1)?);
    Model::from_gguf_with(yareta::Gguf::from_bytes(bytes)?, options)
}
