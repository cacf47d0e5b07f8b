//! `yareta tokenize`.

use crate::common::{Temporary, data, yareta, yareta_reading};

#[test]
fn tokens_are_those_of_the_vocabulary() {
    let Some(path) = data("models/stories260K-v3.gguf") else {
        return;
    };
    let run = |args: &[&str]| yareta(&[&["tokenize", "-m", &path][..], args].concat()).ok();
    let ids = run(&["--ids", "Once upon a time"]).out;
    assert!(ids.starts_with("1 "), "{ids}"); // the beginning-of-sequence token
    let bare = run(&["--ids", "--no-special", "Once upon a time"]).out;
    assert_eq!(ids, format!("1 {bare}"));
    assert_eq!(
        yareta_reading(&["tokenize", "-m", &path, "--ids"], "Once upon a time")
            .ok()
            .out,
        ids
    );
    assert_eq!(run(&["--ids", "--no-special", ""]).out, "\n");

    let json = yareta(&["tokenize", "-m", &path, "--json", "--no-special", "Once é"]).json();
    let pieces = json["tokens"].as_array().unwrap();
    assert_eq!(json["count"], pieces.len());
    let bytes: Vec<u8> = pieces
        .iter()
        .flat_map(|piece| piece["bytes"].as_array().unwrap())
        .map(|byte| byte.as_u64().unwrap() as u8)
        .collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), " Once é");

    let listed = run(&["Once upon a time"]).out;
    assert_eq!(listed.lines().count(), ids.split_whitespace().count());
    assert!(listed.lines().nth(1).unwrap().ends_with('"'), "{listed}");
}

#[test]
fn a_file_without_a_vocabulary_is_an_error() {
    let file = yareta::gguf::Writer::new()
        .start(Vec::new())
        .unwrap()
        .finish()
        .unwrap();
    let file = Temporary::file("bare.gguf", &file);
    yareta(&["tokenize", "-m", file.as_str(), "a"]).fails(1, "tokenizer.ggml.model");
}
