//! Any bytes as a saved session: `cargo +nightly fuzz run session`.

#![no_main]
#![allow(dead_code, unused_imports)] // each target uses its part of what they share

use std::sync::OnceLock;

use yareta::{Model, ModelOptions, Threads};

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../../tests/common/untrusted.rs"]
mod untrusted;

static MODEL: OnceLock<Model> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let model = MODEL.get_or_init(|| {
        let file = yareta::Gguf::from_bytes(common::TinyLlama::default().bytes());
        let options = ModelOptions::new().threads(Threads::new(1).expect("a thread"));
        Model::from_gguf_with(file.expect("a file"), options).expect("a model")
    });
    untrusted::restore(model, bytes);
});
