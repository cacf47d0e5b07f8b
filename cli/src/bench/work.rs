//! How much a model has to do for a token: bytes to read and products to add.

use yareta::Model;
use yareta::gguf::{TensorInfo, TensorType};

use super::machine::Products;

/// The work of one token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Bytes of weights that generating a token reads.
    pub bytes: f64,
    /// Products with weights of a token of a prompt, of which only the last has logits: those of the
    /// head and those that the last layer makes besides keys and values are not among them.
    pub products: Products,
    /// Products of a token's queries with the keys of one position, and of its weights with the
    /// values there, in all layers together but, for the same reason, the last.
    pub attention: f64,
    /// Positions that a token sees at most, if not all before it.
    pub window: Option<f64>,
}

impl Work {
    /// The work of a token of `model`, apart from that with keys and values.
    pub fn of(model: &Model) -> Work {
        let gguf = model.gguf();
        // A model without a head of its own multiplies with the embeddings, of which it otherwise
        // reads one row.
        let tied = gguf.tensor("output.weight").is_none();
        let used = used_experts(model);
        let window = number(model, "attention.sliding_window");
        let last = format!("blk.{}.", number(model, "block_count").unwrap_or(0.0) - 1.0);
        let mut work = Work {
            window: window.filter(|window| *window > 0.0),
            ..Work::default()
        };
        for tensor in gguf.tensors().iter().filter(|tensor| is_matrix(tensor)) {
            let name = tensor.name();
            let embeddings = name == "token_embd.weight";
            if embeddings && !tied {
                continue;
            }
            // The experts of a layer are one tensor of three dimensions, or a tensor each whose
            // name goes on with a number, as in `blk.0.ffn_up.3.weight`.
            let expert = name.contains("_exps.") || is_single_expert(name);
            let share = if expert { used } else { 1.0 };
            work.bytes += tensor.byte_len() as f64 * share;
            if embeddings || name == "output.weight" {
                continue;
            }
            let in_last = name.strip_prefix(&last);
            if name.ends_with(".attn_output.weight") && in_last.is_none() {
                // It is multiplied with the values of all heads, which are as long as queries.
                work.attention += 2.0 * tensor.shape()[0] as f64;
            }
            let used = match in_last {
                None | Some("attn_k.weight" | "attn_v.weight") => 1.0,
                Some("attn_qkv.weight") => keys_and_values(model),
                Some(_) => 0.0,
            };
            let products = tensor.elements() as f64 * share * used;
            let of_kind = match tensor.tensor_type() {
                TensorType::BF16 => &mut work.products.bf16,
                kind if kind.block_len() == 1 => &mut work.products.float,
                _ => &mut work.products.int8,
            };
            *of_kind += products;
        }
        work
    }

    /// The positions, its own included, that tokens from `first` on see, `count` of them, in their
    /// mean.
    pub fn positions(&self, first: usize, count: usize) -> f64 {
        let (first, count) = (first as f64, count as f64);
        let Some(window) = self.window else {
            return first + (count + 1.0) / 2.0;
        };
        // So many of them see fewer than the window: first + 1, first + 2, ….
        let narrow = (window - first).clamp(0.0, count);
        (narrow * (first + (narrow + 1.0) / 2.0) + (count - narrow) * window) / count
    }
}

fn is_matrix(tensor: &TensorInfo) -> bool {
    tensor.shape().len() >= 2
}

fn is_single_expert(name: &str) -> bool {
    let mut parts = name.rsplit('.');
    let number = parts.nth(1).unwrap_or_default();
    let kind = parts.next().unwrap_or_default();
    number.parse::<u32>().is_ok() && kind.starts_with("ffn_")
}

/// A number of the model's metadata.
fn number(model: &Model, name: &str) -> Option<f64> {
    let key = format!("{}.{name}", model.architecture());
    let number = model.gguf().metadata().u32(&key).ok().flatten();
    number.map(f64::from)
}

/// The share of the experts that a token uses.
fn used_experts(model: &Model) -> f64 {
    let number = |name| number(model, name);
    match (number("expert_used_count"), number("expert_count")) {
        (Some(used), Some(count)) if count > 0.0 => used / count,
        _ => 1.0,
    }
}

/// The share of keys and values in a matrix that gives queries as well.
fn keys_and_values(model: &Model) -> f64 {
    let number = |name| number(model, name);
    let heads = number("attention.head_count").unwrap_or(1.0);
    let of_both = 2.0 * number("attention.head_count_kv").unwrap_or(heads);
    of_both / (heads + of_both)
}

#[cfg(test)]
mod tests {
    use super::{Work, is_single_expert};

    #[test]
    fn positions_by_hand() {
        let all = Work::default();
        // The first four tokens see 1, 2, 3 and 4 positions; after ten they see 11 to 14.
        assert_eq!(all.positions(0, 4), 2.5);
        assert_eq!(all.positions(10, 4), 12.5);
        let window = Work {
            window: Some(3.0),
            ..all
        };
        // 1, 2, 3, 3.
        assert_eq!(window.positions(0, 4), 2.25);
        // 3, 3.
        assert_eq!(window.positions(2, 2), 3.0);
        assert_eq!(window.positions(100, 5), 3.0);
    }

    #[test]
    fn experts_are_told_by_their_names() {
        assert!(is_single_expert("blk.0.ffn_up.3.weight"));
        assert!(!is_single_expert("blk.0.ffn_up.weight"));
        assert!(!is_single_expert("blk.12.attn_q.weight"));
        assert!(!is_single_expert("output.weight"));
        assert!(!is_single_expert(""));
    }
}
