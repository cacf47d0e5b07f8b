//! `yareta bench`, with sizes that say nothing about speed.

use crate::common::{data, yareta};
use serde_json::Value;

const SMALL: [&str; 6] = ["-p", "8", "-n", "4", "-r", "2"];

fn number(json: &Value) -> f64 {
    json.as_f64().unwrap_or_else(|| panic!("a number: {json}"))
}

/// That there is one finite number for each of two runs, all of them above 0.
fn check_runs(json: &Value) {
    let runs = json["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 2, "{json}");
    assert!(runs.iter().all(|run| number(run) > 0.0), "{json}");
    assert!(number(&json["lowest"]) <= number(&json["median"]));
    assert!(number(&json["median"]) <= number(&json["highest"]));
}

#[test]
fn measures_speed_memory_and_the_machine() {
    let json = yareta(&[&["bench", "--json"][..], &SMALL].concat()).json();
    let side = &json["sides"][0];
    let (prompt, generation) = (&side["prompt"], &side["generation"]);
    for samples in [
        &prompt["tokens_per_second"],
        &prompt["weight_share_of_peak"],
        &prompt["attention_share_of_peak"],
        &prompt["int8_products_per_second"],
        &prompt["float_products_per_second"],
        &prompt["bf16_products_per_second"],
        &generation["tokens_per_second"],
        &generation["share_of_reading"],
        &generation["bytes_read_per_second"],
    ] {
        check_runs(samples);
    }
    // The embedded model: 4 layers of width 256 with 8 heads of 32 elements, 4 of them with keys
    // and values, and 768 hidden; all its matrices are Q8_0, 34 bytes for 32 weights.
    let layer = 256 * (256 + 128 + 128 + 256) + 3 * 256 * 768;
    let head = 4096 * 256;
    // Of the last layer, all tokens but the last of a prompt need keys and values.
    let all_tokens = 3 * layer + 256 * (128 + 128);
    assert_eq!(prompt["int8_weight_products_per_token"], all_tokens as f64);
    assert_eq!(prompt["float_weight_products_per_token"], 0.0);
    assert_eq!(prompt["bf16_weight_products_per_token"], 0.0);
    // A token of eight sees 4.5 positions in the mean, with 256 products for keys and for values.
    assert_eq!(
        prompt["attention_products_per_token"],
        4.5 * 3.0 * 512.0,
        "{json}"
    );
    let bytes = (4 * layer + head) as f64 * 34.0 / 32.0;
    assert_eq!(generation["weight_bytes_per_token"], bytes);
    // Tokens at positions 1 to 4 see 2 to 5 positions, of 4 layers with 4 heads of 32 elements of
    // keys and of values, two bytes each and two for the scale of each key and value.
    let cached = number(&generation["cached_bytes_per_token"]);
    assert_eq!(cached, 3.5 * 4.0 * 4.0 * 2.0 * (32.0 * 2.0 + 2.0), "{json}");
    // Shares are of the limits of the same runs.
    let share = |run: usize| {
        let rate = number(&generation["tokens_per_second"]["runs"][run]);
        rate * (bytes + cached) / number(&generation["bytes_read_per_second"]["runs"][run])
    };
    for run in [0, 1] {
        let said = number(&generation["share_of_reading"]["runs"][run]);
        assert!((said / share(run) - 1.0).abs() < 1e-9, "{json}");
    }
    assert!(json.get("ratio").is_none(), "{json}");
    if cfg!(target_os = "linux") {
        assert!(number(&json["memory"]["own_bytes"]) > 1e5, "{json}");
    }
}

#[test]
fn prints_for_people() {
    let ran = yareta(&[&["bench", "-d", "5"][..], &SMALL].concat()).ok();
    assert_eq!(ran.err, "");
    for part in [
        "prompt 8 at 5",
        "generation 4 at 5",
        "% of the peak of products with weights",
        "% of the rate of reading",
        "of a token are not reading",
        "G/s",
        "load",
        "of 2 runs",
    ] {
        assert!(ran.out.contains(part), "{part} in {}", ran.out);
    }
    let ran = yareta(&[&["bench", "--no-limits", "-n", "0"][..], &SMALL[..2]].concat()).ok();
    assert!(!ran.out.contains('%'), "{}", ran.out);
    assert!(!ran.out.contains("generation"), "{}", ran.out);
}

#[test]
fn compares_settings_in_turns() {
    let bench = |options: &[&str]| {
        let args = [&["bench", "--no-limits", "--json"][..], options, &SMALL].concat();
        yareta(&args).json()
    };
    let json = bench(&["-t", "2", "--vs-threads", "1", "--vs-batch", "4"]);
    let [first, second] = [0, 1].map(|side| &json["sides"][side]);
    assert_eq!(
        (&first["threads"], &second["threads"]),
        (&2.into(), &1.into())
    );
    assert_eq!(
        (&first["batch"], &second["batch"]),
        (&512.into(), &4.into())
    );
    for figure in ["prompt", "generation"] {
        let ratio = &json["ratio"][figure];
        check_runs(ratio);
        // Quotients of runs with the same number.
        let run =
            |side: usize| number(&json["sides"][side][figure]["tokens_per_second"]["runs"][1]);
        let said = number(&ratio["runs"][1]);
        assert!((said / (run(0) / run(1)) - 1.0).abs() < 1e-9, "{json}");
    }
    let json = bench(&[
        "-d",
        "3",
        "--vs-depth",
        "9",
        "--vs-isa",
        "scalar",
        "--vs-kv",
        "f16",
        "--vs-huge-pages",
    ]);
    let [first, second] = [0, 1].map(|side| &json["sides"][side]);
    assert_eq!((&first["depth"], &second["depth"]), (&3.into(), &9.into()));
    assert_eq!(second["isa"], "scalar");
    assert_eq!(second["kv"], "f16");
    assert_eq!(first["huge_pages"], false);
    assert_eq!(second["huge_pages"], true);
}

#[test]
fn compares_models_in_turns() {
    let Some(model) = data("models/stories260K-v3.gguf") else {
        return;
    };
    let ran = yareta(&[&["bench", "--no-limits", "--vs", &model][..], &SMALL].concat()).ok();
    for part in ["yareta-stories", &model, "pair by pair", "times as fast"] {
        assert!(ran.out.contains(part), "{part} in {}", ran.out);
    }
}

#[test]
fn what_cannot_be_measured_is_an_error() {
    yareta(&["bench", "-p", "0", "-n", "0"]).fails(2, "neither");
    let args = ["bench", "-c", "4", "--no-limits"];
    yareta(&[&args[..], &SMALL].concat()).fails(1, "do not fit a context of 4");
    assert_eq!(yareta(&["bench", "-r", "0"]).code, Some(2));
    let args = ["bench", "--no-limits", "--vs", "/no/such/file"];
    yareta(&[&args[..], &SMALL].concat()).fails(1, "/no/such/file");
}
