//! Codebook points in vectors whose lanes are rows: how the IQ1, IQ2 and IQ3 formats unpack.
//!
//! A point of eight weights is looked up as eight nibbles, so that one look-up gives all of them:
//! nibble 0 of byte i belongs to weight i, nibble 1 to weight i + 4. The lower three bits of a
//! nibble number the level; bit 3 is left for what else decides it, a sign or a shift. A table of
//! sixteen levels then turns nibbles into codes, four at a time. Where bytes can be looked up in
//! registers, [`super::tables`] is used instead.

use super::grids::Grid;
use crate::isa::Lanes;
use crate::unpack::nibbles;

/// The points of `grid`, which has `levels`, as nibbles.
pub(super) const fn eights<const POINTS: usize>(
    grid: &Grid<POINTS, 8>,
    levels: &[i8; 3],
) -> [u32; POINTS] {
    let mut table = [0; POINTS];
    let mut point = 0;
    while point < POINTS {
        let mut weight = 0;
        while weight < 8 {
            let digit = digit(levels, grid[point][weight]);
            table[point] |= digit << (8 * (weight % 4) + 4 * (weight / 4));
            weight += 1;
        }
        point += 1;
    }
    table
}

/// The points of `grid`, which has `levels`: the level of weight i in byte i. Two points make
/// eight nibbles when the second is shifted by four bits.
pub(super) const fn fours<const POINTS: usize>(
    grid: &Grid<POINTS, 4>,
    levels: &[i8; 8],
) -> [u32; POINTS] {
    let mut table = [0; POINTS];
    let mut point = 0;
    while point < POINTS {
        let mut weight = 0;
        while weight < 4 {
            table[point] |= digit(levels, grid[point][weight]) << (8 * weight);
            weight += 1;
        }
        point += 1;
    }
    table
}

/// What nibbles with a sign in bit 3 stand for, where their lower bits number `levels`.
pub(super) const fn with_signs<const LEVELS: usize>(levels: &[i8; LEVELS]) -> [i8; 16] {
    let mut table = [0; 16];
    let mut level = 0;
    while level < LEVELS {
        table[level] = levels[level];
        table[level + 8] = -levels[level];
        level += 1;
    }
    table
}

pub(super) const fn digit(levels: &[i8], value: i8) -> u32 {
    let mut digit = 0;
    while levels[digit] != value {
        digit += 1;
    }
    digit as u32
}

/// Bit 3 of every nibble, where the sign of a weight goes.
const SIGN_BITS: i32 = 0x8888_8888_u32 as i32;

/// The signs of eight weights, bit i for weight i, in bit 3 of their nibbles. Further bits of the
/// lanes are ignored.
#[inline(always)]
pub(super) fn signs<S: Lanes>(simd: S, bits: S::Int) -> S::Int {
    let top = simd.splat_int(1 << 31);
    simd.or(
        seven_signs(simd, bits),
        simd.and(simd.shift_left::<24>(bits), top),
    )
}

/// The signs of eight weights from seven bits, as [`signs`]; the eighth makes the number of
/// minuses even.
#[inline(always)]
pub(super) fn even_signs<S: Lanes>(simd: S, bits: S::Int) -> S::Int {
    let seven = seven_signs(simd, bits);
    // Folded onto itself, the parity of all signs is in the top bit.
    let folded = simd.xor(seven, simd.shift_left::<16>(seven));
    let folded = simd.xor(folded, simd.shift_left::<8>(folded));
    let folded = simd.xor(folded, simd.shift_left::<4>(folded));
    simd.or(seven, simd.and(folded, simd.splat_int(1 << 31)))
}

#[inline(always)]
fn seven_signs<S: Lanes>(simd: S, bits: S::Int) -> S::Int {
    // Bit i must move by 3 + 7 (i mod 4). The product has copies of the seven bits moved by 3, 10,
    // 17 and 24, which do not overlap, and only the wanted copy of a bit is at a place that is 3
    // modulo 4.
    let copies = 1 << 3 | 1 << 10 | 1 << 17 | 1 << 24;
    let seven = simd.and(bits, simd.splat_int(0x7f));
    let spread = simd.multiply_int(seven, simd.splat_int(copies));
    simd.and(spread, simd.splat_int(SIGN_BITS))
}

/// The codes of eight weights from their nibbles.
#[inline(always)]
pub(super) fn codes<S: Lanes>(simd: S, levels: &[i8; 16], eight: S::Int) -> [S::Int; 2] {
    let [[low], [high]] = nibbles(simd, [eight]);
    [simd.table16(levels, low), simd.table16(levels, high)]
}

/// The bytes of each lane, each in the lowest byte of a lane, below rubbish.
#[inline(always)]
pub(super) fn byte_shifts<S: Lanes>(simd: S, word: S::Int) -> [S::Int; 4] {
    [
        word,
        simd.shift_right::<8>(word),
        simd.shift_right::<16>(word),
        simd.shift_right::<24>(word),
    ]
}

/// The four runs of seven bits of each lane, each in the lowest bits of a lane, below rubbish.
#[inline(always)]
pub(super) fn seven_bit_shifts<S: Lanes>(simd: S, word: S::Int) -> [S::Int; 4] {
    [
        word,
        simd.shift_right::<7>(word),
        simd.shift_right::<14>(word),
        simd.shift_right::<21>(word),
    ]
}

/// The nibbles of each lane as numbers, lowest first.
#[inline(always)]
pub(super) fn lane_nibbles<S: Lanes>(simd: S, word: S::Int) -> [S::Int; 8] {
    let mask = simd.splat_int(15);
    let mut nibbles = [
        word,
        simd.shift_right::<4>(word),
        simd.shift_right::<8>(word),
        simd.shift_right::<12>(word),
        simd.shift_right::<16>(word),
        simd.shift_right::<20>(word),
        simd.shift_right::<24>(word),
        simd.shift_right::<28>(word),
    ];
    for nibble in &mut nibbles {
        *nibble = simd.and(*nibble, mask);
    }
    nibbles
}

/// The scales of groups: `unit * (step + 1/2)`.
#[derive(Clone, Copy)]
pub(super) struct Stepped<S: Lanes> {
    unit: S::Float,
    half: S::Float,
}

impl<S: Lanes> Stepped<S> {
    /// Groups whose unit is `unit` times the block's `scale`.
    #[inline(always)]
    pub(super) fn new(simd: S, scale: S::Float, unit: f32) -> Self {
        Stepped {
            unit: simd.multiply_float(scale, simd.splat_float(unit)),
            half: simd.multiply_float(scale, simd.splat_float(0.5 * unit)),
        }
    }

    /// The scale of a group with this step.
    #[inline(always)]
    pub(super) fn scale(self, simd: S, step: S::Int) -> S::Float {
        simd.multiply_add_float(simd.to_float(step), self.unit, self.half)
    }

    /// The scales of both halves of the 32 weights number `i`, of a step for each 16.
    #[inline(always)]
    pub(super) fn pair(self, simd: S, steps: &[S::Int; 8], i: usize) -> [S::Float; 2] {
        [
            self.scale(simd, steps[2 * i]),
            self.scale(simd, steps[2 * i + 1]),
        ]
    }
}
