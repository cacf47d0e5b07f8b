//! Any vocabulary, and any text: `cargo +nightly fuzz run vocabulary`.

#![no_main]
#![allow(dead_code, unused_imports)] // each target uses its part of what they share

#[path = "../../tests/common/untrusted.rs"]
mod untrusted;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    untrusted::tokenize(bytes);
});
