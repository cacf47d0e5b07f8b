//! Valid GGUF files of which no model can be made: each gives the error that names what is wrong.

mod common;
#[path = "common/exercise.rs"]
mod exercise;
mod raw;

use common::{Spec, TinyLlama};
use exercise::exercise;
use raw::Raw;
use yareta::gguf::TensorType;
use yareta::{Model, ModelOptions, Threads, Tokenizer};

/// One thing to break in a model that is otherwise fine, and the error it must give, to the
/// letter.
type Case = (fn(&mut Spec) -> &mut Spec, &'static str);

fn check(model: &TinyLlama, cases: &[Case]) {
    // Without the change, it opens: what is reported is the change.
    open(model.bytes()).unwrap();
    let mut wrong = Vec::new();
    for (change, error) in cases {
        let mut spec = model.spec();
        change(&mut spec);
        let found = match open(spec.bytes()) {
            Ok(_) => "opened".into(),
            Err(found) => found.to_string(),
        };
        if found != *error {
            wrong.push(format!("expected: {error}\n   found: {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn open(bytes: Vec<u8>) -> yareta::Result<Model> {
    let options = ModelOptions::new().threads(Threads::new(1)?);
    Model::from_gguf_with(yareta::Gguf::from_bytes(bytes)?, options)
}

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
