//! Valid GGUF files whose metadata makes no model: each gives the error that names what is wrong.

#[path = "common/broken.rs"]
mod broken;
mod common;
#[path = "common/exercise.rs"]
mod exercise;

use broken::{Case, check};
use common::TinyLlama;
use exercise::exercise;
use yareta::Tokenizer;

#[test]
fn missing_keys() {
    check(
        &TinyLlama::default(),
        &[
            (
                |spec| spec.remove("general.architecture"),
                "metadata key `general.architecture` is missing",
            ),
            (
                |spec| spec.remove("llama.block_count"),
                "metadata key `llama.block_count` is missing",
            ),
            (
                |spec| spec.remove("llama.embedding_length"),
                "metadata key `llama.embedding_length` is missing",
            ),
            (
                |spec| spec.remove("llama.attention.head_count"),
                "metadata key `llama.attention.head_count` is missing",
            ),
            (
                |spec| spec.remove("llama.context_length"),
                "metadata key `llama.context_length` is missing",
            ),
            (
                |spec| spec.remove("llama.feed_forward_length"),
                "metadata key `llama.feed_forward_length` is missing",
            ),
            (
                |spec| spec.remove("llama.attention.layer_norm_rms_epsilon"),
                "metadata key `llama.attention.layer_norm_rms_epsilon` is missing",
            ),
        ],
    );
}

#[test]
fn keys_of_the_wrong_type() {
    check(
        &TinyLlama::default(),
        &[
            (
                |spec| spec.set("general.architecture", 7u32),
                "metadata key `general.architecture` must be string, found u32",
            ),
            (
                |spec| spec.set("llama.embedding_length", "64"),
                "metadata key `llama.embedding_length` must be an integer, found string",
            ),
            (
                |spec| spec.set("llama.block_count", 2.0f32),
                "metadata key `llama.block_count` must be an integer, found f32",
            ),
            (
                |spec| spec.set("llama.attention.head_count", vec![4u32, 4]),
                "metadata key `llama.attention.head_count` must be an integer, found an array of u32",
            ),
            (
                |spec| spec.set("llama.attention.layer_norm_rms_epsilon", 1u32),
                "metadata key `llama.attention.layer_norm_rms_epsilon` must be f32, found u32",
            ),
            (
                |spec| spec.set("llama.rope.freq_base", "large"),
                "metadata key `llama.rope.freq_base` must be f32, found string",
            ),
            (
                |spec| spec.set("tokenizer.ggml.tokens", "a b c"),
                "metadata key `tokenizer.ggml.tokens` must be an array, found string",
            ),
        ],
    );
}

#[test]
fn impossible_numbers() {
    check(
        &TinyLlama::default(),
        &[
            (
                |spec| spec.set("general.architecture", "mystery"),
                "architecture `mystery` is not supported",
            ),
            (
                |spec| spec.set("llama.embedding_length", 0u32),
                "metadata key `llama.embedding_length`: must not be 0",
            ),
            (
                |spec| spec.set("llama.block_count", 0u32),
                "metadata key `llama.block_count`: must not be 0",
            ),
            (
                |spec| spec.set("llama.block_count", u32::MAX),
                "metadata key `llama.block_count`: 4294967295 layers in a file of 21 tensors",
            ),
            (
                |spec| spec.set("llama.block_count", 1u64 << 32),
                "metadata key `llama.block_count`: 4294967296 is out of range",
            ),
            (
                |spec| spec.set("llama.context_length", 0u32),
                "metadata key `llama.context_length`: must not be 0",
            ),
            (
                |spec| spec.set("llama.context_length", -1i32),
                "metadata key `llama.context_length`: -1 is out of range",
            ),
            (
                |spec| spec.set("llama.feed_forward_length", 0u32),
                "metadata key `llama.feed_forward_length`: must not be 0",
            ),
            (
                |spec| spec.set("llama.attention.layer_norm_rms_epsilon", f32::NAN),
                "metadata key `llama.attention.layer_norm_rms_epsilon`: must be finite and not below 0, found NaN",
            ),
            (
                |spec| spec.set("llama.attention.layer_norm_rms_epsilon", -1e-5f32),
                "metadata key `llama.attention.layer_norm_rms_epsilon`: must be finite and not below 0, found -0.00001",
            ),
            (
                |spec| spec.set("llama.vocab_size", 7u32),
                "metadata key `llama.vocab_size`: 7 tokens, but the vocabulary lists 299",
            ),
            (
                |spec| {
                    spec.set("tokenizer.ggml.tokens", Vec::<String>::new())
                        .remove("llama.vocab_size")
                },
                "metadata key `tokenizer.ggml.tokens`: the vocabulary is empty",
            ),
            (
                |spec| spec.set("llama.attention.sliding_window", 0u32),
                "metadata key `llama.attention.sliding_window`: must not be 0",
            ),
        ],
    );
}

#[test]
fn impossible_heads() {
    check(
        &TinyLlama::default(),
        &[
            (
                |spec| spec.set("llama.attention.head_count", 0u32),
                "metadata key `llama.attention.head_count`: must not be 0",
            ),
            (
                |spec| spec.set("llama.attention.head_count", -4i32),
                "metadata key `llama.attention.head_count`: -4 is out of range",
            ),
            (
                |spec| spec.set("llama.attention.head_count", 6u32),
                "metadata key `llama.attention.head_count`: 6 heads do not divide a width of 64",
            ),
            (
                |spec| spec.set("llama.attention.head_count_kv", 0u32),
                "metadata key `llama.attention.head_count_kv`: must not be 0",
            ),
            (
                |spec| spec.set("llama.attention.head_count_kv", 3u32),
                "metadata key `llama.attention.head_count_kv`: 3 key heads do not divide 4 heads",
            ),
            (
                |spec| spec.set("llama.attention.head_count_kv", 8u32),
                "metadata key `llama.attention.head_count_kv`: 8 key heads do not divide 4 heads",
            ),
            (
                |spec| spec.set("llama.attention.key_length", 0u32),
                "metadata key `llama.attention.key_length`: must not be 0",
            ),
            (
                |spec| spec.set("llama.attention.key_length", 32u32),
                "tensor `blk.0.attn_q.weight` must have shape [64, 128], found [64, 64]",
            ),
            (
                |spec| spec.set("llama.attention.value_length", u32::MAX),
                "tensor `blk.0.attn_v.weight` must have shape [64, 8589934590], found [64, 32]",
            ),
            (
                |spec| spec.set("llama.attention.scale", 0.0f32),
                "metadata key `llama.attention.scale`: must be finite and above 0, found 0",
            ),
        ],
    );
}

#[test]
fn impossible_ropes() {
    check(
        &TinyLlama {
            rope_factors: true,
            ..TinyLlama::default()
        },
        &[
            (
                |spec| spec.set("llama.rope.dimension_count", 0u32),
                "metadata key `llama.rope.dimension_count`: must not be 0",
            ),
            (
                |spec| spec.set("llama.rope.dimension_count", 7u32),
                "metadata key `llama.rope.dimension_count`: must be even and at most the head's 16: 7",
            ),
            (
                |spec| spec.set("llama.rope.dimension_count", 18u32),
                "metadata key `llama.rope.dimension_count`: must be even and at most the head's 16: 18",
            ),
            (
                |spec| spec.set("llama.rope.freq_base", 0.0f32),
                "metadata key `llama.rope.freq_base`: must be finite and above 0, found 0",
            ),
            (
                |spec| spec.set("llama.rope.freq_base", f32::INFINITY),
                "metadata key `llama.rope.freq_base`: must be finite and above 0, found inf",
            ),
            (
                |spec| spec.set("llama.rope.scaling.factor", -2.0f32),
                "metadata key `llama.rope.scaling.factor`: must be finite and above 0, found -2",
            ),
            (
                |spec| spec.set("llama.rope.scaling.type", "spiral"),
                "metadata key `llama.rope.scaling.type`: unknown kind of scaling `spiral`",
            ),
            (
                |spec| {
                    spec.set("llama.rope.scaling.type", "yarn")
                        .set("llama.rope.scaling.yarn_ext_factor", 2.0f32)
                },
                "metadata key `llama.rope.scaling.yarn_ext_factor`: must be 0 to 1, found 2",
            ),
            (
                |spec| {
                    spec.set("llama.rope.scaling.type", "yarn")
                        .set("llama.rope.scaling.original_context_length", 0u32)
                },
                "metadata key `llama.rope.scaling.original_context_length`: must not be 0",
            ),
            (
                |spec| {
                    spec.set("llama.rope.scaling.type", "yarn")
                        .set("llama.rope.freq_base", 1.0f32)
                },
                "metadata key `llama.rope.freq_base`: must be above 1 where YaRN scales, found 1",
            ),
            (
                |spec| spec.reshape("rope_freqs.weight", &[3]),
                "tensor `rope_freqs.weight` must have shape [8], found [3]",
            ),
        ],
    );
}

#[test]
fn impossible_experts() {
    check(
        &TinyLlama {
            experts: Some((4, 2)),
            ..TinyLlama::default()
        },
        &[
            (
                |spec| spec.set("llama.expert_used_count", 0u32),
                "metadata key `llama.expert_used_count`: must not be 0",
            ),
            (
                |spec| spec.set("llama.expert_used_count", 5u32),
                "metadata key `llama.expert_used_count`: 5 of 4 experts",
            ),
            (
                |spec| spec.remove("llama.expert_used_count"),
                "metadata key `llama.expert_used_count` is missing",
            ),
            (
                |spec| spec.set("llama.expert_count", u32::MAX),
                "tensor `blk.0.ffn_gate_inp.weight` must have shape [64, 4294967295], found [64, 4]",
            ),
            (
                |spec| spec.set("llama.expert_count", "four"),
                "metadata key `llama.expert_count` must be an integer, found string",
            ),
            (
                |spec| spec.drop_tensor("blk.0.ffn_gate_inp.weight"),
                "tensor `blk.0.ffn_gate_inp.weight` is missing",
            ),
            (
                |spec| spec.drop_tensor("blk.1.ffn_down_exps.weight"),
                "tensor `blk.1.ffn_down_exps.weight` is missing",
            ),
            (
                |spec| spec.drop_tensor("blk.1.ffn_gate_exps.weight"),
                "tensor `blk.1.ffn_gate_exps.weight` is missing",
            ),
            (
                |spec| spec.drop_tensor("blk.0.ffn_up_exps.weight"),
                "tensor `blk.0.ffn_gate.0.weight` is missing",
            ),
            (
                |spec| spec.reshape("blk.0.ffn_up_exps.weight", &[64, 96, 3]),
                "tensor `blk.0.ffn_up_exps.weight` must have shape [64, 96, 4], found [64, 96, 3]",
            ),
            (
                |spec| spec.set("llama.expert_count", 0u32),
                "tensor `blk.0.ffn_up.weight` is missing",
            ),
        ],
    );
}

#[test]
fn vocabularies_that_cannot_be_tokenized_with() {
    let cases: &[Case] = &[
        (
            |spec| spec.set("tokenizer.ggml.model", "mystery"),
            "metadata key `tokenizer.ggml.model`: `mystery` is no known vocabulary kind",
        ),
        (
            |spec| spec.set("tokenizer.ggml.scores", vec![0.5f32; 3]),
            "metadata key `tokenizer.ggml.scores`: has 3 values for 299 tokens",
        ),
        (
            |spec| spec.set("tokenizer.ggml.token_type", vec![0.5f32; 299]),
            "tokenizer: metadata key `tokenizer.ggml.token_type` must be an array of i32, found \
             an array of f32",
        ),
        (
            |spec| spec.remove("tokenizer.ggml.tokens"),
            "metadata key `tokenizer.ggml.tokens` is missing",
        ),
    ];
    for (change, expected) in cases {
        let mut spec = TinyLlama::default().spec();
        change(&mut spec);
        let gguf = yareta::Gguf::from_bytes(spec.bytes()).unwrap();
        let error = Tokenizer::from_gguf(&gguf).and_then(|tokenizer| tokenizer.encode("a b"));
        assert_eq!(error.unwrap_err().to_string(), *expected);
    }
}

/// The smallest model that has everything.
fn smallest() -> Vec<u8> {
    let tiny = TinyLlama {
        dim: 8,
        ffn: 4,
        heads: 2,
        kv_heads: 1,
        layers: 1,
        context: 16,
        tied: true,
        ..TinyLlama::default()
    };
    tiny.bytes()
}

#[test]
fn no_changed_byte_of_a_models_header_panics() {
    let model = smallest();
    assert!(exercise(&model));
    let header = yareta::Gguf::from_bytes(model.clone()).unwrap();
    let header = header.tensors()[0].byte_range().start;
    for position in 0..header {
        for flip in [0xff, 1 << (position % 8)] {
            let mut changed = model.clone();
            changed[position] ^= flip;
            exercise(&changed);
        }
    }
}
