//! A 16-bit IEEE float as blocks hold it.

use half::f16;
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A 16-bit IEEE float, little-endian, at any alignment.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub(crate) struct Half(U16);

impl Half {
    /// Zero.
    pub(crate) const ZERO: Half = Half(U16::ZERO);

    /// The half with these bits.
    pub(crate) fn from_bits(bits: u16) -> Half {
        Half(U16::new(bits))
    }

    /// The nearest half; a finite `value` that is too large becomes the largest half.
    pub(crate) fn from_f32(value: f32) -> Half {
        let largest = f16::MAX.to_f32();
        let value = if value.is_finite() {
            value.clamp(-largest, largest)
        } else {
            value
        };
        Half::from_bits(f16::from_f32(value).to_bits())
    }

    /// A half to scale by: as [`Half::from_f32`], but a `value` that is too small becomes the
    /// smallest half and not zero, because codes that fit it can be found.
    pub(crate) fn scale(value: f32) -> Half {
        let half = Half::from_f32(value);
        if half.to_f32() == 0.0 && value != 0.0 {
            Half::from_f32(f16::from_bits(1).to_f32().copysign(value))
        } else {
            half
        }
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
