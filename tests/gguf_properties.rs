//! Properties of reading and writing GGUF files, tried on random ones.

#[path = "common/exercise.rs"]
mod exercise;

use std::collections::BTreeMap;

use exercise::exercise;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use yareta::Gguf;
use yareta::gguf::{Array, TensorType, Text, Value, Writer};

/// Any value that a file can have, and arrays of each of them.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::from),
        any::<i8>().prop_map(Value::from),
        any::<u16>().prop_map(Value::from),
        any::<i16>().prop_map(Value::from),
        any::<u32>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        vec(any::<u8>(), 0..9).prop_map(|text| Value::from(Text::from(&text[..]))),
        vec(any::<i32>(), 0..9).prop_map(Value::from),
        vec(any::<f32>(), 0..9).prop_map(Value::from),
        vec(any::<u64>(), 0..9).prop_map(Value::from),
        vec(any::<bool>(), 0..9).prop_map(|list| Value::from(&list[..])),
        vec(vec(any::<u8>(), 0..5), 0..9).prop_map(|list| Value::from(Array::of_strings(list))),
    ]
}

/// Keys and values, none of which decides how the rest is read.
fn metadata() -> impl Strategy<Value = BTreeMap<String, Value>> {
    btree_map("[a-z]{1,9}(\\.[a-z_]{1,9}){0,2}", value(), 0..8)
}

/// Names, types and shapes, small enough to be written in full.
fn tensors() -> impl Strategy<Value = BTreeMap<String, (TensorType, Vec<u64>)>> {
    let kinds: Vec<TensorType> = TensorType::all().collect();
    let kind = proptest::sample::select(kinds);
    let shape = (kind, 1..3u64, vec(1..4u64, 0..4)).prop_map(|(kind, blocks, others)| {
        let mut shape = vec![blocks * kind.block_len() as u64];
        shape.extend(others);
        shape.truncate(4);
        (kind, shape)
    });
    btree_map("[a-z0-9._]{1,20}", shape, 0..6)
}

/// A file of them, and the data of each tensor: bytes that count from its position.
fn write(
    metadata: &BTreeMap<String, Value>,
    tensors: &BTreeMap<String, (TensorType, Vec<u64>)>,
) -> Vec<u8> {
    let mut writer = Writer::new();
    for (key, value) in metadata {
        writer.set(key, value.clone()).unwrap();
    }
    for (name, (kind, shape)) in tensors {
        writer.tensor(name, *kind, shape).unwrap();
    }
    let mut data = writer.start(Vec::new()).unwrap();
    let mut first = 0;
    while let Some((_, bytes)) = data.next() {
        let bytes: Vec<u8> = (0..bytes).map(|byte| first + byte as u8 % 7).collect();
        data.write(&bytes).unwrap();
        first += 1;
    }
    data.finish().unwrap()
}

proptest! {
    #[test]
    fn what_is_written_is_read(metadata in metadata(), tensors in tensors()) {
        let bytes = write(&metadata, &tensors);
        prop_assert!(exercise(&bytes));
        let file = Gguf::from_bytes(bytes).unwrap();
        prop_assert_eq!(file.metadata().len(), metadata.len());
        for (key, value) in &metadata {
            // Shown in full, values are the same only if all bits are, but for NaNs' payloads.
            let found = file.metadata().get(key).unwrap();
            prop_assert_eq!(format!("{found:?}"), format!("{value:?}"));
        }
        prop_assert_eq!(file.tensors().len(), tensors.len());
        for (first, (name, (kind, shape))) in tensors.iter().enumerate() {
            let found = file.tensor(name).unwrap();
            prop_assert_eq!(found.tensor_type(), *kind);
            prop_assert_eq!(found.shape(), shape);
            let bytes = file.bytes(found);
            prop_assert_eq!(bytes.len() as u64, kind.bytes(found.elements()).unwrap());
            let expected = |position: usize| first as u8 + position as u8 % 7;
            prop_assert!(bytes.iter().enumerate().all(|(at, &byte)| byte == expected(at)));
        }
    }

    #[test]
    fn changed_files_open_or_fail(
        metadata in metadata(),
        tensors in tensors(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = write(&metadata, &tensors);
        for (position, byte) in changes {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        exercise(&bytes);
        bytes.truncate(length.index(bytes.len()));
        exercise(&bytes);
    }

    #[test]
    fn any_bytes_open_or_fail(bytes in vec(any::<u8>(), 0..200), version in 0..5u32) {
        exercise(&bytes);
        let mut file = b"GGUF".to_vec();
        file.extend_from_slice(&version.to_le_bytes());
        file.extend_from_slice(&bytes);
        exercise(&file);
        // Small numbers reach deeper than random ones.
        file[8..].iter_mut().for_each(|byte| *byte %= 10);
        exercise(&file);
    }
}
