//! The keys and values of one layer, in the layout that attention streams.
//!
//! Keys lie transposed in tiles of sixteen positions, so that the scores of sixteen positions are
//! computed in the sixteen lanes of a vector and no sum runs across lanes; values lie as the
//! weighted sum over positions needs them. Per head of keys and values, 16-bit floats, `f16`:
//!
//! ```text
//! keys    tile 0: dim 0 of positions 0..16, dim 1 of positions 0..16, …; tile 1: positions 16..32, …
//! values  position 0: dims 0..value_dim and zeros up to a multiple of sixteen; position 1: …
//! ```
//!
//! 16-bit whole numbers, `q16`, all dimensions of a position with one scale, a 16-bit float; two that
//! are multiplied and added together lie together as 32 bits, the first the lower ones:
//!
//! ```text
//! keys    tile 0: scales of positions 0..16 and 32 unused bytes; dims 0, 1 of positions 0..16, dims 2, 3 …
//! values  chunk 0: scales of positions 0..256; positions 0, 1: dims 0..value_dim and zeros; positions 2, 3: …
//! ```
//!
//! and bytes, `q8_0`: whole numbers, 32 consecutive dimensions of a position with one scale, a
//! 16-bit float. Two bytes that are multiplied and added together lie together as 16 bits, the
//! first the lower ones:
//!
//! ```text
//! keys    tile 0, dims 0..32: scales of positions 0..16; dims 0, 1 of positions 0..16, dims 2, 3 …
//!         tile 0, dims 32..64: …
//! values  chunk 0, dims 0..32: scales of positions 0..256; positions 0, 1: dims 0..32; positions 2, 3: …
//!         chunk 0, dims 32..64: …
//! ```
//!
//! Which position holds which token, and forgetting, is the caller's business.

mod places;

use super::CHUNK;
use super::pairs::{
    MOST_DIMS, SHORT_MOST, bounded, largest, load, magnitude, round_up, shorten, unit,
};
use super::shorts::VALUE_MOST;
use crate::Cpu;
use crate::aligned::Aligned;
use crate::isa::{Floats, Kernel, Simd, WIDTH};
use crate::pages::ask_for_huge_pages;
use half::f16;
use places::Place;

/// Elements that share a scale.
pub(super) const BYTES_BLOCK: usize = 32;

/// 16-bit units of such a block of a tile of keys: scales, then pairs of dimensions.
pub(super) const KEY_BLOCK: usize = WIDTH + BYTES_BLOCK / 2 * WIDTH;

/// 16-bit units of such a block of a chunk of values: scales, then pairs of positions.
pub(super) const VALUE_BLOCK: usize = CHUNK + CHUNK / 2 * BYTES_BLOCK;

/// 16-bit units of the scales of a tile of keys of 16-bit whole numbers: as many as fill a cache
/// line, so that no vector of keys lies on two.
pub(super) const KEY_SCALES: usize = 2 * WIDTH;

/// The largest 16-bit float. An infinity would turn the weight 0 of a masked position into NaN,
/// so what is too large becomes this.
const LARGEST: f32 = 65_504.0;

/// How the elements of a cache are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KvType {
    /// 16-bit IEEE floats. What is too large for one is stored as the largest, 65504.
    F16,
    /// Whole numbers of 16 bits, the elements of a key or a value in units of one scale: as exact
    /// as 16-bit floats in as much memory (2 bytes more for each key and value), and faster, as
    /// processors add two such products at a time. What is too large for a 16-bit float is stored
    /// as the largest.
    #[default]
    Q16,
    /// Blocks of 32 whole numbers of 8 bits with a scale of 16, the format of
    /// [`Format::Q8_0`](crate::Format::Q8_0): 53 % of the memory. Keys and values must have a
    /// multiple of 32 elements.
    Q8_0,
}

impl KvType {
    /// Elements that share a scale: keys and values must have a multiple of them.
    pub fn block(self) -> usize {
        match self {
            KvType::F16 | KvType::Q16 => 1,
            KvType::Q8_0 => BYTES_BLOCK,
        }
    }
}

/// The shape of the cache of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KvShape {
    /// How elements are stored.
    pub kind: KvType,
    /// Heads that have keys and values.
    pub kv_heads: usize,
    /// Positions there is room for.
    pub capacity: usize,
    /// Elements of a key.
    pub key_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
}

impl KvShape {
    /// Bytes that the cache of a layer takes; `None` if that is more than can be addressed, if
    /// one of the numbers is zero, if keys or values are no multiple of [`KvType::block`], or if
    /// keys of whole numbers have more than 65536 elements.
    pub fn bytes(&self) -> Option<usize> {
        if self.kv_heads == 0 || self.capacity == 0 || self.key_dim == 0 || self.value_dim == 0 {
            return None;
        }
        // Longer keys of whole numbers are nobody's, and their sums would not fit.
        if self.kind == KvType::Q16 && self.key_dim > MOST_DIMS {
            return None;
        }
        let block = self.kind.block();
        if !self.key_dim.is_multiple_of(block) || !self.value_dim.is_multiple_of(block) {
            return None;
        }
        let keys = Aligned::<u16>::bytes(self.key_units()?)?;
        let values = Aligned::<u16>::bytes(self.value_units()?)?;
        keys.checked_add(values)
            .filter(|bytes| isize::try_from(*bytes).is_ok())
    }

    /// Bytes of the keys and values of one position.
    pub fn position_bytes(&self) -> usize {
        let elements = self.kv_heads * (self.key_dim + self.value_dim);
        match self.kind {
            KvType::F16 => 2 * elements,
            KvType::Q16 => 2 * elements + 2 * 2 * self.kv_heads,
            KvType::Q8_0 => elements / BYTES_BLOCK * (2 + BYTES_BLOCK),
        }
    }

    /// Tiles of sixteen positions.
    fn tiles(&self) -> usize {
        self.capacity.div_ceil(WIDTH)
    }

    /// Chunks of positions.
    fn chunks(&self) -> usize {
        self.capacity.div_ceil(CHUNK)
    }

    /// Elements from one value to the next.
    pub(super) fn value_stride(&self) -> usize {
        self.value_dim.next_multiple_of(WIDTH)
    }

    /// 16-bit units of the keys of a tile of a head.
    #[inline(always)]
    pub(super) fn tile_units(&self) -> usize {
        match self.kind {
            KvType::F16 => self.key_dim * WIDTH,
            KvType::Q16 => KEY_SCALES + self.key_dim.next_multiple_of(2) * WIDTH,
            KvType::Q8_0 => self.key_dim / BYTES_BLOCK * KEY_BLOCK,
        }
    }

    /// 16-bit units of the values of a chunk of a head.
    #[inline(always)]
    pub(super) fn chunk_units(&self) -> usize {
        match self.kind {
            KvType::F16 => self.value_stride() * CHUNK,
            KvType::Q16 => CHUNK + self.value_stride() * CHUNK,
            KvType::Q8_0 => self.value_dim / BYTES_BLOCK * VALUE_BLOCK,
        }
    }

    /// 16-bit units of all keys.
    fn key_units(&self) -> Option<usize> {
        // What a tile takes is at most this.
        self.key_dim.checked_mul(2 * WIDTH)?;
        self.tile_units()
            .checked_mul(self.tiles())?
            .checked_mul(self.kv_heads)
    }

    /// 16-bit units of all values.
    fn value_units(&self) -> Option<usize> {
        self.value_dim
            .checked_next_multiple_of(WIDTH)?
            .checked_mul(2 * CHUNK)?;
        self.head_value_units()?.checked_mul(self.kv_heads)
    }

    /// 16-bit units of the values of a head.
    fn head_value_units(&self) -> Option<usize> {
        match self.kind {
            KvType::F16 => self.value_stride().checked_mul(self.capacity),
            KvType::Q16 | KvType::Q8_0 => self.chunk_units().checked_mul(self.chunks()),
        }
    }
}

/// The keys and values of one layer.
#[derive(Debug)]
pub struct KvLayer {
    shape: KvShape,
    keys: Aligned<u16>,   // (kv_heads, tiles, tile_units)
    values: Aligned<u16>, // (kv_heads, head_value_units)
}

impl KvLayer {
    /// Room for the shape's positions; `None` if there is not that much memory, or if the shape
    /// cannot be (see [`KvShape::bytes`]).
    pub fn new(shape: KvShape) -> Option<KvLayer> {
        shape.bytes()?;
        Some(KvLayer {
            shape,
            keys: Aligned::zeros(shape.key_units()?)?,
            values: Aligned::zeros(shape.value_units()?)?,
        })
    }

    /// Asks the system to hold it in huge pages, best before anything is stored.
    pub fn ask_for_huge_pages(&self) {
        ask_for_huge_pages(&self.keys);
        ask_for_huge_pages(&self.values);
    }

    /// What it has room for.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Stores the `keys`, `(tokens, kv_heads, key_dim)`, and `values`,
    /// `(tokens, kv_heads, value_dim)`, of as many tokens as they have at the positions from
    /// `position` on. There must be room for all.
    pub fn store(&mut self, cpu: Cpu, position: usize, keys: &[f32], values: &[f32]) {
        let shape = self.shape;
        let tokens = values.len() / (shape.kv_heads * shape.value_dim);
        assert_eq!(values.len(), tokens * shape.kv_heads * shape.value_dim);
        assert_eq!(keys.len(), tokens * shape.kv_heads * shape.key_dim);
        assert!(
            position <= shape.capacity && tokens <= shape.capacity - position,
            "no room for {tokens} tokens at {position} of {}",
            shape.capacity
        );
        cpu.run(Store {
            layer: self,
            position,
            keys,
            values,
        });
    }

    /// Reads the `key`, `(key_dim)`, and the `value`, `(value_dim)`, of a head at a position.
    pub fn load(&self, position: usize, head: usize, key: &mut [f32], value: &mut [f32]) {
        let shape = self.shape;
        assert!(position < shape.capacity && head < shape.kv_heads);
        assert!(key.len() == shape.key_dim && value.len() == shape.value_dim);
        for (dim, to) in key.iter_mut().enumerate() {
            *to = places::key(&shape, head, position, dim).get(&self.keys);
        }
        for (dim, to) in value.iter_mut().enumerate() {
            *to = places::value(&shape, head, position, dim).get(&self.values);
        }
    }

    /// Writes the keys and values of a position as [`KvShape::position_bytes`] bytes: those of
    /// each head one after the other, each of them as 16-bit floats, little endian, as a scale,
    /// such a float, and 16-bit whole numbers, or as blocks of a scale and 32 bytes.
    pub fn save(&self, position: usize, to: &mut [u8]) {
        let shape = self.shape;
        assert!(position < shape.capacity && to.len() == shape.position_bytes());
        let mut to = to.iter_mut();
        let mut put = |byte: u8| {
            if let Some(to) = to.next() {
                *to = byte;
            }
        };
        for head in 0..shape.kv_heads {
            for dim in 0..shape.key_dim {
                let place = places::key(&shape, head, position, dim);
                place.save(dim, &self.keys, &mut put);
            }
            for dim in 0..shape.value_dim {
                let place = places::value(&shape, head, position, dim);
                place.save(dim, &self.values, &mut put);
            }
        }
    }

    /// Makes a position what [`save`](KvLayer::save) wrote, of any bytes: infinities become the
    /// largest number, as everywhere in a cache.
    pub fn restore(&mut self, position: usize, from: &[u8]) {
        let shape = self.shape;
        assert!(position < shape.capacity && from.len() == shape.position_bytes());
        let mut from = from.iter().copied();
        let mut byte = || from.next().unwrap_or(0);
        for head in 0..shape.kv_heads {
            for dim in 0..shape.key_dim {
                let place = places::key(&shape, head, position, dim);
                place.restore(dim, &mut self.keys, &mut byte);
            }
            for dim in 0..shape.value_dim {
                let place = places::value(&shape, head, position, dim);
                place.restore(dim, &mut self.values, &mut byte);
            }
        }
    }

    /// The tiles of the keys of a head, `(tiles, tile_units)`.
    #[inline(always)]
    pub(super) fn head_keys(&self, head: usize) -> &[u16] {
        let len = self.shape.tiles() * self.shape.tile_units();
        &self.keys[head * len..(head + 1) * len]
    }

    /// The values of a head.
    #[inline(always)]
    pub(super) fn head_values(&self, head: usize) -> &[u16] {
        let len = self.values.len() / self.shape.kv_heads;
        &self.values[head * len..(head + 1) * len]
    }
}

struct Store<'a> {
    layer: &'a mut KvLayer,
    position: usize,
    keys: &'a [f32],
    values: &'a [f32],
}

impl Kernel for Store<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let shape = self.layer.shape;
        let heads = shape.kv_heads;
        for (i, key) in self.keys.chunks_exact(shape.key_dim).enumerate() {
            let (position, head) = (self.position + i / heads, i % heads);
            let keys = &mut *self.layer.keys;
            let place = |dim| places::key(&shape, head, position, dim);
            match place(0) {
                Place::Half { unit } => {
                    for (group, key) in key.chunks(WIDTH).enumerate() {
                        let lanes = keys[unit + group * WIDTH * WIDTH..].iter_mut();
                        let lanes = lanes.step_by(WIDTH);
                        for (to, bits) in lanes.zip(narrow(simd, key)).take(key.len()) {
                            *to = bits;
                        }
                    }
                }
                Place::Byte { .. } => {
                    for (index, key) in key.as_chunks::<BYTES_BLOCK>().0.iter().enumerate() {
                        let Place::Byte { scale, pair, .. } = place(index * BYTES_BLOCK) else {
                            unreachable!("another type of cache in the same key");
                        };
                        let (bits, bytes) = round(simd, key);
                        keys[scale] = bits;
                        let lanes = keys[pair..].iter_mut().step_by(WIDTH);
                        for (to, bytes) in lanes.zip(bytes.as_chunks().0) {
                            *to = u16::from_le_bytes(*bytes);
                        }
                    }
                }
                Place::Short { scale, unit: first } => {
                    let (most, unit) = unit(simd, key, LARGEST);
                    let unit = round_up(unit);
                    keys[scale] = unit.to_bits();
                    for (group, key) in key.chunks(WIDTH).enumerate() {
                        let words = shorten(simd, key, (most, unit.to_f32()), SHORT_MOST);
                        let first = first + group * WIDTH * WIDTH;
                        let pairs = keys[first..].chunks_mut(2 * WIDTH);
                        for (to, word) in pairs.zip(words).take(key.len().div_ceil(2)) {
                            to[0] = word as u16;
                            to[1] = (word >> 16) as u16;
                        }
                    }
                }
            }
        }
        for (i, value) in self.values.chunks_exact(shape.value_dim).enumerate() {
            let (position, head) = (self.position + i / heads, i % heads);
            let values = &mut *self.layer.values;
            let place = |dim| places::value(&shape, head, position, dim);
            match place(0) {
                Place::Half { unit } => {
                    let row = values[unit..unit + shape.value_stride()].chunks_exact_mut(WIDTH);
                    for (row, value) in row.zip(value.chunks(WIDTH)) {
                        row.copy_from_slice(&narrow(simd, value));
                    }
                }
                Place::Byte { .. } => {
                    for (index, value) in value.as_chunks::<BYTES_BLOCK>().0.iter().enumerate() {
                        let Place::Byte { scale, pair, shift } = place(index * BYTES_BLOCK) else {
                            unreachable!("another type of cache in the same value");
                        };
                        let (bits, bytes) = round(simd, value);
                        values[scale] = bits;
                        let kept = !(0xff << shift);
                        for (to, byte) in values[pair..].iter_mut().zip(bytes) {
                            *to = (*to & kept) | (u16::from(byte) << shift);
                        }
                    }
                }
                Place::Short { scale, unit: first } => {
                    let most = largest(simd, value, LARGEST);
                    let unit = round_up(most / VALUE_MOST);
                    values[scale] = unit.to_bits();
                    for (group, value) in value.chunks(WIDTH).enumerate() {
                        let words = shorten(simd, value, (most, unit.to_f32()), VALUE_MOST);
                        let units = values[first + group * 2 * WIDTH..].iter_mut().step_by(2);
                        let halves = words.iter().flat_map(|word| [*word, *word >> 16]);
                        for (to, half) in units.zip(halves).take(value.len()) {
                            *to = half as u16;
                        }
                    }
                }
            }
        }
    }
}

/// Up to sixteen floats as bits of 16-bit floats, zeros after them.
#[inline(always)]
fn narrow<S: Floats>(simd: S, x: &[f32]) -> [u16; WIDTH] {
    let x = load(simd, x);
    let x = simd.max(simd.splat(-LARGEST), simd.min(simd.splat(LARGEST), x));
    let mut bits = [0; WIDTH];
    simd.store_f16(x, &mut bits);
    bits
}

/// A block as the bits of its scale, a 127th of the largest magnitude rounded to 16 bits, and the
/// whole numbers nearest to its elements in units of that.
#[inline(always)]
fn round<S: Floats>(simd: S, block: &[f32; BYTES_BLOCK]) -> (u16, [u8; BYTES_BLOCK]) {
    const MOST: f32 = 127.0;
    let scale = f16::from_f32((magnitude(simd, block) / MOST).min(LARGEST));
    let block = block.as_chunks::<WIDTH>().0;
    let inverse = match scale.to_f32() {
        0.0 => 0.0,
        scale => 1.0 / scale,
    };
    let mut bytes = [0; BYTES_BLOCK];
    for (x, bytes) in block.iter().zip(bytes.as_chunks_mut::<WIDTH>().0) {
        let x = bounded(simd, simd.mul(simd.load(x), simd.splat(inverse)), MOST);
        let mut pairs = [0; WIDTH / 2];
        simd.store_pairs(x, &mut pairs);
        for (pair, bytes) in pairs.iter().zip(bytes.as_chunks_mut::<2>().0) {
            *bytes = [*pair as u8, (*pair >> 16) as u8];
        }
    }
    (scale.to_bits(), bytes)
}
