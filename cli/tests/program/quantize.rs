//! `yareta quantize`.

use std::path::Path;

use crate::common::{Temporary, yareta};

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/yareta-stories.gguf");

#[test]
fn a_quantized_model_runs() {
    let out = Temporary::path("quantized.gguf");
    yareta(&[
        "quantize",
        MODEL,
        out.as_str(),
        "q4_0",
        "--embedding",
        "Q6_K",
    ])
    .ok();
    let json = yareta(&["inspect", out.as_str(), "--json"]).json();
    assert_eq!(json["types"]["Q4_0"]["tensors"], 4 * 7);
    assert_eq!(json["types"]["Q6_K"]["tensors"], 1);
    let ran = yareta(&[
        "run",
        "-q",
        "-m",
        out.as_str(),
        "Once upon a time",
        "--temp",
        "0",
    ])
    .ok();
    assert!(
        ran.out.starts_with("Once upon a time, there was a"),
        "{ran:?}"
    );

    yareta(&["quantize", MODEL, out.as_str(), "Q8_0"]).fails(1, "already exists");
    yareta(&["quantize", MODEL, out.as_str(), "Q8_0", "--force"]).ok();
    let json = yareta(&["inspect", out.as_str(), "--json"]).json();
    assert_eq!(json["types"]["Q8_0"]["tensors"], 1 + 4 * 7);
}

#[test]
fn nothing_is_left_of_what_cannot_be_written() {
    let out = Temporary::path("never.gguf");
    yareta(&["quantize", "/no/such.gguf", out.as_str(), "Q8_0"]).fails(1, "/no/such.gguf");
    assert!(!Path::new(out.as_str()).exists());
    assert_eq!(
        yareta(&["quantize", MODEL, out.as_str(), "Q9"]).code,
        Some(2)
    );
    yareta(&["quantize", MODEL, "/no/such/out.gguf", "Q8_0"]).fails(1, "/no/such/out.gguf");
}
