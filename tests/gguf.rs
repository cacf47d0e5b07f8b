//! Reads real GGUF files: every version, odd alignment, large vocabularies.

mod common;

use std::time::{Duration, Instant};

use common::data;
use yareta::gguf::{Gguf, TensorType, ValueType};

#[test]
fn versions_1_and_3_of_a_model_have_the_same_weights() {
    let names = ["stories260K-gguf-v1.gguf", "stories260K-v3.gguf"];
    let paths = names.map(|name| data(&format!("models/{name}")));
    let [Some(old), Some(new)] = paths else {
        return;
    };
    let old = Gguf::open(old).unwrap();
    let new = Gguf::open(new).unwrap();
    assert_eq!((old.version(), new.version()), (1, 3));
    assert_eq!(new.tensors().len(), 48);
    for file in [&old, &new] {
        let metadata = file.metadata();
        assert_eq!(
            metadata.require_string("general.architecture").unwrap(),
            "llama"
        );
        assert_eq!(metadata.require_u32("llama.context_length").unwrap(), 512);
        let epsilon = metadata.require_f32("llama.attention.layer_norm_rms_epsilon");
        assert_eq!(epsilon.unwrap(), 1e-5);
        let tokens: Vec<&str> = metadata
            .require_strings("tokenizer.ggml.tokens")
            .unwrap()
            .collect();
        assert_eq!(tokens.len(), 512);
        assert_eq!(tokens[..3], ["<unk>", "<s>", "</s>"]);
        let scores = metadata.f32s("tokenizer.ggml.scores").unwrap().unwrap();
        assert_eq!(scores.len(), 512);
    }
    let norm = new.tensor("blk.0.attn_norm.weight").unwrap();
    assert_eq!(norm.tensor_type(), TensorType::F32);
    assert_eq!(norm.shape(), [64]);
    for tensor in new.tensors() {
        let other = old.tensor(tensor.name()).unwrap();
        assert_eq!(tensor.shape(), other.shape(), "{}", tensor.name());
        assert_eq!(new.bytes(tensor).len() as u64, 4 * tensor.elements());
    }
    let embedding = |file: &Gguf| {
        let tensor = file.tensor("token_embd.weight").unwrap();
        file.bytes(tensor).to_vec()
    };
    assert_eq!(embedding(&old), embedding(&new));
}

#[test]
fn an_alignment_of_1_and_an_unknown_architecture_open() {
    let Some(path) = data("models/unknown-arch-nanochat-align1.gguf") else {
        return;
    };
    let file = Gguf::open(path).unwrap();
    assert_eq!(file.alignment(), 1);
    assert_eq!(file.tensors().len(), 105);
    let bias = file.tensor("blk.3.ln_1.bias").unwrap();
    assert_eq!(bias.tensor_type(), TensorType::Q4_0);
    assert_eq!(bias.byte_range(), 968_467..968_467 + 144);
    let merges = file.metadata().array("tokenizer.ggml.merges").unwrap();
    assert_eq!(merges.unwrap().element_type(), ValueType::String);
    let first = merges.unwrap().iter().next().unwrap();
    assert_eq!(first.as_str(), Some("   "));
}

#[test]
fn vocabularies_open_in_milliseconds_from_file_and_memory() {
    let mut opened = 0;
    for name in ["gpt-2", "llama-spm", "deepseek-llm", "baichuan", "mpt"] {
        let Some(path) = data(&format!("vocab/ggml-vocab-{name}.gguf")) else {
            return;
        };
        let bytes = std::fs::read(&path).unwrap();
        let start = Instant::now();
        let file = Gguf::open(&path).unwrap();
        // About 3 ms unoptimized; the limit leaves room for a busy machine.
        assert!(start.elapsed() < Duration::from_millis(500), "{name}");
        let tokens = file.metadata().require_strings("tokenizer.ggml.tokens");
        let tokens = tokens.unwrap();
        assert!(tokens.len() >= 30_000, "{name}");
        let copy = Gguf::from_bytes(bytes).unwrap();
        let copied = copy.metadata().require_strings("tokenizer.ggml.tokens");
        assert!(tokens.eq(copied.unwrap()), "{name}");
        assert!(file.tensors().is_empty());
        opened += 1;
    }
    assert_eq!(opened, 5);
}
