//! `yareta bench`, with sizes that say nothing about speed.

use crate::common::{data, yareta};

const SMALL: [&str; 6] = ["-p", "8", "-n", "4", "-r", "2"];

#[test]
fn measures_speed_memory_and_the_machine() {
    let Some(model) = data("models/stories260K-v3.gguf") else {
        return;
    };
    let args = [&["bench", "-m", &model, "--json"][..], &SMALL].concat();
    let json = yareta(&args).json();
    let side = &json["sides"][0];
    for rate in ["prompt_tokens_per_second", "generation_tokens_per_second"] {
        assert!(side[rate]["mean"].as_f64().unwrap() > 0.0, "{json}");
        assert_eq!(side[rate]["runs"].as_array().unwrap().len(), 2);
    }
    // The head is tied: all weights but the norms are read for each token.
    assert!(
        side["bytes_per_token"].as_f64().unwrap() > 4.0 * 255_000.0,
        "{json}"
    );
    assert!(
        side["generation_share_of_memory"].as_f64().unwrap() > 0.0,
        "{json}"
    );
    assert!(json["machine"]["memory_bytes_per_second"].as_f64().unwrap() > 1e8);
    assert!(
        json["machine"]["int8_products_per_second"]
            .as_f64()
            .unwrap()
            > 1e8
    );
    if cfg!(target_os = "linux") {
        assert!(
            json["memory"]["file_bytes"].as_f64().unwrap() > 1e5,
            "{json}"
        );
    }
}

#[test]
fn prints_for_people() {
    let Some(model) = data("models/stories260K-v3.gguf") else {
        return;
    };
    let args = [
        &["bench", "-m", &model, "--no-limits", "-d", "5"][..],
        &SMALL,
    ]
    .concat();
    let ran = yareta(&args).ok();
    assert_eq!(ran.err, "");
    for part in ["prompt 8 at 5", "generation 4 at 5", "±", "load"] {
        assert!(ran.out.contains(part), "{part} in {}", ran.out);
    }
}

#[test]
fn compares_in_turns() {
    let Some(model) = data("models/stories260K-v3.gguf") else {
        return;
    };
    let args = [
        "bench",
        "-m",
        &model,
        "--no-limits",
        "--json",
        "--vs-threads",
        "1",
        "-t",
        "2",
    ];
    let json = yareta(&[&args[..], &SMALL].concat()).json();
    assert_eq!(json["sides"][0]["threads"], 2);
    assert_eq!(json["sides"][1]["threads"], 1);
    assert!(json["ratio"]["generation"]["mean"].as_f64().unwrap() > 0.0);
    let args = [
        "bench",
        "-m",
        &model,
        "--no-limits",
        "--compare",
        &model,
        "--vs-isa",
        "scalar",
    ];
    let ran = yareta(&[&args[..], &SMALL].concat()).ok();
    assert!(ran.out.contains("times as fast"), "{ran:?}");
}

#[test]
fn what_cannot_be_measured_is_an_error() {
    let Some(model) = data("models/stories260K-v3.gguf") else {
        return;
    };
    yareta(&["bench", "-m", &model, "-p", "0", "-n", "0"]).fails(2, "neither");
    let args = ["bench", "-m", &model, "-c", "4", "--no-limits"];
    yareta(&[&args[..], &SMALL].concat()).fails(1, "do not fit a context of 4");
    assert_eq!(yareta(&["bench", "-r", "0"]).code, Some(2));
}
