//! The group scales and offsets that Q4_K and Q5_K share: eight of each, 6 bits, in 12 bytes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes 0–3: bits 0–5 = scale i | bits 6–7 = bits 4–5 of scale i + 4.
/// Bytes 4–7: bits 0–5 = offset i | bits 6–7 = bits 4–5 of offset i + 4.
/// Bytes 8–11: low nibble = bits 0–3 of scale i + 4 | high nibble = those of offset i + 4.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub(crate) struct SixBit([u8; 12]);

impl SixBit {
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
