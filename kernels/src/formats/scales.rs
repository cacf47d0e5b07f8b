//! The group scales and offsets that Q4_K and Q5_K share: eight of each, 6 bits, in 12 bytes.

use crate::isa::Lanes;
use crate::unpack::{byte_pairs, bytes, joined, scaled};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes 0–3: bits 0–5 = scale i | bits 6–7 = bits 4–5 of scale i + 4.
/// Bytes 4–7: bits 0–5 = offset i | bits 6–7 = bits 4–5 of offset i + 4.
/// Bytes 8–11: low nibble = bits 0–3 of scale i + 4 | high nibble = those of offset i + 4.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub(crate) struct SixBit([u8; 12]);

impl SixBit {
    /// These scales and offsets, each below 64.
    pub(crate) fn new(scales: [u8; 8], offsets: [u8; 8]) -> SixBit {
        SixBit(std::array::from_fn(|i| match i {
            0..4 => scales[i] | scales[i + 4] >> 4 << 6,
            4..8 => offsets[i - 4] | offsets[i] >> 4 << 6,
            _ => scales[i - 4] & 15 | (offsets[i - 4] & 15) << 4,
        }))
    }

    /// The eight scales.
    pub(crate) fn scales(&self) -> [u8; 8] {
        std::array::from_fn(|i| match i {
            0..4 => self.0[i] & 63,
            _ => self.0[i + 4] & 15 | self.0[i - 4] >> 6 << 4,
        })
    }

    /// The eight offsets.
    pub(crate) fn offsets(&self) -> [u8; 8] {
        std::array::from_fn(|i| match i {
            0..4 => self.0[i + 4] & 63,
            _ => self.0[i + 4] >> 4 | self.0[i] >> 6 << 4,
        })
    }
}

/// The scales of a block of Q4_K or Q5_K, in vectors whose lanes are rows.
pub(crate) struct Header<S: Lanes> {
    /// The scale of each group of 32.
    pub(crate) scales: [S::Float; 8],
    /// The offsets, for [`Sink::minimums32`](crate::unpack::Sink::minimums32).
    pub(crate) offset_pairs: [S::Int; 4],
    /// Their factor: minus the scale of the offsets.
    pub(crate) offset_factor: S::Float,
}

impl SixBit {
    /// Unpacks the first sixteen bytes of a block: the scale, the scale of the offsets, and the
    /// twelve bytes of the groups.
    #[inline(always)]
    pub(crate) fn unpack<S: Lanes>(simd: S, words: [S::Int; 4]) -> Header<S> {
        let [halves, first, second, third] = words;
        let (six, four, two) = (
            simd.splat_int(0x3f3f_3f3f),
            simd.splat_int(0x0f0f_0f0f),
            simd.splat_int(0x3030_3030),
        );
        let first_upper = simd.and(simd.shift_right::<2>(first), two);
        let second_upper = simd.and(simd.shift_right::<2>(second), two);
        let low_scales = simd.and(first, six);
        let high_scales = simd.or(simd.and(third, four), first_upper);
        let low_offsets = simd.and(second, six);
        let high_offsets = simd.or(simd.and(simd.shift_right::<4>(third), four), second_upper);
        let scale = simd.half_to_float(halves);
        let [a, b] = byte_pairs(simd, low_offsets);
        let [c, d] = byte_pairs(simd, high_offsets);
        // Flipping the sign bit of the half negates it.
        let negative = simd.xor(simd.shift_right::<16>(halves), simd.splat_int(0x8000));
        Header {
            scales: joined(
                scaled(simd, bytes(simd, low_scales), scale),
                scaled(simd, bytes(simd, high_scales), scale),
            ),
            offset_pairs: [a, b, c, d],
            offset_factor: simd.half_to_float(negative),
        }
    }
}
