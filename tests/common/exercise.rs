//! Does everything with some bytes that can be done with a file; the property tests and the fuzz
//! target call it, and all it may do is return.

use yareta::gguf::{Gguf, Value, Writer};

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
    true
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
