//! Which tensor of a model gets which type: the mixes of weight formats that files come in.
//!
//! A mix is named after the format of most of its weights. The rules are those by which the
//! files that people download were made, so that a synthetic file has the size and the work of
//! a real one.

use yareta::gguf::TensorType;

use super::shapes::Shape;

/// A choice of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    name: &'static str,
    file_type: Option<u32>, // `general.file_type`, where there is a number for it
    base: TensorType,
    value: Rule,
    down: Rule,
    attention_output: Rule,
}

/// What a matrix is in its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Embedding,
    Output,
    Query,
    Key,
    Value,
    /// q, k and v in one.
    FusedAttention,
    AttentionOutput,
    Gate,
    Up,
    Down,
}

/// Where a kind of matrix departs from the mix's base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Base,
    All(TensorType),
    /// In the first layers, given as a number of them.
    First(u64, TensorType),
    /// In the first layers, given as one part in so many of all.
    FirstPart(u64, TensorType),
    /// The first in the first two layers, the second elsewhere.
    FirstTwo(TensorType, TensorType),
    /// The first in the first part in sixteen of all layers, the second elsewhere.
    FirstSixteenth(TensorType, TensorType),
    /// In the first and the last eighth of the layers and in every third between.
    More(TensorType),
    /// The first where at least four heads share a key, the second elsewhere.
    Grouped(TensorType, TensorType),
}

const Q3: TensorType = TensorType::Q3_K;
const Q4: TensorType = TensorType::Q4_K;
const Q5: TensorType = TensorType::Q5_K;
const Q6: TensorType = TensorType::Q6_K;

/// The mixes of more than one format: name, number, base, value, down, attention output.
const MIXES: &[Mix] = &[
    row(
        ("Q2_K", 10, TensorType::Q2_K),
        [Rule::Grouped(Q4, Q3), Rule::All(Q3), Rule::All(Q3)],
    ),
    row(("Q3_K_S", 11, Q3), [Rule::Base; 3]),
    row(
        ("Q3_K_M", 12, Q3),
        [
            Rule::FirstTwo(Q5, Q4),
            Rule::FirstSixteenth(Q5, Q4),
            Rule::All(Q4),
        ],
    ),
    row(
        ("Q3_K_L", 13, Q3),
        [Rule::All(Q5), Rule::All(Q5), Rule::All(Q5)],
    ),
    row(
        ("Q4_K_S", 14, Q4),
        [Rule::First(4, Q5), Rule::FirstPart(8, Q5), Rule::Base],
    ),
    row(
        ("Q4_K_M", 15, Q4),
        [Rule::More(Q6), Rule::More(Q6), Rule::Base],
    ),
    row(("Q5_K_S", 16, Q5), [Rule::Base; 3]),
    row(
        ("Q5_K_M", 17, Q5),
        [Rule::More(Q6), Rule::More(Q6), Rule::Base],
    ),
];

/// The numbers by which `general.file_type` names files of one format.
const FILE_TYPES: &[(TensorType, u32)] = &[
    (TensorType::F32, 0),
    (TensorType::F16, 1),
    (TensorType::Q4_0, 2),
    (TensorType::Q4_1, 3),
    (TensorType::Q8_0, 7),
    (TensorType::Q5_0, 8),
    (TensorType::Q5_1, 9),
    (TensorType::Q6_K, 18),
    (TensorType::IQ2_XXS, 19),
    (TensorType::IQ2_XS, 20),
    (TensorType::IQ3_XXS, 23),
    (TensorType::IQ1_S, 24),
    (TensorType::IQ4_NL, 25),
    (TensorType::IQ3_S, 26),
    (TensorType::IQ2_S, 28),
    (TensorType::IQ4_XS, 30),
    (TensorType::IQ1_M, 31),
    (TensorType::BF16, 32),
    (TensorType::TQ1_0, 36),
    (TensorType::TQ2_0, 37),
    (TensorType::MXFP4, 38),
];

const fn row(
    (name, file_type, base): (&'static str, u32, TensorType),
    [value, down, attention_output]: [Rule; 3],
) -> Mix {
    Mix {
        name,
        file_type: Some(file_type),
        base,
        value,
        down,
        attention_output,
    }
}

impl Mix {
    /// The mix of that name, in any case: `Q4_K_M`, or a format, which all matrices get but the
    /// output.
    pub fn from_name(name: &str) -> Option<Mix> {
        let named = |mix: &&Mix| mix.name.eq_ignore_ascii_case(name);
        if let Some(mix) = MIXES.iter().find(named) {
            return Some(*mix);
        }
        let base = TensorType::from_name(name)?;
        base.format()?;
        let known = FILE_TYPES.iter().find(|(known, _)| *known == base);
        Some(Mix {
            name: base.name(),
            file_type: known.map(|(_, number)| *number),
            base,
            value: Rule::Base,
            down: Rule::Base,
            attention_output: Rule::Base,
        })
    }

    /// The names that [`from_name`](Mix::from_name) knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let formats = TensorType::all().filter(|kind| kind.format().is_some());
        let mixes = MIXES.iter().map(|mix| mix.name);
        // Q2_K is a mix and a format; as a name it is the mix.
        let is_mix = |name: &str| MIXES.iter().any(|mix| mix.name == name);
        let formats = formats.map(TensorType::name);
        mixes.chain(formats.filter(move |name| !is_mix(name)))
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its number for `general.file_type`.
    pub fn file_type(&self) -> Option<u32> {
        self.file_type
    }

    /// The type of a matrix of that role with rows of `cols` weights, in `layer` of `shape`.
    pub fn tensor_type(&self, role: Role, cols: u64, layer: u64, shape: &Shape) -> TensorType {
        fitting(self.wanted(role, layer, shape), cols)
    }

    /// The type of a matrix in a file in which all have the mix's base.
    pub fn base_type(&self, cols: u64) -> TensorType {
        fitting(self.base, cols)
    }

    fn wanted(&self, role: Role, layer: u64, shape: &Shape) -> TensorType {
        let eight_experts = shape.experts.is_some_and(|(count, _)| count == 8);
        match role {
            Role::Output => self.output(),
            Role::Embedding if shape.tied => self.output(),
            // Small beside eight experts, and used by all of them.
            Role::Key | Role::Value if eight_experts && self.is_k_mix() => TensorType::Q8_0,
            Role::AttentionOutput if eight_experts && (self.base == Q3 || self.base == Q4) => Q5,
            Role::Value => match self.value.apply(self.base, layer, shape) {
                // Eight heads share each value of the 70B models, so that it is small there.
                Q3 | Q4 if shape.layers == 80 => Q5,
                wanted => wanted,
            },
            Role::Down => self.down.apply(self.base, layer, shape),
            Role::AttentionOutput => self.attention_output.apply(self.base, layer, shape),
            _ => self.base,
        }
    }

    /// The output matrix, whose errors reach the logits undiminished, keeps more bits.
    fn output(&self) -> TensorType {
        match self.base {
            TensorType::F32 | TensorType::F16 | TensorType::BF16 => self.base,
            TensorType::Q8_0 | TensorType::Q8_K => self.base,
            _ => Q6,
        }
    }

    fn is_k_mix(&self) -> bool {
        MIXES.iter().any(|mix| mix.name == self.name)
    }
}

impl Rule {
    fn apply(self, base: TensorType, layer: u64, shape: &Shape) -> TensorType {
        let layers = shape.layers;
        match self {
            Rule::Base => base,
            Rule::All(other) => other,
            Rule::First(count, other) if layer < count => other,
            Rule::FirstPart(parts, other) if layer < layers / parts => other,
            Rule::First(..) | Rule::FirstPart(..) => base,
            Rule::FirstTwo(first, other) => [first, other][usize::from(layer >= 2)],
            Rule::FirstSixteenth(first, other) => [first, other][usize::from(layer >= layers / 16)],
            Rule::More(other) => {
                let eighth = layers / 8;
                let between = layer.wrapping_sub(eighth) % 3 == 2;
                let more = layer < eighth || layer >= 7 * layers / 8 || between;
                if more { other } else { base }
            }
            Rule::Grouped(grouped, other) => {
                [grouped, other][usize::from(shape.heads / shape.kv_heads < 4)]
            }
        }
    }
}

/// The type itself if rows of `cols` weights are whole blocks of it, or else the nearest with
/// smaller blocks.
fn fitting(wanted: TensorType, cols: u64) -> TensorType {
    let fits = |kind: TensorType| cols.is_multiple_of(kind.block_len() as u64);
    if fits(wanted) {
        return wanted;
    }
    let smaller = match wanted {
        Q4 => TensorType::Q5_0,
        Q5 => TensorType::Q5_1,
        Q6 | TensorType::Q8_K => TensorType::Q8_0,
        _ => TensorType::IQ4_NL,
    };
    if fits(smaller) {
        smaller
    } else {
        TensorType::F16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_its_mix() {
        let names: Vec<&str> = Mix::names().collect();
        assert!(names.len() > 30, "{names:?}");
        for name in names {
            assert_eq!(Mix::from_name(name).unwrap().name(), name);
        }
        assert_eq!(Mix::from_name("q4_k_m"), Mix::from_name("Q4_K_M"));
        assert_eq!(Mix::from_name("Q8_1"), None);
        assert_eq!(Mix::from_name(""), None);
    }

    #[test]
    fn rows_that_are_no_whole_blocks_get_smaller_blocks() {
        assert_eq!(fitting(Q6, 4096), Q6);
        assert_eq!(fitting(Q6, 576), TensorType::Q8_0);
        assert_eq!(fitting(TensorType::Q4_0, 48), TensorType::F16);
    }
}
