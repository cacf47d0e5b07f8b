//! Every vocabulary kind on tiny files built here, with results worked out by hand.

use yareta::gguf::Writer;
use yareta::tokenizer::{TokenizerKind, TokenizerOptions};
use yareta::{EncodeOptions, Error, Gguf, Token, Tokenizer};

const PLAIN: EncodeOptions = EncodeOptions {
    add_special: false,
    parse_special: false,
};

const PARSED: EncodeOptions = EncodeOptions {
    add_special: false,
    parse_special: true,
};

/// Token types as files number them.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER: i32 = 4;
const BYTE: i32 = 6;

struct File(Writer);

impl File {
    fn new(model: &str, tokens: &[(&str, i32, f32)]) -> File {
        let mut writer = Writer::new();
        let texts: Vec<&str> = tokens.iter().map(|token| token.0).collect();
        let types: Vec<i32> = tokens.iter().map(|token| token.1).collect();
        let scores: Vec<f32> = tokens.iter().map(|token| token.2).collect();
        let mut set = |key: &str, value: yareta::gguf::Value| {
            writer.set(key, value).map(|_| ()).unwrap();
        };
        set("general.architecture", "llama".into());
        set("tokenizer.ggml.model", model.into());
        set("tokenizer.ggml.tokens", texts.as_slice().into());
        set("tokenizer.ggml.token_type", types.into());
        set("tokenizer.ggml.scores", scores.into());
        File(writer)
    }

    fn set(mut self, key: &str, value: impl Into<yareta::gguf::Value>) -> File {
        self.0.set(key, value).unwrap();
        self
    }

    fn gguf(&self) -> Gguf {
        let bytes = self.0.start(Vec::new()).unwrap().finish().unwrap();
        Gguf::from_bytes(bytes).unwrap()
    }

    fn tokenizer(&self) -> Tokenizer {
        Tokenizer::from_gguf(&self.gguf()).unwrap()
    }
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<Token> {
    tokenizer.encode_with(text, PLAIN).unwrap()
}

/// SentencePiece tokens: 0 unknown, 1 and 2 control, 3 the byte of a line end, then text.
fn sentence_piece() -> File {
    File::new(
        "llama",
        &[
            ("<unk>", UNKNOWN, 0.0),
            ("<s>", CONTROL, 0.0),
            ("</s>", CONTROL, 0.0),
            ("<0x0A>", BYTE, 0.0),
            ("▁", NORMAL, -9.0),
            ("a", NORMAL, -8.0),
            ("b", NORMAL, -8.0),
            ("c", NORMAL, -8.0),
            ("ab", NORMAL, -2.0),
            ("bc", NORMAL, -1.0),
            ("▁a", NORMAL, -1.5),
            ("abc", NORMAL, -0.1),
            ("<|im_end|>", NORMAL, 0.0),
            ("UD", USER, 0.0),
        ],
    )
}

#[test]
fn sentence_piece_merges_by_score() {
    let tokenizer = sentence_piece().tokenizer();
    assert_eq!(tokenizer.kind(), TokenizerKind::SentencePiece);
    // "bc" (-1) goes before "▁a" (-1.5), and makes way for "abc" (-0.1).
    assert_eq!(encode(&tokenizer, "abc"), [4, 11]);
    assert_eq!(encode(&tokenizer, "aab"), [10, 8]);
    assert_eq!(encode(&tokenizer, "ab ab"), [10, 6, 10, 6]);
    // The line end has a byte, "x" neither token nor byte.
    assert_eq!(encode(&tokenizer, "\nx"), [4, 3, 0]);
    assert!(encode(&tokenizer, "").is_empty());
    assert_eq!(tokenizer.encode("a").unwrap(), [1, 10]);
    // User-defined tokens are found in any case, and a space is put after them.
    assert_eq!(encode(&tokenizer, "aUDa"), [10, 13, 10]);
    assert_eq!(tokenizer.decode(&[1, 10, 13, 10]).unwrap(), "aUDa");
    // Known by its text to end a turn, whatever its type.
    assert!(tokenizer.is_end_of_generation(12) && tokenizer.is_control(12));
    assert_eq!(tokenizer.eot(), Some(12));
    assert_eq!(
        tokenizer.special_tokens().unwrap().end_of_generation,
        [2, 12]
    );
    assert_eq!(
        tokenizer.encode_with("a<|im_end|>", PARSED).unwrap(),
        [10, 12]
    );

    let bare = sentence_piece()
        .set("tokenizer.ggml.add_space_prefix", false)
        .set("tokenizer.ggml.add_bos_token", false)
        .set("tokenizer.ggml.add_eos_token", true)
        .tokenizer();
    assert_eq!(bare.encode("abc").unwrap(), [11, 2]);
    assert_eq!(bare.decode(&[10]).unwrap(), " a");
}

#[test]
fn white_space_goes_with_some_added_tokens() {
    let phi = sentence_piece()
        .set("general.name", "Phi-3 mini")
        .tokenizer();
    let ids = phi.encode_with("a<|im_end|> \n a<s> a", PARSED).unwrap();
    assert_eq!(ids, [10, 12, 10, 1, 4, 10]);
    let plain = sentence_piece().tokenizer();
    let ids = plain.encode_with("a<|im_end|> a", PARSED).unwrap();
    assert_eq!(ids, [10, 12, 4, 10]);
}

/// Byte-level tokens and merges; "hello" needs its merges unless pieces are taken whole.
fn byte_pair(pre: &str) -> File {
    let tokens = [
        "h",
        "e",
        "l",
        "o",
        "Ġ",
        "he",
        "ll",
        "hello",
        "Ċ",
        "!",
        "<|endoftext|>",
    ];
    let tokens: Vec<_> = tokens.iter().map(|&text| (text, NORMAL, 0.0)).collect();
    File::new("gpt2", &tokens)
        .set("tokenizer.ggml.pre", pre)
        .set("tokenizer.ggml.bos_token_id", 10u32)
        .set("tokenizer.ggml.merges", ["h e", "l l"].as_slice())
}

#[test]
fn byte_pairs_merge_by_rank() {
    let tokenizer = byte_pair("gpt-2").tokenizer();
    assert_eq!(encode(&tokenizer, "hello hello!"), [5, 6, 3, 4, 5, 6, 3, 9]);
    assert_eq!(tokenizer.encode("\n").unwrap(), [8]);
    // Bytes without a token are left out: there is no unknown token.
    assert_eq!(encode(&tokenizer, "hxe"), [0, 1]);
    let glm = byte_pair("glm4").tokenizer();
    assert_eq!(encode(&glm, "hello!"), [7, 9]);
    let whole = byte_pair("llama-bpe").tokenizer();
    assert_eq!(whole.encode("hello!").unwrap(), [10, 7, 9]);
    assert_eq!(whole.decode(&[10, 7, 9]).unwrap(), "hello!");
}

#[test]
fn an_unknown_pre_tokenizer_is_a_warning_or_an_error() {
    let file = byte_pair("no-such-thing");
    let lenient = file.tokenizer();
    assert!(lenient.warnings()[0].contains("no-such-thing"));
    assert_eq!(
        encode(&lenient, "hello"),
        encode(&byte_pair("default").tokenizer(), "hello")
    );
    let strict = Tokenizer::with_options(&file.gguf(), TokenizerOptions { strict: true });
    assert!(matches!(strict, Err(Error::KeyValue { key, .. }) if key == "tokenizer.ggml.pre"));
}

#[test]
fn byte_pairs_over_characters() {
    let tokenizer = File::new(
        "gemma4",
        &[
            ("<bos>", CONTROL, 0.0),
            ("<eos>", CONTROL, 0.0),
            ("<0x78>", BYTE, 0.0),
            ("▁", NORMAL, 0.0),
            ("é", NORMAL, 0.0),
            ("a", NORMAL, 0.0),
            ("▁a", NORMAL, 0.0),
            ("▁aé", NORMAL, 0.0),
            ("\n", NORMAL, 0.0),
            ("\n\n", NORMAL, 0.0),
        ],
    )
    .set("tokenizer.ggml.bos_token_id", 0u32)
    .set("tokenizer.ggml.merges", ["▁ a", "▁a é"].as_slice())
    .tokenizer();
    assert_eq!(tokenizer.encode(" aé a\n\nax").unwrap(), [0, 7, 6, 9, 5, 2]);
    assert_eq!(
        tokenizer.decode(&[0, 7, 6, 9, 5, 2]).unwrap(),
        " aé a\n\nax"
    );
    assert!(tokenizer.is_end_of_generation(1));
}

#[test]
fn white_space_may_only_separate_words() {
    let tokens = ["<s>", "</s>", "<unk>", "我", "们", "我们", "a", "b", "ab"];
    let mut tokens: Vec<_> = tokens.iter().map(|&text| (text, NORMAL, 0.0)).collect();
    tokens[0].1 = CONTROL;
    tokens[1].1 = CONTROL;
    tokens[2].1 = UNKNOWN;
    let file = || {
        File::new("whitespace", &tokens)
            .set("tokenizer.ggml.pre", "whitespace")
            .set("tokenizer.ggml.unknown_token_id", 2u32)
            .set("tokenizer.ggml.merges", ["我 们", "a b"].as_slice())
    };
    let tokenizer = file().tokenizer();
    assert!(tokenizer.warnings().is_empty());
    assert_eq!(encode(&tokenizer, " 我们\tab \u{3000}a\n"), [5, 8, 6]);
    let lower = file()
        .set("tokenizer.ggml.normalizer.lowercase", true)
        .tokenizer();
    assert_eq!(encode(&lower, "AB aB"), [8, 8]);
}

#[test]
fn word_pieces() {
    let file = File::new(
        "bert",
        &[
            ("[UNK]", CONTROL, 0.0),
            ("[CLS]", CONTROL, 0.0),
            ("[SEP]", CONTROL, 0.0),
            ("▁un", NORMAL, 0.0),
            ("▁unhappy", NORMAL, 0.0),
            ("happi", NORMAL, 0.0),
            ("est", NORMAL, 0.0),
            ("▁,", NORMAL, 0.0),
        ],
    )
    .set("tokenizer.ggml.unknown_token_id", 0u32)
    .set("tokenizer.ggml.cls_token_id", 1u32)
    .set("tokenizer.ggml.seperator_token_id", 2u32);
    let tokenizer = file.tokenizer();
    let ids = tokenizer.encode("Unhappiest, ÜN!").unwrap();
    assert_eq!(ids, [1, 3, 5, 6, 7, 3, 0, 2]);
    let cased = file
        .set("tokenizer.ggml.normalizer.lowercase", false)
        .tokenizer();
    assert_eq!(encode(&cased, "Unhappiest unhappy"), [0, 4]);
}

#[test]
fn unigrams_take_the_best_path() {
    let tokens = [
        ("<pad>", CONTROL, 0.0),
        ("</s>", CONTROL, 0.0),
        ("<unk>", UNKNOWN, 0.0),
        ("▁", NORMAL, -3.0),
        ("a", NORMAL, -4.0),
        ("b", NORMAL, -4.0),
        ("▁a", NORMAL, -5.0),
        ("ab", NORMAL, -2.0),
        ("foo", USER, 0.0),
    ];
    let file = File::new("t5", &tokens).set("tokenizer.ggml.add_space_prefix", true);
    let tokenizer = file.tokenizer();
    // "▁"+"ab" is -5, "▁a"+"b" is -9, "▁"+"a"+"b" is -11.
    assert_eq!(tokenizer.encode("ab").unwrap(), [3, 7, 1]);
    assert_eq!(encode(&tokenizer, "ab  xyz"), [3, 7, 3, 3, 2]);
    assert_eq!(encode(&tokenizer, "fo"), [3, 2]);
    assert_eq!(tokenizer.decode(&[3, 7, 1]).unwrap(), "ab");
    let merging = file
        .set("tokenizer.ggml.remove_extra_whitespaces", true)
        .tokenizer();
    assert_eq!(encode(&merging, "  ab   a "), [3, 7, 6]);
}

#[test]
fn rwkv_takes_the_longest() {
    let tokens = ["<s>", "a", "ab", "abc", r"\n", r"\xe4\xbd", r"\x00", "'"];
    let mut tokens: Vec<_> = tokens.iter().map(|&text| (text, NORMAL, 0.0)).collect();
    tokens[0].1 = CONTROL;
    let tokenizer = File::new("rwkv", &tokens).tokenizer();
    assert_eq!(encode(&tokenizer, "abcaba\n\0'"), [3, 2, 1, 4, 6, 7]);
    assert_eq!(tokenizer.token_bytes(5).unwrap(), [0xe4, 0xbd]);
    assert!(encode(&tokenizer, "<s>").is_empty());
    assert_eq!(tokenizer.encode_with("<s>a", PARSED).unwrap(), [0, 1]);
}

#[test]
fn plamo_takes_the_best_cover_and_falls_back_to_bytes() {
    let bytes: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
    let mut tokens = vec![
        ("<|plamo:unk|>", UNKNOWN, 0.0),
        ("<|plamo:bos|>", CONTROL, 0.0),
    ];
    tokens.extend([
        ("ab", NORMAL, -1.0),
        ("abc", NORMAL, -5.0),
        ("c", NORMAL, -1.0),
    ]);
    tokens.extend(bytes.iter().map(|text| (text.as_str(), BYTE, 0.0)));
    let tokenizer = File::new("plamo2", &tokens).tokenizer();
    assert_eq!(encode(&tokenizer, "abc"), [2, 4]);
    assert_eq!(encode(&tokenizer, "é"), [5 + 0xc3, 5 + 0xa9]);
    assert_eq!(
        tokenizer.decode(&[2, 4, 5 + 0xc3, 5 + 0xa9]).unwrap(),
        "abcé"
    );
    let without = File::new("plamo2", &tokens[..100]).tokenizer();
    assert!(matches!(without.encode("a"), Err(Error::Tokenizer { .. })));
}

/// The texts of control tokens are text unless they are asked for, in every kind.
#[test]
fn control_tokens_do_not_come_out_of_plain_text() {
    let bytes: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
    let mut tokens = vec![
        ("<unk>", UNKNOWN, 0.0),
        ("<s>", CONTROL, 0.0),
        ("<|im_end|>", USER, 0.0),
        ("▁", NORMAL, -1.0),
        ("a", NORMAL, -1.0),
    ];
    tokens.extend(bytes.iter().map(|text| (text.as_str(), BYTE, 0.0)));
    for kind in ["llama", "t5", "rwkv", "plamo2", "bert", "gpt2"] {
        let tokenizer = File::new(kind, &tokens)
            .set("tokenizer.ggml.merges", ["a b"].as_slice())
            .set("tokenizer.ggml.unknown_token_id", 0u32)
            .set("tokenizer.ggml.bos_token_id", 1u32)
            .set("tokenizer.ggml.seperator_token_id", 1u32)
            .set("tokenizer.ggml.eos_token_id", 1u32)
            .tokenizer();
        let text = "a<s>a<|im_end|><unk>";
        let plain = encode(&tokenizer, text);
        assert!(
            !plain.contains(&1) && !plain.contains(&2),
            "{kind}: {plain:?}"
        );
        let parsed = tokenizer.encode_with(text, PARSED).unwrap();
        assert!(
            parsed.contains(&1) && parsed.contains(&2),
            "{kind}: {parsed:?}"
        );
    }
}

#[test]
fn a_file_without_vocabulary() {
    let mut writer = Writer::new();
    writer.set("general.architecture", "llama").unwrap();
    writer.set("llama.vocab_size", 5u32).unwrap();
    writer.set("tokenizer.ggml.model", "none").unwrap();
    let tokenizer = File(writer).tokenizer();
    assert_eq!(tokenizer.vocabulary_size(), 5);
    assert!(tokenizer.encode("a").is_err());
    assert_eq!(tokenizer.decode(&[4]).unwrap(), "");
    assert!(tokenizer.decode(&[5]).is_err());
}

#[test]
fn wrong_metadata_is_named() {
    let tokens = [("a", NORMAL, 0.0), ("b", NORMAL, 0.0), ("c", NORMAL, 0.0)];
    let good = || File::new("gpt2", &tokens).set("tokenizer.ggml.merges", ["a b"].as_slice());
    assert!(good().tokenizer().encode("ab").is_ok());
    let cases: [(File, &str); 8] = [
        (
            good().set("tokenizer.ggml.model", "magic"),
            "tokenizer.ggml.model",
        ),
        (
            good().set("tokenizer.ggml.model", 3u32),
            "tokenizer.ggml.model",
        ),
        (
            good().set("tokenizer.ggml.tokens", 3u32),
            "tokenizer.ggml.tokens",
        ),
        (
            good().set("tokenizer.ggml.scores", vec![0f32; 2]),
            "tokenizer.ggml.scores",
        ),
        (
            good().set("tokenizer.ggml.token_type", vec![1i32]),
            "tokenizer.ggml.token_type",
        ),
        (
            good().set("tokenizer.ggml.merges", true),
            "tokenizer.ggml.merges",
        ),
        (File::new("gpt2", &tokens), "tokenizer.ggml.merges"),
        (
            good().set("tokenizer.ggml.add_bos_token", true),
            "beginning-of-sequence",
        ),
    ];
    for (file, named) in cases {
        let error = Tokenizer::from_gguf(&file.gguf()).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    }
    // What costs time to read is checked at first use.
    let merges = good()
        .set("tokenizer.ggml.merges", ["ab"].as_slice())
        .tokenizer();
    assert!(matches!(merges.encode("ab"), Err(Error::Tokenizer { .. })));
    let outside = good().set("tokenizer.ggml.eos_token_id", 3u32).tokenizer();
    assert_eq!((outside.eos(), outside.warnings().len()), (None, 2));
}
