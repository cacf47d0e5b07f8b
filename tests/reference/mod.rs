//! The forward pass again, written to be checked by reading: one token after another, plain loops
//! over 64-bit floats, weights decoded whole. Shares nothing with the library but the reading of
//! GGUF files and the decoding of weights.

#![allow(dead_code)] // each test file uses its part

use std::collections::HashMap;

use yareta::Gguf;

/// A model decoded into floats.
pub struct Reference {
    gguf: Gguf,
    architecture: String,
    tensors: HashMap<String, Vec<f64>>,
}

impl Reference {
    pub fn new(gguf: &Gguf) -> Reference {
        let mut tensors = HashMap::new();
        for tensor in gguf.tensors() {
            let format = tensor.tensor_type().format().unwrap();
            let mut weights = vec![0.0f32; tensor.elements() as usize];
            format.decode(gguf.bytes(tensor), &mut weights);
            let weights = weights.into_iter().map(f64::from).collect();
            tensors.insert(tensor.name().to_string(), weights);
        }
        let architecture = gguf.metadata().require_string("general.architecture");
        Reference {
            gguf: gguf.clone(),
            architecture: architecture.unwrap().to_string(),
            tensors,
        }
    }

    fn integer(&self, key: &str) -> Option<usize> {
        let key = format!("{}.{key}", self.architecture);
        let value = self.gguf.metadata().u32(&key).unwrap();
        value.map(|value| value as usize)
    }

    fn float(&self, key: &str) -> Option<f64> {
        let key = format!("{}.{key}", self.architecture);
        self.gguf.metadata().f32(&key).unwrap().map(f64::from)
    }

    fn string(&self, key: &str) -> Option<&str> {
        let key = format!("{}.{key}", self.architecture);
        self.gguf.metadata().string(&key).unwrap()
    }

    fn tensor(&self, name: &str) -> Option<&[f64]> {
        self.tensors.get(name).map(Vec::as_slice)
    }

    /// `W x + b` with the rows `rows` of `name.weight`.
    fn linear_rows(&self, name: &str, rows: std::ops::Range<usize>, x: &[f64]) -> Vec<f64> {
        let weights = self.tensor(&format!("{name}.weight")).unwrap();
        let bias = self.tensor(&format!("{name}.bias"));
        rows.map(|row| {
            let weights = &weights[row * x.len()..(row + 1) * x.len()];
            let sum: f64 = weights.iter().zip(x).map(|(w, x)| w * x).sum();
            sum + bias.map_or(0.0, |bias| bias[row])
        })
        .collect()
    }

    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let rows = self.tensor(&format!("{name}.weight")).unwrap().len() / x.len();
        self.linear_rows(name, 0..rows, x)
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let weight = self.tensor(&format!("{name}.weight")).unwrap();
        let count = x.len() as f64;
        if self.architecture == "gptneox" {
            let epsilon = self.float("attention.layer_norm_epsilon").unwrap();
            let bias = self.tensor(&format!("{name}.bias"));
            let mean = x.iter().sum::<f64>() / count;
            let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
            let scale = 1.0 / (variance + epsilon).sqrt();
            let bias = |i: usize| bias.map_or(0.0, |bias| bias[i]);
            (0..x.len())
                .map(|i| (x[i] - mean) * scale * weight[i] + bias(i))
                .collect()
        } else {
            let epsilon = self.float("attention.layer_norm_rms_epsilon").unwrap();
            let square = x.iter().map(|x| x * x).sum::<f64>() / count;
            let scale = 1.0 / (square + epsilon).sqrt();
            (0..x.len()).map(|i| x[i] * scale * weight[i]).collect()
        }
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(&format!("{name}.weight"))
    }

    /// Rotates the pairs of a head.
    fn rotate(&self, head: &mut [f64], position: usize) {
        let dimensions = self.integer("rope.dimension_count").unwrap_or(head.len());
        let base = self.float("rope.freq_base").unwrap_or(10_000.0);
        let factors = self.tensor("rope_freqs.weight");
        for pair in 0..dimensions / 2 {
            let mut frequency = base.powf(-2.0 * pair as f64 / dimensions as f64);
            frequency /= factors.map_or(1.0, |factors| factors[pair]);
            let (frequency, magnitude) = self.scaled(frequency, pair, dimensions, base);
            let angle = position as f64 * frequency;
            let (i, j) = match self.architecture.as_str() {
                "llama" => (2 * pair, 2 * pair + 1),
                _ => (pair, pair + dimensions / 2),
            };
            let (a, b) = (head[i] * magnitude, head[j] * magnitude);
            head[i] = a * angle.cos() - b * angle.sin();
            head[j] = a * angle.sin() + b * angle.cos();
        }
    }

    /// Frequency and magnitude after scaling.
    fn scaled(&self, frequency: f64, pair: usize, dimensions: usize, base: f64) -> (f64, f64) {
        let factor = self.float("rope.scaling.factor");
        let attention = self.float("rope.scaling.attn_factor").unwrap_or(1.0);
        match (self.string("rope.scaling.type"), factor) {
            (Some("yarn"), Some(factor)) => {
                let context = self.integer("rope.scaling.original_context_length");
                let context = context.unwrap_or_else(|| self.integer("context_length").unwrap());
                let at = |turns: f64| {
                    let ratio = context as f64 / (turns * 2.0 * std::f64::consts::PI);
                    dimensions as f64 * ratio.ln() / (2.0 * base.ln())
                };
                let low = at(32.0).floor().max(0.0);
                let high = at(1.0).ceil().min(dimensions as f64 - 1.0);
                let ramp = ((pair as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                let mixed = frequency / factor * ramp + frequency * (1.0 - ramp);
                (mixed, attention * (1.0 + 0.1 * factor.ln()))
            }
            (Some("none"), _) | (_, None) => (frequency, attention),
            (_, Some(factor)) => (frequency / factor, attention),
        }
    }

    /// The logits after every token.
    pub fn forward(&self, tokens: &[u32]) -> Vec<Vec<f64>> {
        let width = self.integer("embedding_length").unwrap();
        let layers = self.integer("block_count").unwrap();
        let mut caches = vec![(Vec::new(), Vec::new()); layers];
        tokens
            .iter()
            .enumerate()
            .map(|(position, token)| {
                let start = *token as usize * width;
                let mut x =
                    self.tensor("token_embd.weight").unwrap()[start..start + width].to_vec();
                for (layer, cache) in caches.iter_mut().enumerate() {
                    x = self.layer(layer, position, &x, cache);
                }
                let x = self.norm("output_norm", &x);
                if self.has("output") {
                    self.linear("output", &x)
                } else {
                    self.linear("token_embd", &x)
                }
            })
            .collect()
    }

    fn layer(
        &self,
        layer: usize,
        position: usize,
        x: &[f64],
        cache: &mut (Vec<Vec<f64>>, Vec<Vec<f64>>),
    ) -> Vec<f64> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let add =
            |x: &[f64], y: &[f64]| -> Vec<f64> { x.iter().zip(y).map(|(x, y)| x + y).collect() };
        let a = self.norm(&name("attn_norm"), x);
        let mut y = self.attention(layer, position, &a, cache);
        if self.has(&name("post_attention_norm")) {
            y = self.norm(&name("post_attention_norm"), &y);
        }
        let key = format!("{}.use_parallel_residual", self.architecture);
        let parallel = self.architecture == "gptneox"
            && self.gguf.metadata().boolean(&key).unwrap() != Some(false);
        let f = match (self.has(&name("ffn_norm")), parallel) {
            (false, _) => a,
            (true, false) => self.norm(&name("ffn_norm"), &add(x, &y)),
            (true, true) => self.norm(&name("ffn_norm"), x),
        };
        let mut z = self.feed_forward(layer, &f);
        if self.has(&name("post_ffw_norm")) {
            z = self.norm(&name("post_ffw_norm"), &z);
        }
        add(&add(x, &y), &z)
    }

    fn attention(
        &self,
        layer: usize,
        position: usize,
        x: &[f64],
        cache: &mut (Vec<Vec<f64>>, Vec<Vec<f64>>),
    ) -> Vec<f64> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let heads = self.integer("attention.head_count").unwrap();
        let kv_heads = self.integer("attention.head_count_kv").unwrap_or(heads);
        let key_dim = self
            .integer("attention.key_length")
            .unwrap_or(x.len() / heads);
        let value_dim = self
            .integer("attention.value_length")
            .unwrap_or(x.len() / heads);
        let (q, k, v) = (heads * key_dim, kv_heads * key_dim, kv_heads * value_dim);
        let (mut queries, mut keys, values) = if self.has(&name("attn_qkv")) {
            let all = self.linear(&name("attn_qkv"), x);
            assert_eq!(all.len(), q + k + v);
            (
                all[..q].to_vec(),
                all[q..q + k].to_vec(),
                all[q + k..].to_vec(),
            )
        } else {
            (
                self.linear(&name("attn_q"), x),
                self.linear(&name("attn_k"), x),
                self.linear(&name("attn_v"), x),
            )
        };
        for (norm, heads) in [("attn_q_norm", &mut queries), ("attn_k_norm", &mut keys)] {
            for head in heads.chunks_mut(key_dim) {
                if self.has(&name(norm)) {
                    let normed = self.norm(&name(norm), head);
                    head.copy_from_slice(&normed);
                }
                self.rotate(head, position);
            }
        }
        cache.0.push(keys);
        cache.1.push(values);
        let window = self
            .integer("attention.sliding_window")
            .unwrap_or(usize::MAX);
        let first = (position + 1).saturating_sub(window);
        let scale = self.float("attention.scale");
        let scale = scale.unwrap_or(1.0 / (key_dim as f64).sqrt());
        let mut mixed = Vec::new();
        for head in 0..heads {
            let group = head / (heads / kv_heads);
            let query = &queries[head * key_dim..(head + 1) * key_dim];
            let scores: Vec<f64> = (first..=position)
                .map(|p| {
                    let key = &cache.0[p][group * key_dim..(group + 1) * key_dim];
                    query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() * scale
                })
                .collect();
            let weights = softmax(&scores);
            for i in 0..value_dim {
                mixed.push(
                    (first..=position)
                        .zip(&weights)
                        .map(|(p, weight)| weight * cache.1[p][group * value_dim + i])
                        .sum(),
                );
            }
        }
        self.linear(&name("attn_output"), &mixed)
    }

    fn feed_forward(&self, layer: usize, x: &[f64]) -> Vec<f64> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let hidden = self.integer("feed_forward_length").unwrap();
        let count = self.integer("expert_count").unwrap_or(0);
        if count == 0 {
            let up = self.linear(&name("ffn_up"), x);
            let (gate, up) = if self.has(&name("ffn_gate")) {
                (Some(self.linear(&name("ffn_gate"), x)), up)
            } else if up.len() == 2 * hidden {
                (Some(up[..hidden].to_vec()), up[hidden..].to_vec())
            } else {
                (None, up)
            };
            let h = self.activate(gate.as_deref(), &up);
            return self.linear(&name("ffn_down"), &h);
        }
        let used = self.integer("expert_used_count").unwrap();
        let probabilities = softmax(&self.linear(&name("ffn_gate_inp"), x));
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
        order.truncate(used);
        let total: f64 = order.iter().map(|expert| probabilities[*expert]).sum();
        let mut sum = vec![0.0; x.len()];
        for expert in order {
            let project = |part: &str, x: &[f64], rows: usize| {
                if self.has(&format!("{}_exps", name(part))) {
                    let rows = expert * rows..(expert + 1) * rows;
                    self.linear_rows(&format!("{}_exps", name(part)), rows, x)
                } else {
                    self.linear(&format!("{}.{expert}", name(part)), x)
                }
            };
            let gate = project("ffn_gate", x, hidden);
            let up = project("ffn_up", x, hidden);
            let out = project("ffn_down", &self.activate(Some(&gate), &up), x.len());
            for (sum, out) in sum.iter_mut().zip(out) {
                *sum += probabilities[expert] / total * out;
            }
        }
        sum
    }

    fn activate(&self, gate: Option<&[f64]>, up: &[f64]) -> Vec<f64> {
        let silu = |x: f64| x / (1.0 + (-x).exp());
        let gelu = |x: f64| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            0.5 * x * (1.0 + inner.tanh())
        };
        let f = |x: f64| match self.architecture.as_str() {
            "gptneox" => gelu(x),
            _ => silu(x),
        };
        match gate {
            Some(gate) => gate.iter().zip(up).map(|(g, u)| f(*g) * u).collect(),
            None => up.iter().map(|u| f(*u)).collect(),
        }
    }
}

/// `exp(x) / sum of exp(x)`.
pub fn softmax(x: &[f64]) -> Vec<f64> {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = x.iter().map(|x| (x - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// `sum of p log(p / q)` for the distributions of two rows of logits.
pub fn divergence(p: &[f64], q: &[f64]) -> f64 {
    let (p, q) = (log_softmax(p), log_softmax(q));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn log_softmax(x: &[f64]) -> Vec<f64> {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = x.iter().map(|x| (x - most).exp()).sum();
    x.iter().map(|x| x - most - sum.ln()).collect()
}

/// The standard deviation of a row of logits.
pub fn deviation(x: &[f64]) -> f64 {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    (x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / x.len() as f64).sqrt()
}

/// The largest difference between two rows, as a share of the deviation of the first.
pub fn distance(exact: &[f64], found: &[f32]) -> f64 {
    let most = exact
        .iter()
        .zip(found)
        .map(|(e, f)| (e - f64::from(*f)).abs())
        .fold(0.0, f64::max);
    assert_eq!(exact.len(), found.len());
    assert!(found.iter().all(|logit| logit.is_finite()));
    most / deviation(exact)
}
