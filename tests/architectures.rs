//! Tiny seeded models of every architecture of the table, with and without each optional tensor,
//! against a forward pass written separately.

mod common;
#[path = "common/pinned.rs"]
mod pinned;
mod reference;

use common::{Random, Spec, TinyLlama};
use reference::{Reference, distance};
use yareta::gguf::TensorType;
use yareta::{Gguf, Isa, Model, ModelOptions, SessionOptions, Threads};

/// F32 weights against 64-bit arithmetic, as a share of the logits' deviation. Measured at most
/// 4e-3: keys and values are rounded to 16-bit floats, 5e-4 of each.
const TOLERANCE: f64 = 1e-2;

/// More tokens than a chunk or block of any kernel is wide would take long in the reference;
/// enough to fill lanes and leave a rest.
fn prompt(length: usize) -> Vec<u32> {
    let mut random = Random(7);
    let vocabulary = common::vocabulary().len() as u64;
    (0..length)
        .map(|_| random.below(vocabulary) as u32)
        .collect()
}

fn open(bytes: Vec<u8>, threads: usize) -> Model {
    pinned::open(Gguf::from_bytes(bytes).unwrap(), threads)
}

/// Tokens of a prompt: so many that the hidden values of a batch are computed block by block.
const MOST: usize = 100;

/// The model's logits are those of the reference, and the same bits in pieces, on any number of
/// threads, and with every instruction set.
fn check(name: &str, spec: &Spec) {
    check_within(name, spec, TOLERANCE);
}

fn check_within(name: &str, spec: &Spec, tolerance: f64) {
    let bytes = spec.bytes();
    let tokens = prompt(MOST);
    let model = open(bytes.clone(), 2);
    let logits = model.session().unwrap().feed_all(&tokens).unwrap();
    let rows: Vec<&[f32]> = logits.chunks_exact(model.vocabulary()).collect();
    let exact = Reference::new(model.gguf()).forward(&tokens);
    let far = exact
        .iter()
        .zip(&rows)
        .map(|(exact, row)| distance(exact, row))
        .fold(0.0, f64::max);
    eprintln!("{name}: {far:.1e} of the deviation");
    assert!(far < tolerance, "{name}: {far:e}");

    for threads in [3, 5] {
        let model = open(bytes.clone(), threads);
        let again = model.session().unwrap().feed_all(&tokens).unwrap();
        assert!(again == logits, "{name}: {threads} threads differ");
    }
    // On one thread: threads that wait for each other take long where there are fewer processors.
    let alone = Threads::new(1).unwrap();
    let model = open(bytes.clone(), 1);
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        let gguf = Gguf::from_bytes(bytes.clone()).unwrap();
        let options = ModelOptions::new().isa(isa).threads(alone.clone());
        let model = Model::from_gguf_with(gguf, options).unwrap();
        let again = model.session().unwrap().feed_all(&tokens).unwrap();
        assert!(again == logits, "{name}: {isa} differs");
    }
    let mut session = model.session().unwrap();
    for (token, row) in tokens.iter().zip(&rows) {
        assert!(
            session.feed(&[*token]).unwrap() == *row,
            "{name}: token by token"
        );
    }
    for batch in [1, 4, 7, MOST - 1] {
        let options = SessionOptions::new().batch(batch);
        let mut session = model.session_with(&options).unwrap();
        let pieces = session.feed_all(&tokens).unwrap();
        assert!(pieces == logits, "{name}: batches of {batch} differ");
        // Where only the logits of the last are wanted, the last layer does no more for the others than
        // what those that follow see of them.
        session.truncate(0);
        for part in [&tokens[..MOST / 2], &tokens[MOST / 2..]] {
            session.feed(part).unwrap();
            let last = rows[session.position() - 1];
            assert!(
                session.logits() == Some(last),
                "{name}: the last logits, in batches of {batch}, differ"
            );
        }
    }
}

fn llama() -> TinyLlama {
    TinyLlama::default()
}

#[test]
fn llama_plain_and_tied() {
    check("llama", &llama().spec());
    let tied = TinyLlama {
        tied: true,
        ..llama()
    };
    check("llama, tied", &tied.spec());
}

#[test]
fn llama_heads() {
    for kv_heads in [1, 4] {
        let heads = TinyLlama {
            kv_heads,
            ..llama()
        };
        check(&format!("llama, {kv_heads} of 4 key heads"), &heads.spec());
    }
    // Heads whose length is not their share of the width.
    let mut spec = llama().spec();
    spec.set("llama.attention.key_length", 24u32);
    spec.set("llama.attention.value_length", 40u32);
    spec.set("llama.rope.dimension_count", 24u32);
    let mut random = Random(5);
    for layer in 0..2 {
        for (part, shape) in [
            ("attn_q", [64, 4 * 24]),
            ("attn_k", [64, 2 * 24]),
            ("attn_v", [64, 2 * 40]),
            ("attn_output", [4 * 40, 64]),
        ] {
            let name = format!("blk.{layer}.{part}.weight");
            let weights = random.normals((shape[0] * shape[1]) as usize, 0.0, 0.1);
            spec.drop_tensor(&name).add(&name, &shape, weights);
        }
    }
    check("llama, heads of their own length", &spec);
}

#[test]
fn llama_biases_and_norms() {
    let biases = TinyLlama {
        attention_biases: true,
        ..llama()
    };
    check("llama, attention biases", &biases.spec());
    let mut random = Random(9);
    let mut spec = llama().spec();
    for layer in 0..2 {
        for (part, length) in [("ffn_gate", 96), ("ffn_up", 96), ("ffn_down", 64)] {
            let bias = random.normals(length, 0.0, 0.1);
            spec.add(&format!("blk.{layer}.{part}.bias"), &[length as u64], bias);
        }
    }
    let bias = random.normals(common::vocabulary().len(), 0.0, 0.1);
    spec.add("output.bias", &[bias.len() as u64], bias);
    check("llama, all biases", &spec);

    let mut spec = llama().spec();
    for layer in 0..2 {
        for (part, length) in [
            ("attn_q_norm", 16),
            ("attn_k_norm", 16),
            ("post_attention_norm", 64),
            ("post_ffw_norm", 64),
        ] {
            let weight = random.normals(length, 1.0, 0.1);
            spec.add(
                &format!("blk.{layer}.{part}.weight"),
                &[length as u64],
                weight,
            );
        }
    }
    check("llama, norms of heads and after", &spec);
}

#[test]
fn llama_positions() {
    let factors = TinyLlama {
        rope_factors: true,
        ..llama()
    };
    check("llama, frequency factors", &factors.spec());
    let mut spec = llama().spec();
    spec.set("llama.rope.freq_base", 500_000f32);
    spec.set("llama.rope.dimension_count", 8u32);
    check("llama, half of each head rotated", &spec);
    let mut spec = llama().spec();
    spec.set("llama.rope.scaling.type", "linear");
    spec.set("llama.rope.scaling.factor", 4f32);
    check("llama, linear scaling", &spec);
    spec.set("llama.rope.scaling.type", "yarn");
    spec.set("llama.rope.scaling.original_context_length", 64u32);
    check("llama, YaRN", &spec);
    let mut spec = llama().spec();
    spec.set("llama.attention.sliding_window", 5u32);
    check("llama, window of 5", &spec);
}

#[test]
fn llama_fused() {
    let mut spec = TinyLlama {
        attention_biases: true,
        ..llama()
    }
    .spec();
    for layer in 0..2 {
        let name = |part: &str| format!("blk.{layer}.{part}");
        for kind in ["weight", "bias"] {
            let mut fused = Vec::new();
            for part in ["attn_q", "attn_k", "attn_v"] {
                let part = format!("{}.{kind}", name(part));
                fused.extend(spec.tensor(&part).weights.clone());
                spec.drop_tensor(&part);
            }
            let shape: &[u64] = if kind == "weight" { &[64, 128] } else { &[128] };
            spec.add(&format!("{}.{kind}", name("attn_qkv")), shape, fused);
        }
        let mut fused = spec.tensor(&name("ffn_gate.weight")).weights.clone();
        fused.extend(spec.tensor(&name("ffn_up.weight")).weights.clone());
        spec.drop_tensor(&name("ffn_gate.weight"));
        spec.drop_tensor(&name("ffn_up.weight"));
        spec.add(&name("ffn_up.weight"), &[64, 192], fused);
    }
    check("llama, fused q/k/v and gate/up", &spec);
}

#[test]
fn llama_experts() {
    let experts = TinyLlama {
        experts: Some((5, 2)),
        ..llama()
    };
    check("llama, 2 of 5 experts", &experts.spec());
    let all = TinyLlama {
        experts: Some((3, 3)),
        ..llama()
    };
    check("llama, 3 of 3 experts", &all.spec());
    // The same experts in tensors of their own.
    let mut spec = experts.spec();
    for layer in 0..2 {
        for part in ["ffn_gate", "ffn_up", "ffn_down"] {
            let stacked = spec
                .tensor(&format!("blk.{layer}.{part}_exps.weight"))
                .clone();
            spec.drop_tensor(&stacked.name);
            for (expert, weights) in stacked.weights.chunks(64 * 96).enumerate() {
                let name = format!("blk.{layer}.{part}.{expert}.weight");
                spec.add(&name, &stacked.shape[..2], weights.to_vec());
            }
        }
    }
    check("llama, experts one by one", &spec);
}

#[test]
fn qwen2() {
    let mut spec = TinyLlama {
        architecture: "qwen2",
        attention_biases: true,
        tied: true,
        ..llama()
    }
    .spec();
    for layer in 0..2 {
        spec.drop_tensor(&format!("blk.{layer}.attn_output.bias"));
    }
    check("qwen2", &spec);
}

/// A GPT-NeoX of the size of the tiny llama.
fn gptneox(parallel: bool) -> Spec {
    let mut spec = TinyLlama {
        architecture: "gptneox",
        kv_heads: 4,
        ..llama()
    }
    .spec();
    spec.remove("gptneox.attention.layer_norm_rms_epsilon");
    spec.set("gptneox.attention.layer_norm_epsilon", 1e-5f32);
    spec.set("gptneox.rope.dimension_count", 4u32);
    spec.set("gptneox.use_parallel_residual", parallel);
    let mut random = Random(3);
    for layer in 0..2 {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let mut fused = Vec::new();
        for part in ["attn_q.weight", "attn_k.weight", "attn_v.weight"] {
            fused.extend(spec.tensor(&name(part)).weights.clone());
            spec.drop_tensor(&name(part));
        }
        spec.add(&name("attn_qkv.weight"), &[64, 192], fused);
        spec.drop_tensor(&name("ffn_gate.weight"));
        for (part, length) in [
            ("attn_norm", 64),
            ("attn_qkv", 192),
            ("attn_output", 64),
            ("ffn_norm", 64),
            ("ffn_up", 96),
            ("ffn_down", 64),
        ] {
            let bias = random.normals(length, 0.0, 0.1);
            spec.add(&name(&format!("{part}.bias")), &[length as u64], bias);
        }
    }
    spec.add("output_norm.bias", &[64], random.normals(64, 0.0, 0.1));
    spec
}

#[test]
fn gptneox_parallel_and_sequential() {
    check("gptneox", &gptneox(true));
    check("gptneox, sequential", &gptneox(false));
    let mut shared = gptneox(true);
    for layer in 0..2 {
        shared.drop_tensor(&format!("blk.{layer}.ffn_norm.weight"));
        shared.drop_tensor(&format!("blk.{layer}.ffn_norm.bias"));
    }
    check("gptneox, one norm for both halves", &shared);
}

/// Products with quantized weights round activations to 8 bits, which logits of random weights
/// show; here only that the bits are the same however they are computed.
fn check_quantized(weights: TensorType) {
    let spec = TinyLlama::wide(weights).spec();
    check_within(&format!("llama in {}", weights.name()), &spec, 0.5);
}

#[test]
fn q4_0_gives_the_same_bits() {
    check_quantized(TensorType::Q4_0);
}

#[test]
fn q8_0_gives_the_same_bits() {
    check_quantized(TensorType::Q8_0);
}

#[test]
fn q4_k_gives_the_same_bits() {
    check_quantized(TensorType::Q4_K);
}

#[test]
fn q6_k_gives_the_same_bits() {
    check_quantized(TensorType::Q6_K);
}

#[test]
fn quantized_experts_give_the_same_bits() {
    let experts = TinyLlama {
        experts: Some((4, 2)),
        ..TinyLlama::wide(TensorType::Q8_0)
    };
    check_within("experts in Q8_0", &experts.spec(), 0.5);
}

/// BF16 rounds activations to its own eight bits: measured 2.6e-2 of the deviation.
#[test]
fn float_weights_of_16_bits() {
    for (weights, tolerance) in [(TensorType::F16, TOLERANCE), (TensorType::BF16, 5e-2)] {
        let tiny = TinyLlama { weights, ..llama() };
        let name = format!("llama in {}", weights.name());
        check_within(&name, &tiny.spec(), tolerance);
    }
}
