//! `yareta synthesize`: writes a model with the shape of a real one and random weights, to measure
//! speed and memory without the real one.
//!
//! A few weights are encoded once, and pieces of them make up every tensor, so that a file is
//! written about as fast as the disk takes it. What the model says means nothing.

mod mix;
mod shapes;
mod vocabulary;
mod weights;

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use yareta::gguf::{DataWriter, TensorType, Writer};
use yareta::{Error, Result};

use mix::{Mix, Role};
use shapes::{Family, SHAPES, Shape};
use weights::{Pool, Random};

/// Arguments of `yareta synthesize`.
#[derive(clap::Args, Debug)]
pub struct SynthesizeArgs {
    /// The model whose shape it gets.
    #[arg(value_parser = shape_names())]
    shape: String,

    /// The file to write.
    #[arg(value_name = "OUT.gguf")]
    out: PathBuf,

    /// The format of its weights, or the mix of formats.
    #[arg(long = "type", value_name = "TYPE", default_value = "Q4_0", ignore_case = true,
          value_parser = mix_names())]
    kind: String,

    /// Give every matrix the same format, the output as well.
    #[arg(long)]
    pure: bool,

    /// Write only so many layers.
    #[arg(long, value_name = "COUNT")]
    layers: Option<u64>,

    /// Number from which the weights are drawn; the same gives the same file.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

/// Runs the command.
///
/// # Errors
/// [`Error::InvalidOption`] if an option cannot be, [`Error::Io`] if the file exists, does not fit
/// the disk, or cannot be written; then nothing is left of it.
pub fn run(arguments: &SynthesizeArgs) -> Result<()> {
    let plan = plan(arguments)?;
    let out = &arguments.out;
    let fail = |source| Error::Io {
        path: out.clone(),
        source,
    };
    if out.exists() && !arguments.force {
        let text = "already exists; --force replaces it";
        return Err(fail(io::Error::new(ErrorKind::AlreadyExists, text)));
    }
    let bytes = plan.writer.file_len()?;
    check_space(out, bytes).map_err(fail)?;

    let progress = ProgressBar::new(bytes); // on standard error, and only on a terminal
    let style = ProgressStyle::with_template("{bar:40} {binary_bytes}/{binary_total_bytes} {eta}");
    if let Ok(style) = style {
        progress.set_style(style);
    }
    // Under another name until it is complete, so that no half a model is taken for a whole one.
    let partial = with_suffix(out, ".partial");
    let written = File::create(&partial)
        .map_err(fail)
        .and_then(|file| write(&plan, arguments.seed, file, &progress))
        .and_then(|_| std::fs::rename(&partial, out).map_err(fail));
    progress.finish_and_clear();
    if let Err(error) = written {
        // What cannot be removed was not made: the first error says why.
        let _ = std::fs::remove_file(&partial);
        return Err(match error {
            Error::Write { source } => fail(source),
            other => other,
        });
    }
    let (name, mix) = (plan.shape.name, plan.mix.name());
    let gigabytes = bytes as f64 / 1e9;
    eprintln!("{}: {name} in {mix}, {gigabytes:.2} GB", out.display());
    Ok(())
}

/// A model that is to be written.
struct Plan {
    shape: Shape,
    mix: Mix,
    pure: bool,
    writer: Writer,
    tensors: Vec<Tensor>, // in the writer's order
}

/// A tensor of it.
struct Tensor {
    kind: TensorType,
    cols: u64,
    content: Content,
}

/// What a tensor is filled with.
enum Content {
    /// Random weights around 0 that keep activations near 1 from layer to layer.
    Matrix,
    /// Random numbers around a mean.
    Around(f32),
    /// These numbers.
    Exactly(Vec<f32>),
}

fn shape_names() -> clap::builder::PossibleValuesParser {
    SHAPES
        .iter()
        .map(|shape| shape.name)
        .collect::<Vec<_>>()
        .into()
}

fn mix_names() -> clap::builder::PossibleValuesParser {
    Mix::names().collect::<Vec<_>>().into()
}

fn invalid(option: &'static str, value: &str) -> Error {
    Error::InvalidOption {
        option,
        reason: format!("there is no `{value}`"),
    }
}

fn plan(arguments: &SynthesizeArgs) -> Result<Plan> {
    let shape = SHAPES.iter().find(|shape| shape.name == arguments.shape);
    let mut shape = *shape.ok_or_else(|| invalid("SHAPE", &arguments.shape))?;
    let mix = Mix::from_name(&arguments.kind);
    let mix = mix.ok_or_else(|| invalid("type", &arguments.kind))?;
    if let Some(layers) = arguments.layers {
        if layers == 0 || layers > shape.layers {
            return Err(Error::InvalidOption {
                option: "layers",
                reason: format!("{layers} is not 1 to {}", shape.layers),
            });
        }
        shape.layers = layers;
    }
    let mut plan = Plan {
        shape,
        mix,
        pure: arguments.pure,
        writer: Writer::new(),
        tensors: Vec::new(),
    };
    plan.set_metadata()?;
    vocabulary::set(&mut plan.writer, shape.vocabulary as usize)?;
    plan.add_tensors()?;
    Ok(plan)
}

impl Plan {
    fn set_metadata(&mut self) -> Result<()> {
        let shape = self.shape;
        let architecture = shape.family.architecture();
        let key = |name: &str| format!("{architecture}.{name}");
        let rotated = match shape.family {
            Family::GptNeox => shape.head_dim / 4,
            Family::Llama | Family::Qwen2 => shape.head_dim,
        };
        let numbers = [
            ("block_count", shape.layers),
            ("context_length", u64::from(shape.context)),
            ("embedding_length", shape.dim),
            ("feed_forward_length", shape.ffn),
            ("attention.head_count", shape.heads),
            ("attention.head_count_kv", shape.kv_heads),
            ("rope.dimension_count", rotated),
            ("vocab_size", shape.vocabulary),
        ];
        let writer = &mut self.writer;
        writer
            .set("general.architecture", architecture)?
            .set("general.name", format!("synthetic {}", shape.name))?
            .set("general.quantization_version", 2u32)?;
        if let Some(number) = self.mix.file_type() {
            writer.set("general.file_type", number)?;
        }
        for (name, number) in numbers {
            writer.set(&key(name), number as u32)?;
        }
        writer.set(&key("rope.freq_base"), shape.rope_base)?;
        if let Some((count, used)) = shape.experts {
            writer.set(&key("expert_count"), count as u32)?;
            writer.set(&key("expert_used_count"), used as u32)?;
        }
        if shape.family == Family::GptNeox {
            writer.set(&key("attention.layer_norm_epsilon"), shape.epsilon)?;
            writer.set(&key("use_parallel_residual"), true)?;
        } else {
            writer.set(&key("attention.layer_norm_rms_epsilon"), shape.epsilon)?;
        }
        Ok(())
    }

    fn add_tensors(&mut self) -> Result<()> {
        let shape = self.shape;
        let (dim, vocabulary) = (shape.dim, shape.vocabulary);
        self.matrix("token_embd", Role::Embedding, &[dim, vocabulary], 0)?;
        if let Some(factor) = shape.rope_scale {
            let factors = rope_factors(factor, &shape);
            let lengths = [factors.len() as u64];
            self.floats("rope_freqs.weight", &lengths, Content::Exactly(factors))?;
        }
        for layer in 0..shape.layers {
            self.add_attention(layer)?;
            self.add_feed_forward(layer)?;
        }
        self.norm("output_norm", dim)?;
        if !shape.tied {
            self.matrix("output", Role::Output, &[dim, vocabulary], 0)?;
        }
        Ok(())
    }

    fn add_attention(&mut self, layer: u64) -> Result<()> {
        let shape = self.shape;
        let (dim, q_dim) = (shape.dim, shape.heads * shape.head_dim);
        let kv_dim = shape.kv_heads * shape.head_dim;
        let name = |part: &str| format!("blk.{layer}.{part}");
        self.norm(&name("attn_norm"), dim)?;
        let parts: &[(&str, Role, u64)] = match shape.family {
            Family::GptNeox => &[("attn_qkv", Role::FusedAttention, q_dim + 2 * kv_dim)],
            Family::Llama | Family::Qwen2 => &[
                ("attn_q", Role::Query, q_dim),
                ("attn_k", Role::Key, kv_dim),
                ("attn_v", Role::Value, kv_dim),
            ],
        };
        for &(part, role, rows) in parts {
            self.matrix(&name(part), role, &[dim, rows], layer)?;
            if shape.family != Family::Llama {
                self.bias(&name(part), rows)?;
            }
        }
        let output = name("attn_output");
        self.matrix(&output, Role::AttentionOutput, &[q_dim, dim], layer)?;
        if shape.family == Family::GptNeox {
            self.bias(&output, dim)?;
        }
        Ok(())
    }

    fn add_feed_forward(&mut self, layer: u64) -> Result<()> {
        let shape = self.shape;
        let (dim, ffn) = (shape.dim, shape.ffn);
        let name = |part: &str| format!("blk.{layer}.{part}");
        self.norm(&name("ffn_norm"), dim)?;
        if let Some((experts, _)) = shape.experts {
            let router = name("ffn_gate_inp.weight");
            self.floats(&router, &[dim, experts], Content::Matrix)?;
            self.matrix(
                &name("ffn_gate_exps"),
                Role::Gate,
                &[dim, ffn, experts],
                layer,
            )?;
            self.matrix(&name("ffn_up_exps"), Role::Up, &[dim, ffn, experts], layer)?;
            return self.matrix(
                &name("ffn_down_exps"),
                Role::Down,
                &[ffn, dim, experts],
                layer,
            );
        }
        if shape.family != Family::GptNeox {
            self.matrix(&name("ffn_gate"), Role::Gate, &[dim, ffn], layer)?;
        }
        self.matrix(&name("ffn_up"), Role::Up, &[dim, ffn], layer)?;
        self.matrix(&name("ffn_down"), Role::Down, &[ffn, dim], layer)?;
        if shape.family == Family::GptNeox {
            self.bias(&name("ffn_up"), ffn)?;
            self.bias(&name("ffn_down"), dim)?;
        }
        Ok(())
    }

    /// Adds a matrix of (columns, rows), or of (columns, rows, experts).
    fn matrix(&mut self, name: &str, role: Role, shape: &[u64], layer: u64) -> Result<()> {
        let cols = shape[0];
        let kind = if self.pure {
            self.mix.base_type(cols)
        } else {
            self.mix.tensor_type(role, cols, layer, &self.shape)
        };
        self.add(&format!("{name}.weight"), kind, shape, Content::Matrix)
    }

    fn norm(&mut self, name: &str, length: u64) -> Result<()> {
        self.floats(&format!("{name}.weight"), &[length], Content::Around(1.0))?;
        if self.shape.family == Family::GptNeox {
            self.bias(name, length)?;
        }
        Ok(())
    }

    fn bias(&mut self, name: &str, length: u64) -> Result<()> {
        self.floats(&format!("{name}.bias"), &[length], Content::Around(0.0))
    }

    fn floats(&mut self, name: &str, shape: &[u64], content: Content) -> Result<()> {
        self.add(name, TensorType::F32, shape, content)
    }

    fn add(&mut self, name: &str, kind: TensorType, shape: &[u64], content: Content) -> Result<()> {
        self.writer.tensor(name, kind, shape)?;
        self.tensors.push(Tensor {
            kind,
            cols: shape[0],
            content,
        });
        Ok(())
    }
}

/// The divisors of the rope's frequencies that Llama 3.1 and its successors come with: waves
/// longer than the context of their training are stretched, short ones are not, and those between
/// in part ("The Llama 3 Herd of Models", 2024, and the configurations published with it).
fn rope_factors(factor: f32, shape: &Shape) -> Vec<f32> {
    const LOW: f32 = 1.0;
    const HIGH: f32 = 4.0;
    const TRAINED: f32 = 8192.0;
    (0..shape.head_dim / 2)
        .map(|pair| {
            let exponent = 2.0 * pair as f32 / shape.head_dim as f32;
            let wave = 2.0 * std::f32::consts::PI * shape.rope_base.powf(exponent);
            let turns = TRAINED / wave;
            if turns > HIGH {
                1.0
            } else if turns < LOW {
                factor
            } else {
                let smooth = (turns - LOW) / (HIGH - LOW);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        })
        .collect()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Fails if the disk has less than `bytes` free, where the system tells.
#[cfg(unix)]
fn check_space(out: &Path, bytes: u64) -> io::Result<()> {
    let directory = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let disk = rustix::fs::statvfs(directory)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if bytes > free {
        let (needed, free) = (bytes as f64 / 1e9, free as f64 / 1e9);
        let text = format!("needs {needed:.2} GB, and the disk has {free:.2} GB free");
        return Err(io::Error::new(ErrorKind::StorageFull, text));
    }
    Ok(())
}

/// Fails if the disk has less than `bytes` free, where the system tells.
#[cfg(not(unix))]
fn check_space(_out: &Path, _bytes: u64) -> io::Result<()> {
    Ok(())
}

/// Writes the whole file to `out` and gives it back.
fn write<W: Write>(plan: &Plan, seed: u64, out: W, progress: &ProgressBar) -> Result<W> {
    let mut data = plan.writer.start(out)?;
    let mut random = Random::new(seed);
    let mut pools = HashMap::new();
    for tensor in &plan.tensors {
        match &tensor.content {
            Content::Matrix => {
                let pool = pools
                    .entry((tensor.kind, tensor.cols))
                    .or_insert_with(|| Pool::new((tensor.kind, tensor.cols), &mut random));
                pool.fill(&mut data, &mut random, progress)?;
            }
            Content::Around(mean) => {
                let numbers = || mean + 0.05 * random.normal();
                let numbers: Vec<f32> = std::iter::repeat_with(numbers)
                    .take(tensor.cols as usize)
                    .collect();
                write_floats(&mut data, &numbers)?;
            }
            Content::Exactly(numbers) => write_floats(&mut data, numbers)?,
        }
    }
    data.finish()
}

fn write_floats<W: Write>(data: &mut DataWriter<W>, numbers: &[f32]) -> Result<()> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    data.write(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use yareta::Gguf;

    fn arguments(shape: &str, kind: &str, layers: Option<u64>) -> SynthesizeArgs {
        SynthesizeArgs {
            shape: shape.into(),
            out: PathBuf::new(),
            kind: kind.into(),
            pure: false,
            layers,
            seed: 1,
            force: false,
        }
    }

    #[test]
    fn files_are_as_large_as_the_real_ones() {
        // Bytes of files that are widely downloaded. The real ones differ by their vocabularies,
        // which are a fraction of a percent of the smallest here.
        let real = [
            ("llama-2-7b", "Q4_0", 3_825_807_040),
            ("llama-2-7b", "Q3_K_M", 3_298_004_672),
            ("llama-2-7b", "Q4_K_M", 4_081_004_224),
            ("llama-2-7b", "Q5_K_M", 4_783_156_928),
            ("llama-2-7b", "Q6_K", 5_529_194_176),
            ("llama-2-7b", "Q8_0", 7_161_089_728),
            ("llama-2-13b", "Q4_0", 7_365_834_624),
            ("tinyllama-1.1b", "Q4_K_M", 668_788_096u64),
        ];
        for (shape, kind, bytes) in real {
            let plan = plan(&arguments(shape, kind, None)).unwrap();
            let ratio = plan.writer.file_len().unwrap() as f64 / bytes as f64;
            assert!((ratio - 1.0).abs() < 2e-3, "{shape} {kind}: {ratio}");
        }
    }

    #[test]
    fn every_shape_and_every_type_can_be_written() {
        let silent = ProgressBar::hidden();
        let shapes = SHAPES.iter().map(|shape| (shape.name, "Q4_K_M"));
        let kinds = Mix::names().map(|name| ("stories-15m", name));
        for (shape, kind) in shapes.chain(kinds) {
            let plan = plan(&arguments(shape, kind, Some(1))).unwrap();
            let bytes = plan.writer.file_len().unwrap();
            let expected = plan.writer.start(Vec::new()).unwrap().next().is_some();
            assert!(expected && bytes > 0, "{shape} {kind}");
            // The larger ones would only take longer.
            if bytes > 60_000_000 {
                continue;
            }
            let file = write(&plan, 1, Vec::new(), &silent).unwrap();
            assert_eq!(file.len() as u64, bytes, "{shape} {kind}");
            let file = Gguf::from_bytes(file).unwrap();
            let tokens = file.metadata().require_strings("tokenizer.ggml.tokens");
            assert_eq!(tokens.unwrap().len() as u64, plan.shape.vocabulary);
        }
    }

    #[test]
    fn weights_are_plausible_and_depend_on_the_seed() {
        let silent = ProgressBar::hidden();
        let plan = plan(&arguments("stories-15m", "Q8_0", Some(1))).unwrap();
        let file = write(&plan, 7, Vec::new(), &silent).unwrap();
        assert_eq!(file, write(&plan, 7, Vec::new(), &silent).unwrap());
        assert_ne!(file, write(&plan, 8, Vec::new(), &silent).unwrap());
        let file = Gguf::from_bytes(file).unwrap();
        // Among them matrices that are written in several chunks.
        let matrices = file.tensors().iter().filter(|t| t.shape().len() == 2);
        for tensor in matrices {
            let mut weights = vec![0.0; tensor.elements() as usize];
            let format = tensor.tensor_type().format().unwrap();
            format.decode(file.bytes(tensor), &mut weights);
            let sum: f64 = weights
                .iter()
                .map(|&weight| f64::from(weight).powi(2))
                .sum();
            let deviation = (sum / weights.len() as f64).sqrt();
            let expected = 1.0 / (tensor.shape()[0] as f64).sqrt();
            // The pool is a sample of 2^17 weights: its deviation is known to 0.2 %.
            let ratio = deviation / expected;
            assert!((ratio - 1.0).abs() < 0.01, "{}: {ratio}", tensor.name());
        }
    }

    #[test]
    fn files_are_not_replaced_unasked_and_no_partial_ones_left() {
        let directory = std::env::temp_dir().join(format!("synthesize-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut arguments = arguments("stories-15m", "Q4_0", Some(1));
        arguments.out = directory.join("model.gguf");
        run(&arguments).unwrap();
        let file = Gguf::open(&arguments.out).unwrap();
        assert_eq!(file.metadata().u32("llama.block_count").unwrap(), Some(1));
        let error = run(&arguments).unwrap_err().to_string();
        assert!(
            error.ends_with("already exists; --force replaces it"),
            "{error}"
        );
        arguments.force = true;
        run(&arguments).unwrap();
        arguments.out = directory.join("none/model.gguf");
        assert!(matches!(run(&arguments), Err(Error::Io { .. })));
        arguments.out = directory.join("taken");
        std::fs::create_dir(&arguments.out).unwrap();
        assert!(matches!(run(&arguments), Err(Error::Io { .. })));
        assert!(!directory.join("taken.partial").exists());
        arguments.layers = Some(7);
        assert!(matches!(run(&arguments), Err(Error::InvalidOption { .. })));
        assert!(check_space(&directory.join("x"), u64::MAX).is_err());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
