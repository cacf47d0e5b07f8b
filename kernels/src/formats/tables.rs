//! Codebook points looked up as bytes, where there are [`Lanes::BYTE_TABLES`]: the other way, beside
//! [`super::points`], that the IQ1, IQ2 and IQ3 formats unpack.
//!
//! A table of bytes is looked up in registers, four points of each row at once, where a table of
//! words is read from memory, each point for itself. So a point is kept in two bytes: of eight
//! weights of three levels the first four in one and the last four in the other, two bits each; of
//! four weights of eight levels two in each, as nibbles. Fields of bits of these bytes, moved to
//! bytes of their own, number the levels.

use super::grids::{self, Grid};
use super::points::digit;
use crate::isa::{ByteTables, Lanes};

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

/// The codes of four points of eight weights, from their two bytes.
#[inline(always)]
pub(super) fn codes_of_eights<S: Lanes>(
    simd: S,
    levels: &Levels,
    points: [S::Int; 2],
) -> [S::Int; 8] {
    let mut codes = [points[0]; 8];
    for p in 0..4 {
        for half in 0..2 {
            let numbers = simd.fields(points[half], steps(8 * p, 2));
            codes[2 * p + half] = simd.lookup64(levels, numbers);
        }
    }
    codes
}

/// The codes of eight points of four weights, from their two bytes, of four points at a time.
#[inline(always)]
pub(super) fn codes_of_fours<S: Lanes>(
    simd: S,
    levels: &Levels,
    points: [[S::Int; 2]; 2],
) -> [S::Int; 8] {
    let mut codes = [points[0][0]; 8];
    for (four, both) in points.into_iter().enumerate() {
        // The two bytes of a point side by side.
        let pairs = [simd.pick(both, [0, 4, 1, 5]), simd.pick(both, [2, 6, 3, 7])];
        for p in 0..4 {
            let numbers = simd.fields(pairs[p / 2], steps(16 * (p % 2), 4));
            codes[4 * four + p] = simd.lookup64(levels, numbers);
        }
    }
    codes
}

/// Makes the raised codes negative whose bits in `signs` are set, in the order of the weights.
#[inline(always)]
pub(super) fn signed<S: Lanes>(simd: S, mut codes: [S::Int; 8], signs: S::Int) -> [S::Int; 8] {
    // 256 - (128 + code) is 128 - code.
    let zero = simd.splat_int(0);
    for (n, codes) in codes.iter_mut().enumerate() {
        *codes = simd.subtract_where((signs, steps(4 * n, 1)), (zero, *codes), *codes);
    }
    codes
}
