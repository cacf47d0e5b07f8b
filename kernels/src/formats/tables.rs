//! Codebook points looked up as bytes, where there are [`Lanes::BYTE_TABLES`]: the other way, beside
//! [`super::points`], that the IQ1, IQ2 and IQ3 formats unpack.
//!
//! A table of bytes is looked up in registers, four points of each row at once, where a table of
//! words is read from memory, each point for itself. So a point is kept in two bytes: of eight
//! weights of three levels the first four in one and the last four in the other, two bits each; of
//! four weights of eight levels two in each, as nibbles.
//!
//! A shift then brings the number of the same weight's level, of all four points, to the bottom of
//! their bytes, and one more look-up, which takes no notice of the bits above, makes it a code. So
//! codes come in another [`Order`] than their own; activations can be brought into it at less cost.

use super::grids::{self, Grid};
use super::points::digit;
use crate::isa::{ByteTables, Lanes};
use crate::unpack::Order;

/// The points of a codebook, in two bytes each.
pub(super) type Points<const POINTS: usize> = ByteTables<POINTS, 2>;

/// The codes of levels, whatever is in the bits above the level's number.
pub(super) type Levels = ByteTables<64, 1>;

/// The points of `grid`, which has `levels`: number of weight i in bits 2 i of the two bytes.
pub(super) const fn eights<const POINTS: usize>(
    grid: &Grid<POINTS, 8>,
    levels: &[i8; 3],
) -> Points<POINTS> {
    let mut table = [[0; POINTS]; 2];
    let mut point = 0;
    while point < POINTS {
        let mut weight = 0;
        while weight < 8 {
            let digit = digit(levels, grid[point][weight]) as u8;
            table[weight / 4][point] |= digit << (2 * (weight % 4));
            weight += 1;
        }
        point += 1;
    }
    ByteTables(table)
}

/// The points of `grid`, which has `levels`: number of weight i in nibble i of the two bytes.
pub(super) const fn fours<const POINTS: usize>(
    grid: &Grid<POINTS, 4>,
    levels: &[i8; 8],
) -> Points<POINTS> {
    let mut table = [[0; POINTS]; 2];
    let mut point = 0;
    while point < POINTS {
        let mut weight = 0;
        while weight < 4 {
            let digit = digit(levels, grid[point][weight]) as u8;
            table[weight / 2][point] |= digit << (4 * (weight % 2));
            weight += 1;
        }
        point += 1;
    }
    ByteTables(table)
}

/// The codes `levels`, numbered by the lowest two or three bits, and raised by 128: so they are
/// multiplied wherever there are byte tables.
pub(super) const fn levels<const LEVELS: usize>(levels: &[i8; LEVELS]) -> Levels {
    let mut table = [0; 64];
    let mut i = 0;
    while i < 64 {
        let level = i % LEVELS.next_power_of_two();
        if level < LEVELS {
            table[i] = levels[level] as u8 ^ 0x80;
        }
        i += 1;
    }
    ByteTables([table])
}

/// The signs of eight weights by seven of them.
static EVEN_SIGNS: ByteTables<128, 1> = {
    let mut table = [0; 128];
    let mut seven = 0;
    while seven < 128 {
        table[seven] = grids::even_signs(seven as u8);
        seven += 1;
    }
    ByteTables([table])
};

/// The signs of four times eight weights, from the lower seven bits of each byte; the eighth makes
/// the number of minuses even.
#[inline(always)]
pub(super) fn even_signs<S: Lanes, const W: usize>(simd: S, sevens: [S::Int; W]) -> [S::Int; W] {
    let found = simd.lookup_bytes(&EVEN_SIGNS, sevens, sevens);
    let mut signs = sevens;
    for (signs, [found]) in signs.iter_mut().zip(found) {
        *signs = found;
    }
    signs
}

/// The same from four runs of seven bits of each lane.
#[inline(always)]
pub(super) fn even_signs_of_runs<S: Lanes, const W: usize>(
    simd: S,
    mut words: [S::Int; W],
) -> [S::Int; W] {
    for word in &mut words {
        *word = simd.fields(*word, steps(0, 7));
    }
    even_signs(simd, words)
}

/// Four numbers, `step` apart from `first`.
#[inline(always)]
pub(super) const fn steps(first: usize, step: usize) -> [u8; 4] {
    let (first, step) = (first as u8, step as u8);
    [first, first + step, first + 2 * step, first + 3 * step]
}

/// The codes of four points of eight weights, from their two bytes, in the order of
/// [`Order::Halves`].
#[inline(always)]
pub(super) fn places_of_halves<S: Lanes>(
    simd: S,
    levels: &Levels,
    points: [S::Int; 2],
) -> [S::Int; 8] {
    let first = simd.pick(points, [0, 1, 4, 5]);
    let last = simd.pick(points, [2, 3, 6, 7]);
    places_of_eights(simd, levels, [first, last])
}

/// The codes of four points of eight weights, from their two bytes, in the order of
/// [`Order::Eights`].
#[inline(always)]
pub(super) fn places_of_eights<S: Lanes>(
    simd: S,
    levels: &Levels,
    [first, last]: [S::Int; 2],
) -> [S::Int; 8] {
    let mut codes = [
        first,
        simd.shift_right::<2>(first),
        simd.shift_right::<4>(first),
        simd.shift_right::<6>(first),
        last,
        simd.shift_right::<2>(last),
        simd.shift_right::<4>(last),
        simd.shift_right::<6>(last),
    ];
    for codes in &mut codes {
        *codes = simd.lookup64(levels, *codes);
    }
    codes
}

/// The codes of eight points of four weights, from the two bytes of the first four and of the last
/// four, in the order of [`Order::Fours`].
#[inline(always)]
pub(super) fn places_of_fours<S: Lanes>(
    simd: S,
    levels: &Levels,
    points: [[S::Int; 2]; 2],
) -> [S::Int; 8] {
    let mut codes = [points[0][0]; 8];
    for (codes, &both) in codes.chunks_exact_mut(2).zip(points.as_flattened()) {
        codes[0] = simd.lookup64(levels, both);
        codes[1] = simd.lookup64(levels, simd.shift_right::<4>(both));
    }
    codes
}

/// Makes the raised codes negative whose bits in `signs` are set, bit i for weight i.
#[inline(always)]
pub(super) fn signed<S: Lanes>(
    simd: S,
    order: Order,
    mut codes: [S::Int; 8],
    signs: S::Int,
) -> [S::Int; 8] {
    // 256 - (128 + code) is 128 - code.
    let zero = simd.splat_int(0);
    for (v, codes) in codes.iter_mut().enumerate() {
        let mut bits = [0; 4];
        for (j, bit) in bits.iter_mut().enumerate() {
            *bit = order.code(v, j) as u8;
        }
        *codes = simd.subtract_where((signs, bits), (zero, *codes), *codes);
    }
    codes
}
