//! Tokenization on real vocabularies: published vectors, and agreement with another engine on
//! many generated lines (`scripts/golden_tokens.py` says how its answers were recorded).
//!
//! The vocabularies are read from `YARETA_TEST_DATA`, by default `../shared/data`; where they are
//! absent these tests say so and pass.

use std::path::{Path, PathBuf};

use yareta::{EncodeOptions, Gguf, Token, Tokenizer};

/// Text only: nothing added, nothing parsed.
const PLAIN: EncodeOptions = EncodeOptions {
    add_special: false,
    parse_special: false,
};

const PARSED: EncodeOptions = EncodeOptions {
    add_special: false,
    parse_special: true,
};

fn data() -> PathBuf {
    match std::env::var_os("YARETA_TEST_DATA") {
        Some(path) => path.into(),
        None => concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data").into(),
    }
}

fn vocabulary_path(name: &str) -> PathBuf {
    data().join(format!("vocab/ggml-vocab-{name}.gguf"))
}

/// The tokenizer of a vocabulary file, if it is there.
fn tokenizer(name: &str) -> Option<Tokenizer> {
    let path = vocabulary_path(name);
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    let gguf = Gguf::open(&path).unwrap();
    Some(Tokenizer::from_gguf(&gguf).unwrap())
}

#[test]
fn published_vectors() {
    for name in [
        "llama-spm",
        "gpt-2",
        "deepseek-llm",
        "deepseek-coder",
        "mpt",
        "bert-bge",
    ] {
        let Some(tokenizer) = tokenizer(name) else {
            continue;
        };
        let read = |suffix: &str| {
            let mut path = vocabulary_path(name).into_os_string();
            path.push(suffix);
            std::fs::read_to_string(Path::new(&path)).unwrap()
        };
        let texts = read(".inp");
        let ids = read(".out");
        let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
        let ids: Vec<&str> = ids.lines().collect();
        assert!(texts.len() > 40 && texts.len() <= ids.len() + 1);
        for (text, expected) in texts.iter().zip(ids) {
            let expected: Vec<Token> = expected
                .split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect();
            let found = tokenizer.encode_with(text, PLAIN).unwrap();
            assert_eq!(found, expected, "{name}: {text:?}");
        }
    }
}
