//! Vocabularies, chat templates and saved sessions of strangers: whatever they are, an answer or
//! an error, never a panic.

mod common;
#[path = "common/untrusted.rs"]
mod untrusted;

use std::sync::OnceLock;

use common::TinyLlama;
use proptest::collection::vec;
use proptest::prelude::*;
use untrusted::{render, restore, tokenize};
use yareta::{Model, ModelOptions, Threads};

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let file = yareta::Gguf::from_bytes(TinyLlama::default().bytes()).unwrap();
        let options = ModelOptions::new().threads(Threads::new(1).unwrap());
        Model::from_gguf_with(file, options).unwrap()
    })
}

/// Pieces of template language, most of which fit together.
fn template() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "-",
        " for ",
        " in ",
        " if ",
        " else ",
        " endfor ",
        " endif ",
        " set ",
        " macro ",
        " endmacro ",
        "messages",
        "message",
        "loop",
        ".index",
        "['role']",
        ".content",
        "|",
        "trim",
        "tojson",
        "length",
        "upper",
        "join",
        "(",
        ")",
        "[",
        "]",
        "::-1",
        ",",
        "'",
        "\"",
        "x",
        "=",
        "==",
        "~",
        "+",
        "*",
        "//",
        "%",
        "1",
        "99999999999",
        "0",
        "-1",
        "namespace",
        "range",
        "raise_exception",
        "strftime_now",
        ".split",
        ".replace",
        ".strip",
        "is ",
        "defined",
        "not ",
        "none",
        "true",
        "\n",
        "é",
        "{{ messages }}",
    ]);
    vec(words, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 400 }))]

    #[test]
    fn any_vocabulary(bytes in vec(prop_oneof![2 => any::<u8>(), 1 => 0..4u8, 2 => b'a'..=b'd'], 0..200)) {
        tokenize(&bytes);
    }

    #[test]
    fn any_template(source in template()) {
        render(source.as_bytes());
    }

    #[test]
    fn any_saved_session(how in 0..4u8, bytes in vec(any::<u8>(), 0..60)) {
        restore(model(), &[&[how], &bytes[..]].concat());
    }
}

#[test]
fn what_is_whole_is_used() {
    assert!(render(
        b"{% for m in messages %}{{ m.content }}{% endfor %}"
    ));
    assert!(tokenize(b"\0\0\0\x01\x80a\0\x01\x81b\0\x01\x82ab\0abba"));
    // No change, and one of a value; then a token that does not exist and a cut.
    assert!(restore(model(), &[1]));
    assert!(restore(model(), &[1, 60, 0, 7]));
    assert!(!restore(model(), &[1, 29, 0, 0xff]));
    assert!(!restore(model(), &[2]));
    // No tokens at all, and more than there are bytes for.
    assert!(restore(model(), &[0, 0, 0, 0, 0]));
    assert!(!restore(model(), &[0, 0xff, 0xff, 0xff, 0xff]));
}
