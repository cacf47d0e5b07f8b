//! One file per weight format: the bit diagram, the block and its verbs.
//!
//! A format cuts a row of weights into blocks of [`Block::WEIGHTS`] weights. `decode` defines what
//! a block means, bit for bit; `encode` chooses a good block for given weights. How blocks are
//! multiplied is not known here.

mod floats;
pub(crate) mod grids;
mod half;
pub(crate) mod iq1_m;
pub(crate) mod iq1_s;
pub(crate) mod iq2_s;
pub(crate) mod iq2_xs;
pub(crate) mod iq2_xxs;
pub(crate) mod iq3_s;
pub(crate) mod iq3_xxs;
pub(crate) mod iq4_nl;
pub(crate) mod iq4_xs;
pub(crate) mod mxfp4;
mod pack;
mod points;
pub(crate) mod q2_k;
pub(crate) mod q3_k;
pub(crate) mod q4_0;
pub(crate) mod q4_1;
pub(crate) mod q4_k;
pub(crate) mod q5_0;
pub(crate) mod q5_1;
pub(crate) mod q5_k;
pub(crate) mod q6_k;
pub(crate) mod q8_0;
pub(crate) mod q8_k;
pub(crate) mod scales;
mod search;
mod tables;
mod ternary;
pub(crate) mod tq1_0;
pub(crate) mod tq2_0;

pub(crate) use floats::{Bf16, F16, F32};
pub(crate) use half::Half;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Weights in a super-block, the block of every format whose name ends in `K`, `S`, `M` or `_0`
/// after `TQ`.
pub(crate) const SUPER: usize = 256;

/// A block of weights as it lies in a file: any bytes are a block, at any alignment.
pub(crate) trait Block:
    FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + Sized
{
    /// Weights in a block.
    const WEIGHTS: usize;

    /// The largest magnitude that is encoded as it is; larger ones are encoded as this one. No
    /// block with a scale of 16 bits reaches it, and the squares that searches need stay finite.
    const LIMIT: f32 = 1e9;

    /// Writes the block's weights to `out`, which holds [`Block::WEIGHTS`] floats.
    fn decode(&self, out: &mut [f32]);

    /// A block that means about `weights`; errors count as much as `importance` says.
    ///
    /// There are [`Block::WEIGHTS`] of both. Unless a block is one float, weights are finite and
    /// at most [`Block::LIMIT`] in magnitude, and importances are from 1e-5 to 1.
    fn encode(weights: &[f32], importance: &[f32]) -> Self;
}

/// States the size of a block in bytes and its number of weights, and derives what any block
/// needs to be cast from bytes.
macro_rules! block_size {
    ($block:ty, $bytes:expr) => {
        const _: () = assert!(size_of::<$block>() == $bytes && align_of::<$block>() == 1);
    };
}
pub(crate) use block_size;
