//! `yareta run`.

use std::io::Read;
use std::process::Stdio;

use crate::common::{Ran, Temporary, command, data, yareta, yareta_reading};

/// What the model of 260 thousand weights is known to write.
const BEGINNING: &str = "Once upon a time, there was a little girl named Lily. She loved to play \
                         outside in the park.";

fn run(model: &str, args: &[&str]) -> Ran {
    yareta(&[&["run", "-m", model][..], args].concat())
}

#[test]
fn the_text_is_all_that_is_printed_and_figures_are_beside() {
    let Some(model) = data("models/stories260K-v3.gguf") else {
        return;
    };
    let greedy = ["--temp", "0", "--repeat-penalty", "1", "-n", "30"];
    let ran = run(&model, &[&["Once upon a time"][..], &greedy].concat()).ok();
    assert!(ran.out.starts_with(BEGINNING), "{ran:?}");
    assert!(ran.out.ends_with('\n'), "{ran:?}");
    let figures: Vec<&str> = ran.err.lines().collect();
    assert_eq!(figures.len(), 1, "{ran:?}");
    for part in ["prompt 5 tokens", "generation 30 tokens", "load", "(-n)"] {
        assert!(figures[0].contains(part), "{part} in {figures:?}");
    }
    let quiet = run(
        &model,
        &[&["-q", "--no-echo", "Once upon a time"][..], &greedy].concat(),
    )
    .ok();
    assert_eq!(quiet.err, "");
    assert_eq!(format!("Once upon a time{}", quiet.out), ran.out);

    let piped = [&["run", "-q", "-m", &model][..], &greedy].concat();
    assert_eq!(
        yareta_reading(&piped, "Once upon a time\n").ok().out,
        ran.out
    );
    let json = run(
        &model,
        &[&["--json", "Once upon a time"][..], &greedy].concat(),
    )
    .json();
    assert_eq!(
        json["text"].as_str().unwrap(),
        quiet.out.trim_end_matches('\n')
    );
    assert_eq!(json["stop"], "length");
    assert_eq!(json["generated_tokens"], 30);
}

#[test]
fn a_seed_decides_the_text_for_any_threads_and_batches() {
    let Some(model) = data("models/stories260K-v3.gguf") else {
        return;
    };
    let text = |args: &[&str]| {
        let all = [&["Lily and", "-n", "40", "--temp", "1"][..], args].concat();
        run(&model, &all).ok().out
    };
    let first = text(&["-s", "7"]);
    assert_eq!(text(&["-s", "7", "-t", "1"]), first);
    assert_eq!(
        text(&["--seed", "7", "--threads", "3", "--batch", "1"]),
        first
    );
    assert_ne!(text(&["-s", "8"]), first);
}

#[test]
fn a_full_context_ends_the_text() {
    let Some(model) = data("models/stories260K-v3.gguf") else {
        return;
    };
    let ran = run(&model, &["-c", "10", "--temp", "0", "Once upon a time"]).ok();
    assert!(ran.err.contains("context is full"), "{ran:?}");
    let args = ["-c", "10", "--temp", "0", "Once upon a time", "-n", "-1"];
    assert_eq!(run(&model, &args).ok().out, ran.out);
    let long = run(&model, &["-c", "600", "-n", "1", "a"]).ok();
    let warning = "a context of 600 tokens, but the model was trained on 512";
    assert!(long.err.contains(warning), "{long:?}");
    run(&model, &["-c", "3", "Once upon a time"]).fails(1, "5 tokens do not fit a context of 3");
}

#[test]
fn options_that_cannot_be_exit_with_2() {
    let Some(model) = data("models/stories260K-v3.gguf") else {
        return;
    };
    run(&model, &["a", "--temp", "-1"]).fails(2, "--temp: ");
    run(&model, &["a", "--top-p", "2"]).fails(2, "--top-p: ");
    run(&model, &["a", "--threads", "0"]).fails(2, "--threads: ");
    run(&model, &["a", "--typical", "-1"]).fails(2, "--typical: ");
    run(&model, &["a", "--presence-penalty", "inf"]).fails(2, "--presence-penalty: ");
    run(&model, &["a", "--batch", "0"]).fails(2, "--batch: ");
    for args in [
        &["a", "--isa", "mmx"][..],
        &["a", "--kv", "q2"],
        &["a", "-n", "many"],
        &["a", "-n", "-2"],
    ] {
        assert_eq!(run(&model, args).code, Some(2), "{args:?}");
    }
    let random = Temporary::file("random.txt", b"\xff\xfe");
    run(&model, &["-f", random.as_str()]).fails(1, "not a text in UTF-8");
    run(&model, &["-f", "/no/such/prompt.txt"]).fails(1, "/no/such/prompt.txt");
}

#[test]
fn every_instruction_set_of_this_machine_can_be_pinned() {
    let Some(model) = data("models/stories260K-v3.gguf") else {
        return;
    };
    for isa in yareta::Isa::ALL {
        let ran = run(
            &model,
            &[
                "Once upon a time",
                "-n",
                "16",
                "--temp",
                "0",
                "--isa",
                isa.name(),
            ],
        );
        match isa.is_available() {
            true => assert!(BEGINNING.starts_with(ran.ok().out.trim_end()), "{isa}"),
            false => ran.fails(2, "--isa: "),
        }
    }
}

#[test]
fn a_reader_that_stops_reading_ends_the_run() {
    let Some(model) = data("models/stories260K-v3.gguf") else {
        return;
    };
    let mut child = command(&["run", "-m", &model, "Once", "-n", "100000", "-c", "100000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    // Nothing but the warning that the context is long: no complaint, no figures.
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.starts_with("yareta: a context of 100000"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

/// Ctrl-C is a signal on Unix.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_run() {
    let Some(model) = data("models/stories260K-v3.gguf") else {
        return;
    };
    let mut child = command(&[
        "run", "-q", "-m", &model, "Once", "-n", "1000000", "-c", "1000000",
    ])
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    let id = child.id().to_string();
    let kill = std::process::Command::new("kill")
        .args(["-INT", &id])
        .status();
    assert!(kill.unwrap().success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with('\n'));
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
