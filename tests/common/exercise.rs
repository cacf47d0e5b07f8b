//! Does everything with some bytes that can be done with a file; the property tests and the fuzz
//! target call it, and all it may do is return.

use std::sync::OnceLock;

use yareta::gguf::{Gguf, Value, Writer};
use yareta::{Model, ModelOptions, SessionOptions, Threads, Tokenizer};

/// Opens `bytes` as a GGUF file and uses all of what it finds. Answers whether it opened.
pub fn exercise(bytes: &[u8]) -> bool {
    let Ok(file) = Gguf::from_bytes(bytes.to_vec()) else {
        return false;
    };
    let mut writer = Writer::new();
    for (key, value) in file.metadata().iter() {
        use_value(value);
        use_key(&file, key);
        writer.set(key, value.clone()).expect("keys that were read");
    }
    for tensor in file.tensors() {
        let found = file.tensor(tensor.name()).expect("its own tensor");
        assert_eq!(found.byte_range(), tensor.byte_range());
        assert_eq!(file.bytes(tensor).len(), tensor.byte_len());
        let kind = tensor.tensor_type();
        assert_eq!(
            kind.bytes(tensor.elements()),
            Some(tensor.byte_len() as u64)
        );
        writer
            .tensor(tensor.name(), kind, tensor.shape())
            .expect("a tensor that was read");
    }
    // The alignment is the one thing that a reader takes and the writer may not.
    let _ = writer.file_len();
    use_tokenizer(&file);
    use_model(&file);
    true
}

/// Takes a text through the vocabulary and back, if there is one.
fn use_tokenizer(file: &Gguf) {
    if !file
        .metadata()
        .iter()
        .any(|(key, _)| key.starts_with("tokenizer."))
    {
        return;
    }
    let Ok(tokenizer) = Tokenizer::from_gguf(file) else {
        return;
    };
    let Ok(tokens) = tokenizer.encode("the sea, the <s> sand \u{1f30a}") else {
        return;
    };
    let size = tokenizer.vocabulary_size();
    assert!(tokens.iter().all(|&token| (token as usize) < size));
    let _ = tokenizer.decode_bytes(&tokens);
}

/// Computes with the model, if it is one.
fn use_model(file: &Gguf) {
    static ONE: OnceLock<Threads> = OnceLock::new();
    let one = ONE.get_or_init(|| Threads::new(1).expect("a thread"));
    let options = ModelOptions::new().threads(one.clone());
    let Ok(model) = Model::from_gguf_with(file.clone(), options) else {
        return;
    };
    let options = SessionOptions::new().context(8).batch(4);
    // What it needs is told before it is taken; what is too much is not asked for.
    let Ok(plan) = model.plan(&options) else {
        return;
    };
    if plan.session() > 64 << 20 {
        return;
    }
    let Ok(mut session) = model.session_with(&options) else {
        return;
    };
    // Weights may be anything, so that logits may be no numbers, but there is one per token.
    if let Ok(logits) = session.feed(&[0, 1, 2]) {
        assert_eq!(logits.len(), model.vocabulary());
    }
}

fn use_value(value: &Value) {
    let shown = value.to_string();
    assert!(!shown.is_empty());
    if let Some(array) = value.as_array() {
        assert_eq!(array.iter().count(), array.len());
        let kind = array.element_type();
        assert!(array.iter().all(|element| element.value_type() == kind));
    }
}

/// Asks for the key's value as every type; those that fit must agree with the value.
fn use_key(file: &Gguf, key: &str) {
    let metadata = file.metadata();
    let value = metadata.get(key).expect("its own key");
    let is_array = value.as_array().is_some();
    assert_eq!(metadata.array(key).is_ok(), is_array);
    if let Ok(number) = metadata.u32(key) {
        assert_eq!(number.map(i128::from), value.as_integer());
    }
    if let Ok(number) = metadata.u64(key) {
        assert_eq!(number.map(i128::from), value.as_integer());
    }
    let text = metadata.string(key).ok().flatten();
    assert_eq!(text, value.as_str());
    let answers = [
        metadata.boolean(key).is_ok(),
        metadata.f32(key).is_ok(),
        text.is_some(),
    ];
    assert!(!is_array || !answers.contains(&true));
    let lengths = [
        metadata.f32s(key).ok().flatten().map(|list| list.len()),
        metadata.i32s(key).ok().flatten().map(|list| list.len()),
        metadata.u32s(key).ok().flatten().map(|list| list.len()),
        metadata.bools(key).ok().flatten().map(|list| list.len()),
        metadata
            .strings(key)
            .ok()
            .flatten()
            .map(|list| list.count()),
    ];
    let length = value.as_array().map(|array| array.len());
    assert!(lengths.iter().flatten().all(|&found| Some(found) == length));
}
