//! Where the elements of keys and values lie in a cache, one by one: what reads, saves and restores
//! single positions goes by this. The loops over a cache know the layout by themselves.

use super::{BYTES_BLOCK, CHUNK, KEY_BLOCK, KEY_SCALES, KvShape, KvType, VALUE_BLOCK};
use crate::isa::WIDTH;
use half::f16;

/// Where an element is.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// A 16-bit float.
    Half { unit: usize },
    /// A byte, and the scale of its block.
    Byte {
        scale: usize,
        /// The 16 bits of the pair that it belongs to.
        pair: usize,
        /// How far they are to be shifted to make it the lower half.
        shift: u32,
    },
    /// A 16-bit whole number, and the scale of its key or value.
    Short { scale: usize, unit: usize },
}

impl Place {
    /// The element.
    pub(super) fn get(self, units: &[u16]) -> f32 {
        let float = |unit: usize| f16::from_bits(units[unit]).to_f32();
        match self {
            Place::Half { unit } => float(unit),
            Place::Byte { scale, pair, shift } => {
                f32::from((units[pair] >> shift) as i8) * float(scale)
            }
            Place::Short { scale, unit } => f32::from(units[unit] as i16) * float(scale),
        }
    }

    /// Gives the bytes of the element, the `dim`th of a key or value, to `put`; before the first
    /// of those that share a scale, the bytes of that.
    pub(super) fn save(self, dim: usize, units: &[u16], put: &mut impl FnMut(u8)) {
        let mut both = |unit: usize| units[unit].to_le_bytes().into_iter().for_each(&mut *put);
        match self {
            Place::Half { unit } => both(unit),
            Place::Byte { scale, pair, shift } => {
                if dim.is_multiple_of(BYTES_BLOCK) {
                    both(scale);
                }
                put((units[pair] >> shift) as u8);
            }
            Place::Short { scale, unit } => {
                if dim == 0 {
                    both(scale);
                }
                both(unit);
            }
        }
    }

    /// Makes the element what [`save`](Place::save) gave the bytes of, of any bytes.
    pub(super) fn restore(self, dim: usize, units: &mut [u16], byte: &mut impl FnMut() -> u8) {
        let mut both = || u16::from_le_bytes([byte(), byte()]);
        match self {
            Place::Half { unit } => units[unit] = finite(both()),
            Place::Byte { scale, pair, shift } => {
                if dim.is_multiple_of(BYTES_BLOCK) {
                    units[scale] = finite(both());
                }
                let kept = units[pair] & !(0xff << shift);
                units[pair] = kept | (u16::from(byte()) << shift);
            }
            Place::Short { scale, unit } => {
                if dim == 0 {
                    units[scale] = finite(both());
                }
                units[unit] = both();
            }
        }
    }
}

/// The bits of a 16-bit float, of the largest if it is an infinity.
fn finite(bits: u16) -> u16 {
    match f16::from_bits(bits).is_infinite() {
        true => bits - 1,
        false => bits,
    }
}

/// Where an element of a key is.
#[inline(always)]
pub(super) fn key(shape: &KvShape, head: usize, position: usize, dim: usize) -> Place {
    let tile = (head * shape.tiles() + position / WIDTH) * shape.tile_units();
    let lane = position % WIDTH;
    match shape.kind {
        KvType::F16 => Place::Half {
            unit: tile + dim * WIDTH + lane,
        },
        KvType::Q8_0 => {
            let scale = tile + dim / BYTES_BLOCK * KEY_BLOCK + lane;
            Place::Byte {
                scale,
                pair: scale + WIDTH + dim % BYTES_BLOCK / 2 * WIDTH,
                shift: (dim % 2) as u32 * 8,
            }
        }
        KvType::Q16 => Place::Short {
            scale: tile + lane,
            unit: tile + KEY_SCALES + (dim / 2 * WIDTH + lane) * 2 + dim % 2,
        },
    }
}

/// Where an element of a value is.
#[inline(always)]
pub(super) fn value(shape: &KvShape, head: usize, position: usize, dim: usize) -> Place {
    let (in_chunk, stride) = (position % CHUNK, shape.value_stride());
    let chunk = || (head * shape.chunks() + position / CHUNK) * shape.chunk_units();
    match shape.kind {
        // Chunks need not be whole.
        KvType::F16 => Place::Half {
            unit: (head * shape.capacity + position) * stride + dim,
        },
        KvType::Q8_0 => {
            let block = chunk() + dim / BYTES_BLOCK * VALUE_BLOCK;
            Place::Byte {
                scale: block + in_chunk,
                pair: block + CHUNK + in_chunk / 2 * BYTES_BLOCK + dim % BYTES_BLOCK,
                shift: (position % 2) as u32 * 8,
            }
        }
        KvType::Q16 => Place::Short {
            scale: chunk() + in_chunk,
            unit: chunk() + CHUNK + (in_chunk / 2 * stride + dim) * 2 + position % 2,
        },
    }
}
