//! What tests share: where the test data is, seeded numbers, and tiny models built in memory.

use std::path::PathBuf;

use yareta::gguf::{TensorType, Value, Writer};

/// A file of the test data, under `YARETA_TEST_DATA` or beside the project; `None`, saying so, if
/// it is not there.
pub fn data(name: &str) -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data");
    let root = std::env::var_os("YARETA_TEST_DATA").unwrap_or_else(|| default.into());
    let path = PathBuf::from(root).join(name);
    if !path.exists() {
        eprintln!("skipped: no test data at {}", path.display());
        return None;
    }
    Some(path)
}

/// A sequence of numbers that depends on the seed alone (SplitMix64, by Steele, Lea and Flood).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.bits() % limit
    }

    /// Nearly normal with mean 0 and deviation 1: the sum of twelve uniform numbers, which is the
    /// same on every machine because it needs no function that machines round differently.
    pub fn normal(&mut self) -> f32 {
        let sum: u64 = (0..6)
            .map(|_| self.bits())
            .map(|bits| (bits >> 32) + (bits & 0xffff_ffff))
            .sum();
        (sum as f64 / 4_294_967_296.0 - 6.0) as f32
    }

    /// `count` normal numbers around `mean`.
    pub fn normals(&mut self, count: usize, mean: f32, deviation: f32) -> Vec<f32> {
        (0..count)
            .map(|_| mean + deviation * self.normal())
            .collect()
    }
}

/// A tensor of a model that is being built.
#[derive(Clone, Debug)]
pub struct SpecTensor {
    pub name: String,
    pub shape: Vec<u64>, // fastest first
    pub tensor_type: TensorType,
    pub weights: Vec<f32>,
}

impl SpecTensor {
    /// The tensor's bytes, the weights encoded in its type.
    pub fn bytes(&self) -> Vec<u8> {
        let format = self.tensor_type.format().expect("a type with a format");
        let bytes = format.row_bytes(self.weights.len()).expect("whole blocks");
        let mut out = vec![0; bytes];
        format.encode(&self.weights, None, &mut out);
        out
    }
}

/// Everything in a GGUF file, to be changed at will before it is written: tests take a valid model
/// and break one thing.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    pub metadata: Vec<(String, Value)>,
    pub tensors: Vec<SpecTensor>,
}

impl Spec {
    /// Sets a key, replacing its value if it has one.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> &mut Spec {
        self.remove(key);
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) -> &mut Spec {
        self.metadata.retain(|(set, _)| set != key);
        self
    }

    /// Adds a tensor of F32 weights.
    pub fn add(&mut self, name: &str, shape: &[u64], weights: Vec<f32>) -> &mut Spec {
        assert_eq!(shape.iter().product::<u64>(), weights.len() as u64);
        self.tensors.push(SpecTensor {
            name: name.into(),
            shape: shape.into(),
            tensor_type: TensorType::F32,
            weights,
        });
        self
    }

    /// The tensor of that name, which must be there.
    pub fn tensor(&mut self, name: &str) -> &mut SpecTensor {
        let found = self.tensors.iter_mut().find(|tensor| tensor.name == name);
        found.unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// Gives a tensor another shape, cutting its weights or repeating the last.
    pub fn reshape(&mut self, name: &str, shape: &[u64]) -> &mut Spec {
        let tensor = self.tensor(name);
        tensor.shape = shape.into();
        let elements = shape.iter().product::<u64>() as usize;
        tensor.weights.resize(elements, 0.5);
        self
    }

    /// Removes a tensor, which must be there.
    pub fn drop_tensor(&mut self, name: &str) -> &mut Spec {
        self.tensor(name);
        self.tensors.retain(|tensor| tensor.name != name);
        self
    }

    /// The GGUF file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        for (key, value) in &self.metadata {
            writer.set(key, value.clone()).unwrap();
        }
        for tensor in &self.tensors {
            writer
                .tensor(&tensor.name, tensor.tensor_type, &tensor.shape)
                .unwrap();
        }
        let mut data = writer.start(Vec::new()).unwrap();
        for tensor in &self.tensors {
            data.write(&tensor.bytes()).unwrap();
        }
        data.finish().unwrap()
    }
}

/// A llama that fits in a few hundred kilobytes, its weights decided by the seed.
#[derive(Clone, Debug)]
pub struct TinyLlama {
    pub seed: u64,
    pub architecture: &'static str,
    pub dim: u64, // a multiple of `heads`; of the block length of `weights`
    pub ffn: u64,
    pub layers: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub context: u32,
    /// Type of the matrices; norms, biases and the experts' router stay F32.
    pub weights: TensorType,
    /// Without an output matrix, the embedding serves as one.
    pub tied: bool,
    /// Biases of q, k, v and the attention's output.
    pub attention_biases: bool,
    /// Number of experts and how many of them a token uses; `None` for a dense model.
    pub experts: Option<(u64, u64)>,
    /// Frequency factors of the rope, as Llama 3.1 has them.
    pub rope_factors: bool,
}

impl Default for TinyLlama {
    /// Two layers of grouped-query attention in F32, dense, untied, without anything optional.
    fn default() -> TinyLlama {
        TinyLlama {
            seed: 1,
            architecture: "llama",
            dim: 64,
            ffn: 96,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            context: 128,
            weights: TensorType::F32,
            tied: false,
            attention_biases: false,
            experts: None,
            rope_factors: false,
        }
    }
}

impl TinyLlama {
    /// As the default, but wide enough for formats with blocks of 256 weights.
    pub fn wide(weights: TensorType) -> TinyLlama {
        TinyLlama {
            dim: 256,
            ffn: 512,
            weights,
            ..TinyLlama::default()
        }
    }

    /// The model's file.
    pub fn bytes(&self) -> Vec<u8> {
        self.spec().bytes()
    }

    /// The model, to be changed before it is written.
    pub fn spec(&self) -> Spec {
        let mut spec = Spec::default();
        self.set_metadata(&mut spec);
        set_vocabulary(&mut spec);
        let mut random = Random(self.seed);
        let vocabulary = vocabulary().len() as u64;
        let (dim, kv_dim) = (self.dim, self.dim / self.heads * self.kv_heads);
        let mut matrix = |name: &str, shape: &[u64]| {
            // Keeps activations near 1 from layer to layer.
            let deviation = 1.0 / (shape[0] as f32).sqrt();
            let count = shape.iter().product::<u64>() as usize;
            let weights = random.normals(count, 0.0, deviation);
            spec.add(name, shape, weights);
            spec.tensor(name).tensor_type = self.weights;
        };
        matrix("token_embd.weight", &[dim, vocabulary]);
        if !self.tied {
            matrix("output.weight", &[dim, vocabulary]);
        }
        for layer in 0..self.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            matrix(&name("attn_q"), &[dim, dim]);
            matrix(&name("attn_k"), &[dim, kv_dim]);
            matrix(&name("attn_v"), &[dim, kv_dim]);
            matrix(&name("attn_output"), &[dim, dim]);
            match self.experts {
                None => {
                    matrix(&name("ffn_gate"), &[dim, self.ffn]);
                    matrix(&name("ffn_up"), &[dim, self.ffn]);
                    matrix(&name("ffn_down"), &[self.ffn, dim]);
                }
                Some((count, _)) => {
                    matrix(&name("ffn_gate_exps"), &[dim, self.ffn, count]);
                    matrix(&name("ffn_up_exps"), &[dim, self.ffn, count]);
                    matrix(&name("ffn_down_exps"), &[self.ffn, dim, count]);
                }
            }
        }
        self.add_floats(&mut spec, &mut random);
        spec
    }

    fn set_metadata(&self, spec: &mut Spec) {
        let architecture = self.architecture;
        spec.set("general.architecture", architecture);
        spec.set("general.name", "tiny");
        let mut set = |key: &str, value: Value| {
            spec.set(&format!("{architecture}.{key}"), value);
        };
        set("block_count", (self.layers as u32).into());
        set("context_length", self.context.into());
        set("embedding_length", (self.dim as u32).into());
        set("feed_forward_length", (self.ffn as u32).into());
        set("attention.head_count", (self.heads as u32).into());
        set("attention.head_count_kv", (self.kv_heads as u32).into());
        set("attention.layer_norm_rms_epsilon", 1e-5f32.into());
        set(
            "rope.dimension_count",
            ((self.dim / self.heads) as u32).into(),
        );
        set("rope.freq_base", 10_000f32.into());
        set("vocab_size", (vocabulary().len() as u32).into());
        if let Some((count, used)) = self.experts {
            set("expert_count", (count as u32).into());
            set("expert_used_count", (used as u32).into());
        }
    }

    /// What is F32 in every file: norms, biases, the router, frequency factors.
    fn add_floats(&self, spec: &mut Spec, random: &mut Random) {
        let (dim, head_dim) = (self.dim, self.dim / self.heads);
        let kv_dim = head_dim * self.kv_heads;
        let mut add = |name: &str, shape: &[u64], mean: f32, deviation: f32| {
            let count = shape.iter().product::<u64>() as usize;
            spec.add(name, shape, random.normals(count, mean, deviation));
        };
        add("output_norm.weight", &[dim], 1.0, 0.1);
        for layer in 0..self.layers {
            let name = |part: &str| format!("blk.{layer}.{part}");
            add(&name("attn_norm.weight"), &[dim], 1.0, 0.1);
            add(&name("ffn_norm.weight"), &[dim], 1.0, 0.1);
            if self.attention_biases {
                add(&name("attn_q.bias"), &[dim], 0.0, 0.1);
                add(&name("attn_k.bias"), &[kv_dim], 0.0, 0.1);
                add(&name("attn_v.bias"), &[kv_dim], 0.0, 0.1);
                add(&name("attn_output.bias"), &[dim], 0.0, 0.1);
            }
            if let Some((count, _)) = self.experts {
                add(&name("ffn_gate_inp.weight"), &[dim, count], 0.0, 0.2);
            }
        }
        if self.rope_factors {
            let factors = (0..head_dim / 2)
                .map(|pair| 1.0 + pair as f32 / 4.0)
                .collect();
            spec.add("rope_freqs.weight", &[head_dim / 2], factors);
        }
    }
}

/// The pieces of the tiny vocabulary with their scores and types: three control tokens, every
/// byte, single characters, and pieces that merge from pieces before them.
pub fn vocabulary() -> Vec<(String, f32, i32)> {
    const NORMAL: i32 = 1;
    const UNKNOWN: i32 = 2;
    const CONTROL: i32 = 3;
    const BYTE: i32 = 6;
    let mut pieces = vec![
        ("<unk>".to_string(), 0.0, UNKNOWN),
        ("<s>".to_string(), 0.0, CONTROL),
        ("</s>".to_string(), 0.0, CONTROL),
    ];
    pieces.extend((0..=255u8).map(|byte| (format!("<0x{byte:02X}>"), 0.0, BYTE)));
    let merged = ["▁t", "he", "▁a", "▁the", "in", "re", "on", "nd", "▁and"];
    let letters = "▁etaoinsrhldcumfpgwybvkxjqz.,!?".chars();
    let merged = merged.into_iter().map(str::to_string);
    let normal = merged.chain(letters.map(String::from));
    // SentencePiece ranks pieces by score: merges first, in their order.
    pieces.extend(
        normal
            .enumerate()
            .map(|(rank, piece)| (piece, -(rank as f32), NORMAL)),
    );
    pieces
}

fn set_vocabulary(spec: &mut Spec) {
    let pieces = vocabulary();
    let tokens: Vec<String> = pieces.iter().map(|piece| piece.0.clone()).collect();
    let scores: Vec<f32> = pieces.iter().map(|piece| piece.1).collect();
    let types: Vec<i32> = pieces.iter().map(|piece| piece.2).collect();
    spec.set("tokenizer.ggml.model", "llama");
    spec.set("tokenizer.ggml.pre", "default");
    spec.set("tokenizer.ggml.tokens", tokens);
    spec.set("tokenizer.ggml.scores", scores);
    spec.set("tokenizer.ggml.token_type", types);
    spec.set("tokenizer.ggml.bos_token_id", 1u32);
    spec.set("tokenizer.ggml.eos_token_id", 2u32);
    spec.set("tokenizer.ggml.unknown_token_id", 0u32);
}

mod tests {
    use super::*;
    use yareta::Gguf;

    #[test]
    fn tiny_models_are_valid_and_depend_on_the_seed_alone() {
        assert!(data("").is_none_or(|root| root.is_dir()));
        assert!(Random(7).below(10) < 10);
        let tiny = TinyLlama {
            tied: true,
            attention_biases: true,
            experts: Some((4, 2)),
            rope_factors: true,
            ..TinyLlama::default()
        };
        assert_eq!(tiny.bytes(), tiny.bytes());
        let file = Gguf::from_bytes(tiny.bytes()).unwrap();
        let experts = file.tensor("blk.1.ffn_down_exps.weight").unwrap();
        assert_eq!(experts.shape(), [96, 64, 4]);
        assert!(file.tensor("output.weight").is_none());

        let mut spec = TinyLlama::wide(TensorType::Q8_0).spec();
        spec.remove("general.name")
            .drop_tensor("output.weight")
            .reshape("output_norm.weight", &[8]);
        let file = Gguf::from_bytes(spec.bytes()).unwrap();
        assert!(file.metadata().get("general.name").is_none());
        assert!(file.tensor("output.weight").is_none());
        assert_eq!(file.tensor("output_norm.weight").unwrap().shape(), [8]);
        let embedding = file.tensor("token_embd.weight").unwrap();
        assert_eq!(embedding.tensor_type(), TensorType::Q8_0);
    }
}
