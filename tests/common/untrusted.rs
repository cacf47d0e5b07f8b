//! What else comes from strangers than a file as a whole: its vocabulary, its chat template, a
//! saved session. Each function makes one of arbitrary bytes and uses it; all it may do is return.
//! Property tests and fuzz targets call them.

use yareta::gguf::{Array, Gguf, Writer};
use yareta::template::{ChatTemplate, Message, RenderOptions};
use yareta::{EncodeOptions, Model, SessionOptions, Tokenizer};

/// Bytes of a saved session before those that its tokens need: magic, version,
/// fingerprint, type of the cache.
const SAVED_HEADER: usize = 8 + 4 + 8 + 4;

/// Restores a session from a saved one of `model` with changes: the first byte decides whether the
/// rest takes the place of all that comes after the header, or is a list of places and bytes to
/// change there. Answers whether it was restored.
pub fn restore(model: &Model, bytes: &[u8]) -> bool {
    let options = SessionOptions::new().context(8);
    let mut session = model.session_with(&options).expect("a small session");
    session
        .feed(&[1, 2, 3])
        .expect("tokens of every vocabulary");
    let mut saved = session.save().expect("a small session");
    let Some((&how, rest)) = bytes.split_first() else {
        return false;
    };
    if how == 0 {
        saved.truncate(SAVED_HEADER);
        saved.extend_from_slice(rest);
    } else {
        for change in rest.chunks_exact(3) {
            let place = usize::from(u16::from_le_bytes([change[0], change[1]]));
            let length = saved.len();
            saved[place % length] = change[2];
        }
        saved.truncate(saved.len() + 1 - usize::from(how));
    }
    let before = session.tokens().to_vec();
    let restored = session.restore(&saved).is_ok();
    // All or nothing.
    if !restored {
        assert_eq!(session.tokens(), before);
        assert!(session.logits().is_some());
    }
    // Keys and values may be no numbers, but there is a logit for each token.
    if let Ok(logits) = session.feed(&[1]) {
        assert_eq!(logits.len(), model.vocabulary());
    }
    session.fork().expect("as small a session");
    restored
}

/// Renders a conversation with a template. Answers whether it could be.
pub fn render(source: &[u8]) -> bool {
    let source = String::from_utf8_lossy(source);
    let Ok(template) = ChatTemplate::new("untrusted", source) else {
        return false;
    };
    let messages = [
        Message::system("Be brief."),
        Message::user("Hello! {{ x }} </s>"),
        Message::assistant("Hi."),
        Message::user("\u{1f30a}"),
    ];
    let _ = template.reasoning_markers();
    template
        .render(&messages, &RenderOptions::default())
        .is_ok()
}

/// Makes a tokenizer and takes a text through it and back. The bytes are the kind of vocabulary,
/// its pre-tokenizer, flags, and then pieces between zeros: of each a type, a score and the text;
/// those with a space are merges too, and the last is the text to encode.
pub fn tokenize(bytes: &[u8]) -> bool {
    const KINDS: [&str; 8] = [
        "llama", "gpt2", "bert", "t5", "rwkv", "plamo2", "gemma4", "none",
    ];
    const PRE: [&str; 8] = [
        "default",
        "llama-bpe",
        "qwen2",
        "gpt-2",
        "deepseek-llm",
        "tekken",
        "gpt-4o",
        "falcon",
    ];
    let [kind, pre, flags, rest @ ..] = bytes else {
        return false;
    };
    let mut pieces: Vec<&[u8]> = rest.split(|&byte| byte == 0).collect();
    let text = pieces.pop().unwrap_or_default();
    let mut tokens = Vec::new();
    let (mut types, mut scores, mut merges) = (Vec::new(), Vec::new(), Vec::new());
    for &piece in &pieces {
        let [piece_type, score, token @ ..] = piece else {
            continue;
        };
        types.push(i32::from(piece_type % 8));
        scores.push(match score {
            255 => f32::NAN,
            254 => f32::INFINITY,
            _ => f32::from(*score) - 128.0,
        });
        if token.contains(&b' ') {
            merges.push(token);
        }
        tokens.push(token);
    }
    let count = tokens.len() as u32;
    let mut writer = Writer::new();
    let flag = |bit: u8| flags >> bit & 1 == 1;
    let written = (|| {
        writer.set("tokenizer.ggml.model", KINDS[usize::from(kind % 8)])?;
        writer.set("tokenizer.ggml.pre", PRE[usize::from(pre % 8)])?;
        writer.set("tokenizer.ggml.tokens", Array::of_strings(&tokens))?;
        writer.set("tokenizer.ggml.merges", Array::of_strings(&merges))?;
        writer.set("tokenizer.ggml.token_type", types)?;
        writer.set("tokenizer.ggml.scores", scores)?;
        for (bit, key) in ["add_bos_token", "add_eos_token", "add_space_prefix"]
            .into_iter()
            .enumerate()
        {
            writer.set(&format!("tokenizer.ggml.{key}"), flag(bit as u8))?;
        }
        writer.set("tokenizer.ggml.bos_token_id", u32::from(pre >> 3))?;
        writer.set("tokenizer.ggml.eos_token_id", count.wrapping_sub(1))?;
        writer.set("tokenizer.ggml.unknown_token_id", u32::from(kind >> 3))?;
        if let (true, Some(first)) = (flag(3), pieces.first()) {
            writer.set("tokenizer.ggml.precompiled_charsmap", *first)?;
        }
        writer.start(Vec::new())?.finish()
    })();
    let file = Gguf::from_bytes(written.expect("keys that can be")).expect("a file just written");
    let Ok(tokenizer) = Tokenizer::from_gguf(&file) else {
        return false;
    };
    let options = EncodeOptions {
        add_special: flag(4),
        parse_special: flag(5),
    };
    let Ok(encoded) = tokenizer.encode_bytes(text, options) else {
        return false;
    };
    assert!(encoded.iter().all(|token| *token < count));
    let _ = tokenizer.decode_bytes(&encoded);
    let mut decoder = tokenizer.decoder();
    encoded.iter().all(|&token| decoder.push(token).is_ok())
}
