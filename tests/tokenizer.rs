//! Tokenization on real vocabularies: published vectors, and agreement with another engine on
//! many generated lines (`scripts/golden_tokens.py` says how its answers were recorded).
//!
//! The vocabularies are read from `YARETA_TEST_DATA`, by default `../shared/data`; where they are
//! absent these tests say so and pass.

use std::path::{Path, PathBuf};

use yareta::tokenizer::TokenizerKind;
use yareta::{EncodeOptions, Gguf, Token, Tokenizer};

/// Text only: nothing added, nothing parsed.
const PLAIN: EncodeOptions = EncodeOptions {
    add_special: false,
    parse_special: false,
};

const PARSED: EncodeOptions = EncodeOptions {
    add_special: false,
    parse_special: true,
};

fn data() -> PathBuf {
    match std::env::var_os("YARETA_TEST_DATA") {
        Some(path) => path.into(),
        None => concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data").into(),
    }
}

fn vocabulary_path(name: &str) -> PathBuf {
    data().join(format!("vocab/ggml-vocab-{name}.gguf"))
}

/// The tokenizer of a vocabulary file, if it is there.
fn tokenizer(name: &str) -> Option<Tokenizer> {
    let path = vocabulary_path(name);
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    let gguf = Gguf::open(&path).unwrap();
    Some(Tokenizer::from_gguf(&gguf).unwrap())
}

#[test]
fn published_vectors() {
    for name in [
        "llama-spm",
        "gpt-2",
        "deepseek-llm",
        "deepseek-coder",
        "mpt",
        "bert-bge",
    ] {
        let Some(tokenizer) = tokenizer(name) else {
            continue;
        };
        let read = |suffix: &str| {
            let mut path = vocabulary_path(name).into_os_string();
            path.push(suffix);
            std::fs::read_to_string(Path::new(&path)).unwrap()
        };
        let texts = read(".inp");
        let ids = read(".out");
        let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
        let ids: Vec<&str> = ids.lines().collect();
        assert!(texts.len() > 40 && texts.len() <= ids.len() + 1);
        for (text, expected) in texts.iter().zip(ids) {
            let expected: Vec<Token> = expected
                .split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect();
            let found = tokenizer.encode_with(text, PLAIN).unwrap();
            assert_eq!(found, expected, "{name}: {text:?}");
        }
    }
}

/// The lines that `scripts/golden_tokens.py` generates.
fn lines() -> Vec<String> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/tokenizer/lines.json"
    );
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// FNV-1a over the little-endian ids.
fn hash(ids: &[Token]) -> u32 {
    let bytes = ids.iter().flat_map(|id| id.to_le_bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[test]
fn another_engine_agrees_on_every_line() {
    let lines = lines();
    assert!(lines.len() >= 5000);
    for name in [
        "llama-spm",
        "gpt-2",
        "deepseek-llm",
        "deepseek-coder",
        "mpt",
        "gpt-neox",
        "baichuan",
        "bert-bge",
    ] {
        let Some(tokenizer) = tokenizer(name) else {
            continue;
        };
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tokenizer");
        let golden = std::fs::read(format!("{directory}/{name}.hashes")).unwrap();
        let (golden, rest) = golden.as_chunks::<4>();
        assert!(rest.is_empty() && golden.len() == lines.len());
        for (line, &expected) in lines.iter().zip(golden) {
            let mut ids = tokenizer.encode_with(line, PLAIN).unwrap();
            ids.push(u32::MAX);
            ids.extend(tokenizer.encode_with(line, PARSED).unwrap());
            assert_eq!(hash(&ids), u32::from_le_bytes(expected), "{name}: {line:?}");
        }
    }
}

#[test]
fn decoding_undoes_encoding() {
    for name in [
        "llama-spm",
        "gpt-2",
        "deepseek-llm",
        "deepseek-coder",
        "mpt",
        "gpt-neox",
        "baichuan",
    ] {
        let Some(tokenizer) = tokenizer(name) else {
            continue;
        };
        let sentence_piece = tokenizer.kind() == TokenizerKind::SentencePiece;
        for line in lines() {
            let ids = tokenizer.encode_with(&line, PLAIN).unwrap();
            // SentencePiece writes a space as this character and cannot tell them apart.
            let line = if sentence_piece {
                line.replace('▁', " ")
            } else {
                line
            };
            assert_eq!(tokenizer.decode(&ids).unwrap(), line, "{name}");

            // A stream says the same, but for the space that encoding puts first.
            let mut decoder = tokenizer.decoder();
            let mut streamed = String::new();
            for &id in &ids {
                streamed.push_str(decoder.push(id).unwrap());
            }
            streamed.push_str(decoder.finish());
            if sentence_piece && !line.is_empty() {
                assert_eq!(streamed.strip_prefix(' '), Some(line.as_str()));
            } else {
                assert_eq!(streamed, line);
            }
        }
        if ["deepseek-llm", "deepseek-coder", "mpt", "gpt-neox"].contains(&name) {
            // They have no tokens for the bytes that no UTF-8 contains.
            let ids = tokenizer.encode_bytes(&[b'a', 0xc0], PLAIN).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), "a\u{fffd}");
            continue;
        }
        // Arbitrary bytes, among them every one alone and after a letter.
        let mut bytes: Vec<u8> = (0..=255).collect();
        bytes.extend((0..=255).flat_map(|byte| [b'a', byte]));
        let ids = tokenizer.encode_bytes(&bytes, PLAIN).unwrap();
        assert!(tokenizer.decode_bytes(&ids).unwrap() == bytes, "{name}");
    }
}

#[test]
fn a_stream_never_splits_a_character() {
    let Some(tokenizer) = tokenizer("gpt-2") else {
        return;
    };
    let text = "😀日本語 né";
    let ids = tokenizer.encode_with(text, PLAIN).unwrap();
    let mut decoder = tokenizer.decoder();
    let pieces: Vec<String> = ids
        .iter()
        .map(|&id| decoder.push(id).unwrap().to_owned())
        .collect();
    assert!(
        pieces.iter().any(String::is_empty),
        "some token ends within a character"
    );
    assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')));
    assert_eq!(pieces.concat(), text);
    assert_eq!(decoder.finish(), "");
    // An end within a character, and bytes that can begin none.
    decoder.push(ids[0]).unwrap();
    assert_eq!(decoder.finish(), "\u{fffd}");
    let continuation = tokenizer.encode_bytes(&[0x80], PLAIN).unwrap();
    assert_eq!(decoder.push(continuation[0]).unwrap(), "\u{fffd}");
}

#[test]
fn added_tokens_as_the_file_says() {
    if let Some(tokenizer) = tokenizer("llama-spm") {
        assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(2)));
        assert_eq!(tokenizer.unknown(), Some(0));
        assert!(tokenizer.adds_bos() && !tokenizer.adds_eos());
        assert_eq!(tokenizer.encode("").unwrap(), [1]);
        assert_eq!(tokenizer.encode("Hello").unwrap(), [1, 15043]);
        let parsed = tokenizer.encode_with("<s>Hello</s>", PARSED).unwrap();
        assert_eq!(parsed, [1, 15043, 2]);
        assert_eq!(tokenizer.decode(&parsed).unwrap(), "Hello");
        let plain = tokenizer.encode_with("<s>Hello</s>", PLAIN).unwrap();
        assert!(!plain.contains(&1) && !plain.contains(&2));
        assert!(tokenizer.is_end_of_generation(2) && tokenizer.is_control(2));
        assert!(!tokenizer.is_end_of_generation(15043) && !tokenizer.is_control(15043));
        assert_eq!(tokenizer.token_to_id("▁Hello"), Some(15043));
        assert_eq!(tokenizer.token_to_id("no such token"), None);
        assert_eq!(tokenizer.token_bytes(15043).unwrap(), b" Hello");
        assert_eq!(tokenizer.token_bytes(13).unwrap(), b"\n");
        assert!(tokenizer.token_bytes(32000).is_err());
        assert!(tokenizer.decode(&[u32::MAX]).is_err());
        assert!(tokenizer.warnings().is_empty());
    }
    if let Some(tokenizer) = tokenizer("gpt-2") {
        assert!(!tokenizer.adds_bos());
        assert_eq!(tokenizer.eot(), Some(50256));
        assert!(tokenizer.is_end_of_generation(50256));
    }
    if let Some(tokenizer) = tokenizer("bert-bge") {
        let ids = tokenizer.encode("hello").unwrap();
        assert_eq!((ids.first(), ids.last()), (Some(&101), Some(&102)));
    }
    if let Some(tokenizer) = tokenizer("gpt-neox") {
        // It names no pre-tokenizer.
        assert_eq!(tokenizer.warnings().len(), 1);
        let gguf = Gguf::open(vocabulary_path("gpt-neox")).unwrap();
        let strict = yareta::tokenizer::TokenizerOptions { strict: true };
        assert!(Tokenizer::with_options(&gguf, strict).is_err());
    }
}

#[test]
fn long_runs_take_linear_time() {
    // Half a million bytes of one character: merging in quadratic time would take many minutes.
    for name in ["llama-spm", "gpt-2", "deepseek-coder", "bert-bge"] {
        let Some(tokenizer) = tokenizer(name) else {
            continue;
        };
        for character in ["a", " ", "\n", "=", "中", "7"] {
            let text = character.repeat(500_000 / character.len());
            let ids = tokenizer.encode_with(&text, PLAIN).unwrap();
            if name != "bert-bge" {
                assert_eq!(tokenizer.decode(&ids).unwrap(), text, "{name}");
            }
        }
    }
}
