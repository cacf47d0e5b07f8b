//! The table of weight formats: each fact about a format is written here or in its file, once.

use zerocopy::FromBytes;

use crate::formats::{self, Block};
use crate::matmul::Weights;

/// One row per format: its number in GGUF files, its name there, and its block.
macro_rules! formats {
    ($($id:literal $name:ident $($block:ident)::+;)*) => {
        /// A weight format that yareta computes with, named as in GGUF files.
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Format {
            $(#[doc = concat!("Type ", $id, " of GGUF files.")] $name,)*
        }

        impl Format {
            /// Every format, by rising [`Format::id`].
            pub const ALL: [Format; [$($id),*].len()] = [$(Format::$name),*];

            /// The format's number in GGUF files.
            pub const fn id(self) -> u32 {
                match self { $(Format::$name => $id,)* }
            }

            /// The format's name, such as `Q4_K`.
            pub const fn name(self) -> &'static str {
                match self { $(Format::$name => stringify!($name),)* }
            }

            /// Weights in a block.
            pub const fn block_len(self) -> usize {
                match self { $(Format::$name => <formats::$($block)::+ as Block>::WEIGHTS,)* }
            }

            /// Bytes of a block.
            pub const fn block_bytes(self) -> usize {
                match self { $(Format::$name => size_of::<formats::$($block)::+>(),)* }
            }

            /// Runs `task`, compiled for the format's block.
            pub(crate) fn run<T: BlockTask>(self, task: T) -> T::Output {
                match self { $(Format::$name => task.run::<formats::$($block)::+>(),)* }
            }
        }
    };
}

formats! {
    0 F32 F32;
    1 F16 F16;
    2 Q4_0 q4_0::Q4_0;
    3 Q4_1 q4_1::Q4_1;
    6 Q5_0 q5_0::Q5_0;
    7 Q5_1 q5_1::Q5_1;
    8 Q8_0 q8_0::Q8_0;
    10 Q2_K q2_k::Q2K;
    11 Q3_K q3_k::Q3K;
    12 Q4_K q4_k::Q4K;
    13 Q5_K q5_k::Q5K;
    14 Q6_K q6_k::Q6K;
    15 Q8_K q8_k::Q8K;
    16 IQ2_XXS iq2_xxs::Iq2Xxs;
    17 IQ2_XS iq2_xs::Iq2Xs;
    18 IQ3_XXS iq3_xxs::Iq3Xxs;
    19 IQ1_S iq1_s::Iq1S;
    20 IQ4_NL iq4_nl::Iq4Nl;
    21 IQ3_S iq3_s::Iq3S;
    22 IQ2_S iq2_s::Iq2S;
    23 IQ4_XS iq4_xs::Iq4Xs;
    29 IQ1_M iq1_m::Iq1M;
    30 BF16 Bf16;
    34 TQ1_0 tq1_0::Tq1_0;
    35 TQ2_0 tq2_0::Tq2_0;
    39 MXFP4 mxfp4::Mxfp4;
}

/// Something to do with weights, written once for every format.
pub(crate) trait BlockTask {
    /// What it returns.
    type Output;

    /// Does it with the weights in blocks of type `B`.
    fn run<B: Block + Weights>(self) -> Self::Output;
}

impl Format {
    /// The format of number `id` in GGUF files; `None` if yareta does not compute with it.
    pub fn from_id(id: u32) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.id() == id)
    }

    /// Bytes of a row of `cols` weights; `None` if `cols` is not a number of whole blocks, or the
    /// bytes cannot be counted.
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if cols.is_multiple_of(self.block_len()) {
            (cols / self.block_len()).checked_mul(self.block_bytes())
        } else {
            None
        }
    }

    /// Bits that a weight takes in a file, scales included.
    pub fn bits_per_weight(self) -> f64 {
        8.0 * self.block_bytes() as f64 / self.block_len() as f64
    }

    /// Whether a weight is stored as a float of its own, without scales.
    pub const fn is_float(self) -> bool {
        self.block_len() == 1
    }

    /// Writes the weights in `bytes` to `out`.
    ///
    /// # Panics
    ///
    /// If `bytes` is not [`Format::row_bytes`] of `out.len()` long.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(Some(bytes.len()), self.row_bytes(out.len()), "{self}");
        self.run(Decode { bytes, out });
    }
}

impl Format {
    /// Writes to `out` blocks that mean about `weights`: decoded, they are near to them.
    ///
    /// Where `importance` is given, errors of a weight count as many times as its importance says;
    /// the mean square of the activations that a weight is multiplied with is a good one. Numbers
    /// that a block cannot hold become the nearest that it can; what is not a number becomes 0,
    /// except in float formats, and importances that are negative or not numbers count as 0.
    ///
    /// The bytes depend on the arguments alone, not on the machine.
    ///
    /// # Panics
    ///
    /// If `out` is not [`Format::row_bytes`] of `weights.len()` long, or `importance` is not as
    /// long as `weights`.
    pub fn encode(self, weights: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        assert_eq!(Some(out.len()), self.row_bytes(weights.len()), "{self}");
        if let Some(importance) = importance {
            assert_eq!(importance.len(), weights.len());
        }
        self.run(Encode {
            weights,
            importance,
            out,
        });
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The bytes as blocks; bytes behind the last whole block are left out.
pub(crate) fn blocks<B: Block>(bytes: &[u8]) -> &[B] {
    // A block has alignment 1 and is not of size 0, so this never fails.
    <[B]>::ref_from_prefix_with_elems(bytes, bytes.len() / size_of::<B>())
        .map_or(&[], |(blocks, _)| blocks)
}

struct Decode<'a> {
    bytes: &'a [u8],
    out: &'a mut [f32],
}

impl BlockTask for Decode<'_> {
    type Output = ();

    fn run<B: Block + Weights>(self) {
        for (block, out) in blocks::<B>(self.bytes)
            .iter()
            .zip(self.out.chunks_exact_mut(B::WEIGHTS))
        {
            block.decode(out);
        }
    }
}

struct Encode<'a> {
    weights: &'a [f32],
    importance: Option<&'a [f32]>,
    out: &'a mut [u8],
}

impl BlockTask for Encode<'_> {
    type Output = ();

    fn run<B: Block + Weights>(self) {
        let (mut weights, mut importance) = ([0.0; formats::SUPER], [1.0; formats::SUPER]);
        let (weights, importance) = (&mut weights[..B::WEIGHTS], &mut importance[..B::WEIGHTS]);
        let blocks = self.out.chunks_exact_mut(size_of::<B>());
        for (i, out) in blocks.enumerate() {
            let range = i * B::WEIGHTS..(i + 1) * B::WEIGHTS;
            weights.copy_from_slice(&self.weights[range.clone()]);
            if B::WEIGHTS > 1 {
                clean_weights(weights, B::LIMIT);
                if let Some(given) = self.importance {
                    clean_importance(&given[range], importance);
                }
            }
            out.copy_from_slice(B::encode(weights, importance).as_bytes());
        }
    }
}

/// Makes weights finite and at most `limit` in magnitude.
fn clean_weights(weights: &mut [f32], limit: f32) {
    for x in weights {
        *x = if x.is_nan() {
            0.0
        } else {
            x.clamp(-limit, limit)
        };
    }
}

/// Writes importances from 1e-5 to 1 in the proportions of `given` to `out`. The floor keeps a
/// weight without importance from making a sum zero.
fn clean_importance(given: &[f32], out: &mut [f32]) {
    // What is not a number is not above 0 either.
    let clean = |importance: f32| {
        if importance > 0.0 {
            importance.min(1e30)
        } else {
            0.0
        }
    };
    let most = given.iter().copied().map(clean).fold(0.0, f32::max);
    for (out, &given) in out.iter_mut().zip(given) {
        *out = if most > 0.0 {
            (clean(given) / most).max(1e-5)
        } else {
            1.0
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_and_lead_back() {
        assert!(Format::ALL.is_sorted_by(|a, b| a.id() < b.id()));
        for format in Format::ALL {
            assert_eq!(Format::from_id(format.id()), Some(format));
        }
        assert_eq!(Format::from_id(4), None);
        assert_eq!(Format::from_id(u32::MAX), None);
    }

    #[test]
    fn rows_are_whole_blocks() {
        assert_eq!(Format::Q4_K.name(), "Q4_K");
        assert_eq!(Format::Q4_K.bits_per_weight(), 4.5);
        assert_eq!(Format::Q4_K.row_bytes(512), Some(288));
        assert_eq!(Format::Q4_K.row_bytes(0), Some(0));
        assert_eq!(Format::Q4_K.row_bytes(500), None);
        assert_eq!(Format::F32.row_bytes(usize::MAX), None);
    }
}
