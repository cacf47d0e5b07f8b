//! Real chat templates render exactly as Hugging Face's Jinja does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use yareta::Error;
use yareta::template::{ChatTemplate, RenderOptions, Timestamp};

/// 2025-03-09 14:05:07, as `scripts/golden_templates.py` has it.
const NOW: i64 = 1_741_529_107;

#[test]
fn real_templates_render_exactly() {
    let folder = std::env::var_os("YARETA_TEST_DATA")
        .map_or_else(
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data")),
            PathBuf::from,
        )
        .join("templates");
    if !folder.is_dir() {
        eprintln!("skipped: no templates in {}", folder.display());
        return;
    }
    let scenarios: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(include_str!("data/template/scenarios.json")).unwrap();
    let mut source = String::new();
    let mut name = "";
    let mut cells = 0;
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in include_str!("data/template/golden.txt").lines() {
        if let Some(template) = line.strip_prefix("# ") {
            name = template;
            source = std::fs::read_to_string(folder.join(format!("{name}.jinja"))).unwrap();
            continue;
        }
        let mut fields = line.split('\t');
        let scenario = fields.next().unwrap();
        for (expected, prompt) in fields.zip([false, true]) {
            cells += 1;
            let found = outcome(name, &source, &scenarios[scenario], prompt);
            let error = expected == "!!" && found.starts_with("! ");
            if found != expected && !error {
                let cell = format!("{scenario} {prompt}: {expected} | {found}");
                wrong.entry(name.to_owned()).or_default().push(cell);
            }
        }
    }
    let count: usize = wrong.values().map(Vec::len).sum();
    eprintln!("{} of {cells} cells are exact", cells - count);
    assert_eq!(count, 0, "{wrong:#?}");
}

fn outcome(name: &str, source: &str, scenario: &serde_json::Value, prompt: bool) -> String {
    let template = ChatTemplate::new(name, source).map(|template| {
        template.with_special_tokens([("bos_token", "<s>"), ("eos_token", "</s>")])
    });
    let options = RenderOptions {
        add_generation_prompt: prompt,
        tools: scenario["tools"].as_array().cloned().unwrap_or_default(),
        variables: scenario["variables"]
            .as_object()
            .cloned()
            .unwrap_or_default(),
        now: Some(Timestamp::from_unix(NOW)),
    };
    let messages = scenario["messages"].as_array().unwrap();
    match template.and_then(|template| template.render_json(messages, &options)) {
        Ok(text) => format!("{} {:08x}", text.chars().count(), fnv1a(&text)),
        Err(Error::Template { reason, .. }) => {
            format!("! {}", serde_json::to_string(&reason).unwrap())
        }
        Err(other) => panic!("{other}"),
    }
}

/// The 64-bit hash by Fowler, Noll and Vo, variant 1a, folded to 32 bits.
fn fnv1a(text: &str) -> u32 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    (hash >> 32) as u32 ^ hash as u32
}

/// Small templates, each with what Python's Jinja makes of it: text, or an error as in the golden
/// file. Made by rendering each with `transformers`' `_compile_jinja_template`.
#[test]
fn expressions_mean_what_they_mean_in_python() {
    let cases: Vec<(String, String)> =
        serde_json::from_str(include_str!("data/template/expressions.json")).unwrap();
    for (source, expected) in cases {
        let found = ChatTemplate::new("expression", source.as_str())
            .and_then(|template| template.render(&[], &RenderOptions::default()));
        match (found, expected.strip_prefix("! ")) {
            (Ok(text), _) => assert_eq!(text, expected, "{source}"),
            (Err(_), None) => assert_eq!(expected, "!!", "{source}"),
            (Err(Error::Template { reason, .. }), Some(own)) => assert_eq!(reason, own, "{source}"),
            (Err(other), _) => panic!("{source}: {other}"),
        }
    }
}
