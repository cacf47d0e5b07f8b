//! What must hold of every vocabulary kind on any text: decoding undoes encoding, streams agree
//! with it, long texts take linear time, and a model opens without waiting for its tokenizer.
//!
//! Real vocabularies are read from `YARETA_TEST_DATA`, by default `../shared/data`; where they are
//! absent the kinds that are built here still run.

mod common;

use std::time::{Duration, Instant};

use common::{Random, TinyLlama};
use proptest::prelude::*;
use yareta::gguf::Writer;
use yareta::tokenizer::TokenizerKind;
use yareta::{EncodeOptions, Error, Gguf, Model, Token, Tokenizer};

/// Text only: nothing added, nothing parsed.
const PLAIN: EncodeOptions = EncodeOptions {
    add_special: false,
    parse_special: false,
};

const PARSED: EncodeOptions = EncodeOptions {
    parse_special: true,
    ..PLAIN
};

const NAMES: [&str; 8] = [
    "llama-spm",
    "baichuan",
    "gpt-2",
    "gpt-neox",
    "mpt",
    "deepseek-llm",
    "deepseek-coder",
    "bert-bge",
];

/// Token types as files number them.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// Many cases, and no file of failed ones: what they find belongs into a test of its own.
fn cases() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(2000)
    }
}

/// A tokenizer and what can be asked of it.
struct Subject {
    name: String,
    tokenizer: Tokenizer,
    // Every byte has a token.
    bytes: bool,
}

/// The vocabularies of the test data, and small ones of the kinds that it lacks.
fn subjects() -> Vec<Subject> {
    let mut subjects = Vec::new();
    for name in NAMES {
        if let Some(path) = common::data(&format!("vocab/ggml-vocab-{name}.gguf")) {
            let gguf = Gguf::open(&path).unwrap();
            subjects.push(Subject {
                name: name.to_owned(),
                tokenizer: Tokenizer::from_gguf(&gguf).unwrap(),
                bytes: matches!(name, "llama-spm" | "baichuan" | "gpt-2"),
            });
        }
    }
    for kind in ["rwkv", "plamo2", "gemma4", "t5"] {
        subjects.push(Subject {
            name: kind.to_owned(),
            tokenizer: small(kind),
            bytes: kind != "t5",
        });
    }
    subjects
}

/// A vocabulary with a token for each byte and some longer ones.
fn small(kind: &str) -> Tokenizer {
    let space = if matches!(kind, "gemma4" | "t5") {
        "▁"
    } else {
        " "
    };
    let mut tokens: Vec<(String, i32, f32)> = vec![
        ("<pad>".into(), CONTROL, 0.0),
        ("<bos>".into(), CONTROL, 0.0),
        ("<eos>".into(), CONTROL, 0.0),
        ("<unk>".into(), UNKNOWN, 0.0),
    ];
    for byte in 0..=255u8 {
        let text = match kind {
            "rwkv" if byte == b'\\' => r"\\".to_owned(),
            "rwkv" if byte.is_ascii_graphic() => char::from(byte).to_string(),
            "rwkv" => format!(r"\x{byte:02x}"),
            _ => format!("<0x{byte:02X}>"),
        };
        let kind = if kind == "rwkv" { NORMAL } else { BYTE };
        tokens.push((text, kind, 0.0));
    }
    let words = [
        "a", "aa", "aaaa", "the", "é", "中", "中文", "\n\n", "e\u{301}",
    ];
    for (rank, word) in words.into_iter().enumerate() {
        let word = word.replace('\n', if kind == "rwkv" { r"\n" } else { "\n" });
        if kind != "t5" || !word.contains('\n') {
            tokens.push((word, NORMAL, -(rank as f32) - 1.0));
        }
    }
    tokens.push((space.into(), NORMAL, -2.0));
    tokens.push((format!("{space}{space}"), NORMAL, -3.0));
    let mut writer = Writer::new();
    let texts: Vec<&str> = tokens.iter().map(|token| token.0.as_str()).collect();
    let types: Vec<i32> = tokens.iter().map(|token| token.1).collect();
    let scores: Vec<f32> = tokens.iter().map(|token| token.2).collect();
    writer.set("general.architecture", "llama").unwrap();
    writer.set("tokenizer.ggml.model", kind).unwrap();
    writer
        .set("tokenizer.ggml.tokens", texts.as_slice())
        .unwrap();
    writer.set("tokenizer.ggml.token_type", types).unwrap();
    writer.set("tokenizer.ggml.scores", scores).unwrap();
    writer.set("tokenizer.ggml.bos_token_id", 1u32).unwrap();
    writer.set("tokenizer.ggml.unknown_token_id", 3u32).unwrap();
    if kind == "gemma4" {
        let merges = ["a a", "aa aa", "中 文", "▁ ▁", "\n \n"];
        writer
            .set("tokenizer.ggml.merges", merges.as_slice())
            .unwrap();
    }
    let bytes = writer.start(Vec::new()).unwrap().finish().unwrap();
    Tokenizer::from_gguf(&Gguf::from_bytes(bytes).unwrap()).unwrap()
}

/// What decoding can give back of a text: these kinds write a space as this character.
fn readable(subject: &Subject, text: &str) -> String {
    match subject.tokenizer.kind() {
        TokenizerKind::SentencePiece => text.replace('▁', " "),
        _ if subject.name == "gemma4" => text.replace('▁', " "),
        _ => text.to_owned(),
    }
}

fn check_text(subject: &Subject, text: &str) {
    let Subject {
        name, tokenizer, ..
    } = subject;
    let ids = tokenizer.encode_with(text, PLAIN).unwrap();
    for &id in &ids {
        assert!(!tokenizer.is_control(id) || tokenizer.unknown() == Some(id));
    }
    let parsed = tokenizer.encode_with(text, PARSED).unwrap();
    tokenizer.decode(&parsed).unwrap();
    if matches!(
        tokenizer.kind(),
        TokenizerKind::WordPiece | TokenizerKind::Unigram
    ) {
        return; // They normalize text.
    }
    // A byte order mark at the beginning has no token in PLaMo's vocabulary.
    let text = match tokenizer.kind() {
        TokenizerKind::Plamo2 => text.strip_prefix('\u{feff}').unwrap_or(text),
        _ => text,
    };
    let text = readable(subject, text);
    assert_eq!(tokenizer.decode(&ids).unwrap(), text, "{name}");
    let mut decoder = tokenizer.decoder();
    let mut streamed = String::new();
    for &id in &ids {
        let piece = decoder.push(id).unwrap();
        assert!(text.contains('\u{fffd}') || !piece.contains('\u{fffd}'));
        streamed.push_str(piece);
    }
    streamed.push_str(decoder.finish());
    // The space that encoding puts first stays in a stream, which is taken as a continuation.
    let spaced = tokenizer.kind() == TokenizerKind::SentencePiece && !text.is_empty();
    let streamed = match spaced {
        true => streamed.strip_prefix(' ').unwrap(),
        false => &streamed,
    };
    assert_eq!(streamed, text, "{name}");
}

#[test]
fn any_text_comes_back() {
    let subjects = subjects();
    // Whole of Unicode, and an alphabet in which tokens, markers and odd white space are frequent.
    let parts = prop::sample::select(vec![
        "a", "the", " ", "  ", "\n", "\t", "\r\n", "é", "e\u{301}", "中", "▁", "<s>", "</s>",
        "<0x41>", "Ġ", "😀", "\u{200d}", "\u{feff}", "\u{fffd}", "1234", "'s", "\0", "\\x41",
        "##a",
    ]);
    let texts = prop_oneof![
        any::<String>(),
        prop::collection::vec(parts, 0..40).prop_map(|parts| parts.concat()),
        prop::collection::vec(any::<char>(), 0..20).prop_map(|text| text.into_iter().collect()),
    ];
    proptest!(cases(), |(text in texts)| {
        for subject in &subjects {
            check_text(subject, &text);
        }
    });
}

#[test]
fn any_bytes_come_back() {
    let subjects = subjects();
    let bytes = prop::collection::vec(any::<u8>(), 0..60);
    proptest!(cases(), |(bytes in bytes)| {
        for Subject { name, tokenizer, bytes: all } in &subjects {
            let ids = tokenizer.encode_bytes(&bytes, PLAIN).unwrap();
            let back = tokenizer.decode_bytes(&ids).unwrap();
            let valid = String::from_utf8_lossy(&bytes);
            // The characters that these kinds cannot tell from others, at whatever place.
            if *all && !valid.contains(['▁', '\u{feff}']) {
                prop_assert_eq!(&back, &bytes, "{}", name);
            }
        }
    });
}

/// Any tokens in any order decode without a panic, at once and in a stream, to the same text but
/// for the space that is taken off at the beginning and after added tokens.
#[test]
fn any_tokens_decode() {
    for Subject {
        name, tokenizer, ..
    } in subjects()
    {
        let mut random = Random(5);
        let size = tokenizer.vocabulary_size() as u64;
        for _ in 0..500 {
            let ids: Vec<Token> = (0..random.below(20))
                .map(|_| random.below(size) as Token)
                .collect();
            let whole = tokenizer.decode(&ids).unwrap();
            let mut decoder = tokenizer.decoder();
            let mut streamed = String::new();
            for &id in &ids {
                streamed.push_str(decoder.push(id).unwrap());
            }
            streamed.push_str(decoder.finish());
            let letters = |text: &str| text.replace(' ', "");
            assert_eq!(letters(&whole), letters(&streamed), "{name}");
        }
    }
}

/// Ten million bytes of one character: what takes quadratic time would take days. The slowest needs
/// two seconds; the bound tells linear from quadratic on any machine, and nothing finer.
#[test]
fn ten_megabytes_of_one_character_take_linear_time() {
    const LENGTH: usize = 10_000_000;
    for Subject {
        name, tokenizer, ..
    } in subjects()
    {
        for character in ["a", " "] {
            let text = character.repeat(LENGTH);
            let start = Instant::now();
            let ids = tokenizer.encode_with(&text, PLAIN).unwrap();
            let took = start.elapsed();
            eprintln!("{name}, {character:?}: {} tokens in {took:.2?}", ids.len());
            assert!(took < Duration::from_secs(90), "{name}: {took:?}");
            if name != "bert-bge" && name != "t5" {
                assert!(tokenizer.decode(&ids).unwrap() == text, "{name}");
            }
        }
    }
}

/// A vocabulary as large as the largest in use: 262,144 tokens by 500,000 merges. Its tables are
/// built at first use, in well under a second even where nothing is optimized.
#[test]
fn a_large_vocabulary_is_built_quickly() {
    let mut random = Random(3);
    let alphabet: Vec<char> = ('a'..='z').chain(['Ġ']).collect();
    let mut tokens: Vec<String> = alphabet.iter().map(char::to_string).collect();
    let mut known: std::collections::HashSet<String> = tokens.iter().cloned().collect();
    let mut merges = Vec::new();
    while tokens.len() < 262_144 {
        // Tokens grow from earlier ones, as they do in training; half have a second way to be made.
        let recent = tokens.len().min(1000 + tokens.len() / 2) as u64;
        let left = tokens[random.below(recent) as usize].clone();
        let right = tokens[random.below(alphabet.len() as u64) as usize].clone();
        let joined = format!("{left}{right}");
        if joined.len() > 24 || !known.insert(joined.clone()) {
            continue;
        }
        merges.push(format!("{left} {right}"));
        if merges.len() < 500_000
            && let Some((at, _)) = joined.char_indices().nth(1)
            && at < left.len()
        {
            merges.push(format!("{} {}", &joined[..at], &joined[at..]));
        }
        tokens.push(joined);
    }
    let texts: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let merges: Vec<&str> = merges.iter().map(String::as_str).collect();
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama").unwrap();
    writer.set("tokenizer.ggml.model", "gpt2").unwrap();
    writer.set("tokenizer.ggml.pre", "gpt-2").unwrap();
    writer
        .set("tokenizer.ggml.tokens", texts.as_slice())
        .unwrap();
    writer
        .set("tokenizer.ggml.merges", merges.as_slice())
        .unwrap();
    let bytes = writer.start(Vec::new()).unwrap().finish().unwrap();
    let gguf = Gguf::from_bytes(bytes).unwrap();
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let start = Instant::now();
        assert!(
            !tokenizer
                .encode_with("hello world", PLAIN)
                .unwrap()
                .is_empty()
        );
        best = best.min(start.elapsed());
    }
    eprintln!(
        "{} tokens, {} merges: {best:.0?}",
        texts.len(),
        merges.len()
    );
    assert!(best < Duration::from_secs(2), "{best:?}");
}

/// What only building the tables can find is not found when a model is opened.
#[test]
fn a_model_opens_without_its_tokenizers_tables() {
    let mut spec = TinyLlama::default().spec();
    spec.set("tokenizer.ggml.model", "gpt2");
    spec.set("tokenizer.ggml.pre", "gpt-2");
    spec.set("tokenizer.ggml.merges", ["no-space"].as_slice());
    let model = Model::from_bytes(spec.bytes()).unwrap();
    let mut session = model.session().unwrap();
    session.feed(&[1, 2, 3]).unwrap();
    match model.tokenizer().encode("a") {
        Err(Error::Tokenizer { reason }) => assert!(reason.contains("merge"), "{reason}"),
        other => panic!("{other:?}"),
    }
}
