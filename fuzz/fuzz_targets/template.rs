//! Any chat template: `cargo +nightly fuzz run template`.

#![no_main]
#![allow(dead_code, unused_imports)] // each target uses its part of what they share

#[path = "../../tests/common/untrusted.rs"]
mod untrusted;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    untrusted::render(bytes);
});
