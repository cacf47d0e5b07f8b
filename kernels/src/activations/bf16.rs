//! Activations that meet BF16 weights: rounded to bfloat16, two to a word or each in a float.
//!
//! An instruction that adds products of pairs of bfloat16 takes them as they are. Elsewhere
//! weights are widened as they are read, and activations lie widened in the order in which that
//! gives weights: of every sixteen pairs the second values, then the first ones.

use crate::formats::SUPER;
use crate::isa::WIDTH;

/// Values of a vector of pairs.
pub(crate) const PAIRED: usize = 2 * WIDTH;

/// Smaller activations count as zero. Others are multiples of 2⁻⁷⁹, as their mantissas have seven
/// bits.
pub(crate) const SMALLEST: f32 = 1.0 / (1u128 << 72) as f32;

/// The bits of a bfloat16 that weights must reach, or be zero, for no product or sum with such
/// activations to be too small for a normal float: 2⁻⁴⁰. They are then multiples of 2⁻⁴⁷; products,
/// sums of them, and what these are rounded to, are multiples of 2⁻¹²⁶, which is a normal float.
pub(crate) const SMALLEST_WEIGHT: u16 = (127 - 40) << 7;

/// The bits of the nearest bfloat16, ties to even, as those of a float.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    const UPPER: u32 = 0xffff_0000;
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & UPPER;
    // The payload of what is not a number may lie in the lower half alone.
    let quiet = (bits | 0x0040_0000) & UPPER;
    let sign = bits ^ magnitude;
    match () {
        () if magnitude > f32::INFINITY.to_bits() => quiet,
        () if magnitude < SMALLEST.to_bits() => sign,
        () => nearest,
    }
}

/// A block of values in pairs, the first the lower half, and zeros up to a whole vector of them; as
/// many words as are returned.
#[inline(always)]
pub(super) fn pairs(values: &[f32], words: &mut [i32; SUPER / 2]) -> usize {
    let mut padded = [0.0; SUPER];
    let all = whole(values, &mut padded);
    let vectors = words.as_chunks_mut::<WIDTH>().0.iter_mut();
    for (to, from) in vectors.zip(all.as_chunks::<PAIRED>().0) {
        for i in 0..WIDTH {
            to[i] = (rounded(from[2 * i + 1]) | rounded(from[2 * i]) >> 16) as i32;
        }
    }
    values.len().next_multiple_of(PAIRED) / 2
}

/// A block of values, of every sixteen pairs the second ones and then the first, and zeros up to a
/// whole number of sixteen; as many floats as are returned.
#[inline(always)]
pub(super) fn parted(values: &[f32], floats: &mut [f32; SUPER]) -> usize {
    let mut padded = [0.0; SUPER];
    let all = whole(values, &mut padded);
    let vectors = floats.as_chunks_mut::<PAIRED>().0.iter_mut();
    for (to, from) in vectors.zip(all.as_chunks::<PAIRED>().0) {
        for i in 0..WIDTH {
            to[i] = f32::from_bits(rounded(from[2 * i + 1]));
            to[WIDTH + i] = f32::from_bits(rounded(from[2 * i]));
        }
    }
    values.len().next_multiple_of(PAIRED)
}

/// A block of values, followed by zeros where it is not whole.
#[inline(always)]
fn whole<'a>(values: &'a [f32], padded: &'a mut [f32; SUPER]) -> &'a [f32; SUPER] {
    match values.first_chunk() {
        Some(whole) => whole,
        None => {
            padded[..values.len()].copy_from_slice(values);
            padded
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    #[test]
    fn values_become_the_nearest_of_sixteen_bits() {
        // Every upper half with lower halves around the middle.
        for upper in 0..=u16::MAX {
            for lower in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(u32::from(upper) << 16 | lower);
                let found = f32::from_bits(rounded(x));
                let expected = match x.abs() {
                    magnitude if magnitude < SMALLEST => bf16::from_f32(0.0f32.copysign(x)),
                    _ => bf16::from_f32(x),
                };
                assert!(
                    found.to_bits() == u32::from(expected.to_bits()) << 16
                        || found.is_nan() && x.is_nan(),
                    "{x:e} became {found:e}, not {expected}"
                );
            }
        }
    }

    #[test]
    fn both_orders_are_of_the_same_numbers() {
        for len in [1usize, 2, 31, 32, 33, 255, 256] {
            let values: Vec<f32> = (0..len).map(|i| 1.0 + i as f32 / 256.0).collect();
            let (mut words, mut floats) = ([-1; SUPER / 2], [f32::NAN; SUPER]);
            let (n, count) = (pairs(&values, &mut words), parted(&values, &mut floats));
            assert_eq!((2 * n, count), (count, len.next_multiple_of(32)));
            for i in 0..count {
                let expected = values.get(i).map_or(0, |x| rounded(*x));
                let half = words[i / 2] as u32 >> (16 * (i % 2)) << 16;
                let place = i / PAIRED * PAIRED + (1 - i % 2) * WIDTH + i % PAIRED / 2;
                assert_eq!(half, expected, "value {i} of {len}");
                assert_eq!(floats[place].to_bits(), expected, "value {i} of {len}");
            }
        }
    }
}
