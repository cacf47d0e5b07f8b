//! Valid GGUF files whose tensors make no model: missing, left over, of another shape or type, or
//! not in every layer.

#[path = "common/broken.rs"]
mod broken;
mod common;
mod raw;

use broken::{check, open};
use common::TinyLlama;
use raw::Raw;
use yareta::gguf::TensorType;

#[test]
fn missing_and_surplus_tensors() {
    check(
        &TinyLlama::default(),
        &[
            (
                |spec| spec.drop_tensor("token_embd.weight"),
                "tensor `token_embd.weight` is missing",
            ),
            (
                |spec| spec.drop_tensor("output_norm.weight"),
                "tensor `output_norm.weight` is missing",
            ),
            (
                |spec| spec.drop_tensor("blk.0.attn_norm.weight"),
                "tensor `blk.0.attn_norm.weight` is missing",
            ),
            (
                |spec| spec.drop_tensor("blk.1.attn_q.weight"),
                "tensor `blk.1.attn_q.weight` is missing",
            ),
            (
                |spec| spec.drop_tensor("blk.0.attn_k.weight"),
                "tensor `blk.0.attn_k.weight` is missing",
            ),
            (
                |spec| spec.drop_tensor("blk.0.attn_v.weight"),
                "tensor `blk.0.attn_v.weight` is missing",
            ),
            (
                |spec| spec.drop_tensor("blk.0.attn_output.weight"),
                "tensor `blk.0.attn_output.weight` is missing",
            ),
            (
                |spec| spec.drop_tensor("blk.1.ffn_norm.weight"),
                "tensor `blk.1.ffn_norm.weight` is missing",
            ),
            (
                |spec| spec.drop_tensor("blk.0.ffn_up.weight"),
                "tensor `blk.0.ffn_up.weight` is missing",
            ),
            (
                |spec| spec.drop_tensor("blk.1.ffn_down.weight"),
                "tensor `blk.1.ffn_down.weight` is missing",
            ),
            (
                |spec| spec.set("llama.block_count", 3u32),
                "tensor `blk.2.attn_q.weight` is missing",
            ),
            (
                |spec| spec.set("llama.block_count", 1u32),
                "tensor `blk.1.attn_q.weight` has no place in a model of this architecture",
            ),
            (
                |spec| spec.add("blk.0.attn_q.lora_a", &[64, 2], vec![0.0; 128]),
                "tensor `blk.0.attn_q.lora_a` has no place in a model of this architecture",
            ),
            (
                |spec| spec.add("output_norm.bias", &[64], vec![0.0; 64]),
                "tensor `output_norm.bias` has no place in a model of this architecture",
            ),
        ],
    );
}

#[test]
fn layers_that_differ() {
    let model = TinyLlama {
        attention_biases: true,
        layers: 3,
        ..TinyLlama::default()
    };
    check(
        &model,
        &[
            // The optional parts of a layer, each missing in one.
            (
                |spec| spec.drop_tensor("blk.1.ffn_gate.weight"),
                "tensor `blk.1.ffn_gate.weight` is missing, which layer 0 has",
            ),
            (
                |spec| spec.drop_tensor("blk.0.ffn_gate.weight"),
                "tensor `blk.0.ffn_gate.weight` is missing, which layer 1 has",
            ),
            (
                |spec| spec.drop_tensor("blk.1.attn_q.bias"),
                "tensor `blk.1.attn_q.bias` is missing, which layer 0 has",
            ),
            (
                |spec| spec.drop_tensor("blk.0.attn_output.bias"),
                "tensor `blk.0.attn_output.bias` is missing, which layer 1 has",
            ),
            // And each in one layer only.
            (
                |spec| spec.add("blk.1.attn_q_norm.weight", &[16], vec![1.0; 16]),
                "tensor `blk.0.attn_q_norm.weight` is missing, which layer 1 has",
            ),
            (
                |spec| spec.add("blk.0.post_ffw_norm.weight", &[64], vec![1.0; 64]),
                "tensor `blk.1.post_ffw_norm.weight` is missing, which layer 0 has",
            ),
            (
                |spec| spec.add("blk.2.ffn_down.bias", &[64], vec![0.0; 64]),
                "tensor `blk.0.ffn_down.bias` is missing, which layer 2 has",
            ),
            // Gate and up as one tensor in one layer, as two in the others.
            (
                |spec| {
                    spec.drop_tensor("blk.1.ffn_gate.weight")
                        .reshape("blk.1.ffn_up.weight", &[64, 192])
                },
                "tensor `blk.1.ffn_gate.weight` is missing, which layer 0 has",
            ),
            // Queries, keys and values as well.
            (
                |spec| {
                    spec.add("blk.2.attn_qkv.weight", &[64, 128], vec![0.5; 64 * 128])
                        .drop_tensor("blk.2.attn_q.weight")
                        .drop_tensor("blk.2.attn_k.weight")
                        .drop_tensor("blk.2.attn_v.weight")
                },
                "tensor `blk.2.attn_q.weight` is missing, which layer 0 has",
            ),
        ],
    );
}

/// A network that stands beside the attention may share its norm, but in all layers or in none.
#[test]
fn parallel_layers_that_differ() {
    let mut spec = TinyLlama {
        architecture: "gptneox",
        ..TinyLlama::default()
    }
    .spec();
    spec.set("gptneox.attention.layer_norm_epsilon", 1e-5f32);
    open(spec.bytes()).unwrap();
    spec.drop_tensor("blk.1.ffn_norm.weight");
    let expected = "tensor `blk.1.ffn_norm.weight` is missing, which layer 0 has";
    assert_eq!(open(spec.bytes()).unwrap_err().to_string(), expected);
    spec.drop_tensor("blk.0.ffn_norm.weight");
    open(spec.bytes()).unwrap();
}

#[test]
fn misshapen_tensors() {
    check(
        &TinyLlama {
            attention_biases: true,
            ..TinyLlama::default()
        },
        &[
            (
                |spec| spec.reshape("token_embd.weight", &[64, 298]),
                "tensor `token_embd.weight` must have shape [64, 299], found [64, 298]",
            ),
            (
                |spec| spec.reshape("token_embd.weight", &[299, 64]),
                "tensor `token_embd.weight` must have shape [64, 299], found [299, 64]",
            ),
            (
                |spec| spec.set("llama.embedding_length", 128u32),
                "tensor `token_embd.weight` must have shape [128, 299], found [64, 299]",
            ),
            (
                |spec| spec.reshape("output.weight", &[64]),
                "tensor `output.weight` must have shape [64, 299], found [64]",
            ),
            (
                |spec| spec.reshape("output_norm.weight", &[63]),
                "tensor `output_norm.weight` must have shape [64], found [63]",
            ),
            (
                |spec| spec.reshape("blk.0.attn_k.weight", &[64, 64]),
                "tensor `blk.0.attn_k.weight` must have shape [64, 32], found [64, 64]",
            ),
            (
                |spec| spec.reshape("blk.0.attn_k.bias", &[64]),
                "tensor `blk.0.attn_k.bias` must have shape [32], found [64]",
            ),
            (
                |spec| spec.reshape("blk.1.ffn_down.weight", &[96, 64, 2]),
                "tensor `blk.1.ffn_down.weight` must have shape [96, 64], found [96, 64, 2]",
            ),
            (
                |spec| spec.set("llama.feed_forward_length", 100u32),
                "tensor `blk.0.ffn_gate.weight` must have shape [64, 100], found [64, 96]",
            ),
        ],
    );
}

/// Rewrites the type of a tensor in a file.
fn retype(bytes: &mut [u8], name: &str, dimensions: usize, kind: TensorType) {
    let found = bytes
        .windows(name.len())
        .position(|window| window == name.as_bytes());
    let at = found.unwrap() + name.len() + 4 + 8 * dimensions;
    bytes[at..at + 4].copy_from_slice(&kind.id().to_le_bytes());
}

#[test]
fn types_that_cannot_be_computed_with() {
    let model = TinyLlama::default().bytes();
    let cases = [
        ("blk.0.attn_q.weight", 2, TensorType::I32),
        ("blk.1.ffn_norm.weight", 1, TensorType::I16),
        ("token_embd.weight", 2, TensorType::Q8_1),
        ("output.weight", 2, TensorType::Q4_0_4_4),
    ];
    for (name, dimensions, kind) in cases {
        let mut bytes = model.clone();
        retype(&mut bytes, name, dimensions, kind);
        let error = open(bytes).unwrap_err().to_string();
        let expected = format!("tensor `{name}` has type {kind}, which is not supported here");
        assert_eq!(error, expected);
    }
}

#[test]
fn big_endian_weights() {
    let bytes = Raw::start(3, true)
        .length(1)
        .length(9)
        .key("general.architecture", 8)
        .text("llama")
        .key("tokenizer.ggml.model", 8)
        .text("none")
        .key_u32("llama.block_count", 1)
        .key_u32("llama.context_length", 8)
        .key_u32("llama.embedding_length", 4)
        .key_u32("llama.feed_forward_length", 4)
        .key_u32("llama.attention.head_count", 1)
        .key_u32("llama.vocab_size", 2)
        .key("llama.attention.layer_norm_rms_epsilon", 6)
        .u32(1e-5f32.to_bits())
        .tensor("token_embd.weight", &[4, 2], 0, 0)
        .data(32)
        .done();
    let expected = "tensor `token_embd.weight` has type F32 in big-endian order, which is not \
                    supported here";
    assert_eq!(open(bytes).unwrap_err().to_string(), expected);
}
