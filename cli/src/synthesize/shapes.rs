//! The shapes of real models: the numbers that decide how large a model is and how fast it runs.
//!
//! Sources: the models' published configurations.

/// The numbers of a model.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Its name on the command line.
    pub name: &'static str,
    /// How its layers are built.
    pub family: Family,
    pub dim: u64,
    pub layers: u64,
    pub heads: u64,
    pub kv_heads: u64,
    pub head_dim: u64,
    pub ffn: u64,
    pub vocabulary: u64,
    pub context: u32,
    pub rope_base: f32,
    pub epsilon: f32,
    /// Whether the embedding serves as the output matrix.
    pub tied: bool,
    /// Number of experts and how many of them a token uses.
    pub experts: Option<(u64, u64)>,
    /// Factor of Llama 3's frequency scaling.
    pub rope_scale: Option<f32>,
}

/// What the layers of a model have, beside their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// RMS norms, rotary positions, a gated feed-forward.
    Llama,
    /// As Llama, with biases of q, k and v.
    Qwen2,
    /// Layer norms, a fused and partly rotated q/k/v, parallel branches, biases throughout.
    GptNeox,
}

impl Family {
    /// The name in `general.architecture`.
    pub fn architecture(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::GptNeox => "gptneox",
        }
    }
}

/// Where the rows leave something out.
const USUAL: Shape = Shape {
    name: "",
    family: Family::Llama,
    dim: 4096,
    layers: 32,
    heads: 32,
    kv_heads: 32,
    head_dim: 128,
    ffn: 11008,
    vocabulary: 32000,
    context: 4096,
    rope_base: 10_000.0,
    epsilon: 1e-5,
    tied: false,
    experts: None,
    rope_scale: None,
};

/// Every shape, by size within each line of models.
pub const SHAPES: &[Shape] = &[
    Shape {
        name: "stories-15m",
        dim: 288,
        layers: 6,
        heads: 6,
        kv_heads: 6,
        head_dim: 48,
        ffn: 768,
        context: 256,
        tied: true,
        ..USUAL
    },
    Shape {
        name: "smollm2-135m",
        dim: 576,
        layers: 30,
        heads: 9,
        kv_heads: 3,
        head_dim: 64,
        ffn: 1536,
        vocabulary: 49152,
        context: 8192,
        rope_base: 100_000.0,
        tied: true,
        ..USUAL
    },
    Shape {
        name: "tinyllama-1.1b",
        dim: 2048,
        layers: 22,
        kv_heads: 4,
        head_dim: 64,
        ffn: 5632,
        context: 2048,
        ..USUAL
    },
    Shape {
        name: "llama-3.2-1b",
        dim: 2048,
        layers: 16,
        kv_heads: 8,
        head_dim: 64,
        ffn: 8192,
        vocabulary: 128_256,
        context: 131_072,
        rope_base: 500_000.0,
        tied: true,
        rope_scale: Some(32.0),
        ..USUAL
    },
    Shape {
        name: "llama-3.2-3b",
        dim: 3072,
        layers: 28,
        heads: 24,
        kv_heads: 8,
        ffn: 8192,
        vocabulary: 128_256,
        context: 131_072,
        rope_base: 500_000.0,
        tied: true,
        rope_scale: Some(32.0),
        ..USUAL
    },
    Shape {
        name: "llama-2-7b",
        ..USUAL
    },
    Shape {
        name: "llama-2-13b",
        dim: 5120,
        layers: 40,
        heads: 40,
        kv_heads: 40,
        ffn: 13824,
        ..USUAL
    },
    Shape {
        name: "llama-2-70b",
        dim: 8192,
        layers: 80,
        heads: 64,
        kv_heads: 8,
        ffn: 28672,
        ..USUAL
    },
    Shape {
        name: "llama-3-8b",
        kv_heads: 8,
        ffn: 14336,
        vocabulary: 128_256,
        context: 8192,
        rope_base: 500_000.0,
        ..USUAL
    },
    Shape {
        name: "llama-3-70b",
        dim: 8192,
        layers: 80,
        heads: 64,
        kv_heads: 8,
        ffn: 28672,
        vocabulary: 128_256,
        context: 8192,
        rope_base: 500_000.0,
        ..USUAL
    },
    Shape {
        name: "mistral-7b",
        kv_heads: 8,
        ffn: 14336,
        context: 32_768,
        ..USUAL
    },
    Shape {
        name: "mixtral-8x7b",
        kv_heads: 8,
        ffn: 14336,
        context: 32_768,
        rope_base: 1e6,
        experts: Some((8, 2)),
        ..USUAL
    },
    Shape {
        name: "yi-34b",
        dim: 7168,
        layers: 60,
        heads: 56,
        kv_heads: 8,
        ffn: 20480,
        vocabulary: 64000,
        rope_base: 5e6,
        ..USUAL
    },
    Shape {
        name: "qwen2.5-0.5b",
        family: Family::Qwen2,
        dim: 896,
        layers: 24,
        heads: 14,
        kv_heads: 2,
        head_dim: 64,
        ffn: 4864,
        vocabulary: 151_936,
        context: 32_768,
        rope_base: 1e6,
        epsilon: 1e-6,
        tied: true,
        ..USUAL
    },
    Shape {
        name: "qwen2.5-7b",
        family: Family::Qwen2,
        dim: 3584,
        layers: 28,
        heads: 28,
        kv_heads: 4,
        ffn: 18944,
        vocabulary: 152_064,
        context: 32_768,
        rope_base: 1e6,
        epsilon: 1e-6,
        ..USUAL
    },
    Shape {
        name: "pythia-160m",
        family: Family::GptNeox,
        dim: 768,
        layers: 12,
        heads: 12,
        kv_heads: 12,
        head_dim: 64,
        ffn: 3072,
        vocabulary: 50304,
        context: 2048,
        ..USUAL
    },
    Shape {
        name: "pythia-12b",
        family: Family::GptNeox,
        dim: 5120,
        layers: 36,
        heads: 40,
        kv_heads: 40,
        ffn: 20480,
        vocabulary: 50688,
        context: 2048,
        ..USUAL
    },
];
