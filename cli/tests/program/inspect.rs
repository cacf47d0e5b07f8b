//! `yareta inspect`, and what is the same for every command: exit codes, errors, pipes.

use std::io::Read;
use std::process::Stdio;

use crate::common::{Temporary, command, data, yareta};
use yareta::gguf::{TensorType, Writer};

/// A file of an architecture that nobody knows, with a text that would clear a terminal.
fn unknown() -> Vec<u8> {
    let mut writer = Writer::new();
    writer.set("general.architecture", "mystery").unwrap();
    writer.set("general.name", "a\u{1b}[2Jb").unwrap();
    writer.set("mystery.epsilon", 1e-5f32).unwrap();
    writer.set("mystery.many", vec![7u32; 100]).unwrap();
    writer.tensor("a", TensorType::Q8_0, &[64, 2]).unwrap();
    writer.tensor("b", TensorType::F32, &[3]).unwrap();
    let mut data = writer.start(Vec::new()).unwrap();
    data.write(&[0; 4 * 34]).unwrap();
    data.write(&[0; 12]).unwrap();
    data.finish().unwrap()
}

#[test]
fn lists_a_file_of_an_unknown_architecture() {
    let file = Temporary::file("list.gguf", &unknown());
    let ran = yareta(&["inspect", "--model", file.as_str()]).ok();
    assert_eq!(ran.err, "");
    let lines: Vec<Vec<&str>> = ran
        .out
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    let has = |line: &[&str]| assert!(lines.iter().any(|l| l == line), "{line:?} in {lines:?}");
    has(&["general.architecture", "string", "\"mystery\""]);
    has(&["a", "Q8_0", "64", "×", "2", "128", "136", "B", "8.50"]);
    has(&["b", "F32", "3", "3", "12", "B", "32.00"]);
    has(&["Q8_0", "1", "128", "136", "B", "8.50"]);
    assert!(ran.out.contains("u32[100]"), "{}", ran.out);
    assert!(ran.out.contains("… 100 in all"), "{}", ran.out);
    assert!(!ran.out.contains('\u{1b}'), "{}", ran.out);
}

#[test]
fn json_is_json() {
    let file = Temporary::file("json.gguf", &unknown());
    let json = yareta(&["inspect", file.as_str(), "--json"]).json();
    assert_eq!(json["metadata"]["mystery.epsilon"], 1e-5);
    assert_eq!(json["metadata"]["mystery.many"]["length"], 100);
    assert_eq!(json["tensors"][0]["shape"], serde_json::json!([64, 2]));
    assert_eq!(json["total"]["weights"], 131);
    assert_eq!(json["types"]["F32"]["bytes"], 12);
    let full = yareta(&["inspect", file.as_str(), "--json", "--full"]).json();
    assert_eq!(
        full["metadata"]["mystery.many"].as_array().unwrap().len(),
        100
    );
}

#[test]
fn one_key_is_printed_as_it_is() {
    let file = Temporary::file("key.gguf", &unknown());
    let key = |key: &str| yareta(&["inspect", file.as_str(), "--key", key]);
    assert_eq!(key("general.name").ok().out, "a\u{1b}[2Jb\n");
    assert_eq!(key("mystery.epsilon").ok().out, "0.00001\n");
    key("no.such").fails(1, "`no.such` is missing");
}

#[test]
fn a_real_file_is_listed() {
    let Some(path) = data("models/unknown-arch-nanochat-align1.gguf") else {
        return;
    };
    yareta(&["inspect", &path]).ok();
    assert_eq!(yareta(&["inspect", &path, "--json"]).json()["alignment"], 1);
}

#[test]
fn errors_are_one_sentence_that_names_the_file() {
    yareta(&["inspect", "/no/such/file.gguf"]).fails(1, "/no/such/file.gguf");
    let text = Temporary::file("text.gguf", b"Hello, this is no model at all");
    yareta(&["inspect", text.as_str()]).fails(1, "not a GGUF file");
    let cut = Temporary::file("cut.gguf", &unknown()[..200]);
    yareta(&["inspect", cut.as_str()]).fails(1, cut.as_str());
    yareta(&["inspect", "-m", "/tmp"]).fails(1, "/tmp");
}

#[test]
fn wrong_command_lines_exit_with_2() {
    for args in [
        &["inspect", "--no-such-flag"][..],
        &["no-such-command"],
        &["inspect", "a.gguf", "-m", "b.gguf"],
        &[],
    ] {
        let ran = yareta(args);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert_eq!(ran.out, "", "{ran:?}");
    }
    for args in [&["--help"][..], &["--version"], &["inspect", "--help"]] {
        assert_eq!(yareta(args).ok().err, "");
    }
}

#[test]
fn a_reader_that_stops_reading_is_no_error() {
    let mut writer = Writer::new();
    // More than a pipe holds.
    writer.set("mystery.many", vec![7u32; 100_000]).unwrap();
    let file = Temporary::file(
        "pipe.gguf",
        &writer.start(Vec::new()).unwrap().finish().unwrap(),
    );
    let mut child = command(&["inspect", file.as_str(), "--full"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut some = [0; 10];
    stdout.read_exact(&mut some).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
