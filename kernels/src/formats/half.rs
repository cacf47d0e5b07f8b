//! A 16-bit IEEE float as blocks hold it.

use half::f16;
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A 16-bit IEEE float, little-endian, at any alignment.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub(crate) struct Half(U16);

impl Half {
    /// The half with these bits.
    pub(crate) fn from_bits(bits: u16) -> Half {
        Half(U16::new(bits))
    }

    /// Its bits.
    pub(crate) fn to_bits(self) -> u16 {
        self.0.get()
    }

    /// Its value; exact.
    pub(crate) fn to_f32(self) -> f32 {
        f16::from_bits(self.to_bits()).to_f32()
    }
}
