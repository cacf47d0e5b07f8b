//! IQ4_NL: 32 weights of 4 bits that name one of sixteen unevenly spaced levels, with one scale;
//! weight = scale × level.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::activations::START_OFFSET;
use crate::isa::Lanes;
use crate::unpack::{BlockRows, Signed32, Sink, Unpack, joined, nibbles};

use super::search::levels::{self, Levels};
use super::{Block, Half, block_size, pack};

/// Weights in a block.
const WEIGHTS: usize = 32;

/// What the codes stand for, in IQ4_NL and IQ4_XS: denser near zero, as weights are.
pub(crate) const LEVELS: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// [`LEVELS`] for the searches.
pub(crate) struct Uneven;

impl Levels for Uneven {
    const LARGEST: f32 = 127.0;

    #[inline(always)]
    fn nearest(v: f32) -> f32 {
        // Each middle between two levels that lies below `v` adds their distance.
        let mut level = f32::from(LEVELS[0]);
        for pair in LEVELS.windows(2) {
            let (below, above) = (f32::from(pair[0]), f32::from(pair[1]));
            level += if v > 0.5 * (below + above) {
                above - below
            } else {
                0.0
            };
        }
        level
    }
}

/// The code of a level.
pub(crate) fn code(level: i8) -> u8 {
    LEVELS.partition_point(|&other| other < level) as u8
}

/// 18 bytes, 4.5 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Iq4Nl {
    /// The scale.
    pub(crate) scale: Half,
    /// Byte i: high nibble = code i + 16 | low nibble = code i.
    pub(crate) codes: [u8; WEIGHTS / 2],
}

block_size!(Iq4Nl, 18);

impl Block for Iq4Nl {
    const WEIGHTS: usize = WEIGHTS;

    fn decode(&self, out: &mut [f32]) {
        let scale = self.scale.to_f32();
        for (i, byte) in self.codes.iter().enumerate() {
            out[i] = scale * f32::from(LEVELS[usize::from(byte & 15)]);
            out[i + 16] = scale * f32::from(LEVELS[usize::from(byte >> 4)]);
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let scale = Half::scale(levels::scale::<Uneven>(weights, importance));
        let mut values = [0; WEIGHTS];
        levels::quantize::<Uneven>(weights, scale.to_f32(), &mut values);
        Iq4Nl {
            scale,
            codes: pack::nibbles(&values.map(code)),
        }
    }
}

/// Levels as they are, and raised as [`Lanes::dot`] may want them.
pub(crate) struct Table([[i8; 16]; 2]);

impl Table {
    pub(crate) const fn new(levels: &[i8; 16]) -> Table {
        let mut raised = *levels;
        let mut i = 0;
        while i < raised.len() {
            // Adding 128 to a byte flips its sign bit.
            raised[i] ^= START_OFFSET as i8;
            i += 1;
        }
        Table([*levels, raised])
    }

    /// The levels that codes stand for, as [`crate::unpack::Sink::raised32`] takes them.
    #[inline(always)]
    pub(crate) fn raised<S: Lanes>(&self, simd: S, mut codes: [S::Int; 8]) -> [S::Int; 8] {
        let table = &self.0[(S::SIGNED_OFFSET == START_OFFSET) as usize];
        for codes in &mut codes {
            *codes = simd.table16(table, *codes);
        }
        codes
    }
}

/// [`LEVELS`] to look up.
pub(crate) static TABLE: Table = Table::new(&LEVELS);

impl Unpack for Iq4Nl {
    type Layout = Signed32;

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        let scale = simd.half_to_float(blocks.half(simd, offset_of!(Iq4Nl, scale)));
        let [low, high] = nibbles(simd, blocks.words4(simd, offset_of!(Iq4Nl, codes)));
        sink.raised32(0, TABLE.raised(simd, joined(low, high)), scale);
    }
}
