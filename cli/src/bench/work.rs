//! How much a model has to do for a token: bytes to read and products to add.

use yareta::Model;
use yareta::gguf::TensorInfo;

/// The work of one token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    /// Bytes of weights that generating a token reads.
    pub bytes: f64,
    /// Products with quantized weights of a token of a prompt, of which only the last has logits.
    pub int8: f64,
    /// The same with float weights.
    pub float: f64,
}

impl Work {
    /// The work of a token of `model`, apart from that with keys and values.
    pub fn of(model: &Model) -> Work {
        let gguf = model.gguf();
        // A model without a head of its own multiplies with the embeddings, of which it otherwise
        // reads one row.
        let tied = gguf.tensor("output.weight").is_none();
        let used = used_experts(model);
        let mut work = Work::default();
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
            let products = tensor.elements() as f64 * share;
            match is_float(tensor) {
                true => work.float += products,
                false => work.int8 += products,
            }
        }
        work
    }
}

fn is_matrix(tensor: &TensorInfo) -> bool {
    tensor.shape().len() >= 2
}

fn is_float(tensor: &TensorInfo) -> bool {
    tensor.tensor_type().block_len() == 1
}

fn is_single_expert(name: &str) -> bool {
    let mut parts = name.rsplit('.');
    let number = parts.nth(1).unwrap_or_default();
    let kind = parts.next().unwrap_or_default();
    number.parse::<u32>().is_ok() && kind.starts_with("ffn_")
}

/// The share of the experts that a token uses.
fn used_experts(model: &Model) -> f64 {
    let metadata = model.gguf().metadata();
    let number = |name: &str| {
        let key = format!("{}.{name}", model.architecture());
        metadata.u32(&key).ok().flatten().map(f64::from)
    };
    match (number("expert_used_count"), number("expert_count")) {
        (Some(used), Some(count)) if count > 0.0 => used / count,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::is_single_expert;

    #[test]
    fn experts_are_told_by_their_names() {
        assert!(is_single_expert("blk.0.ffn_up.3.weight"));
        assert!(!is_single_expert("blk.0.ffn_up.weight"));
        assert!(!is_single_expert("blk.12.attn_q.weight"));
        assert!(!is_single_expert("output.weight"));
        assert!(!is_single_expert(""));
    }
}
