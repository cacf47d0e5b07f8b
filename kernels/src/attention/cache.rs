//! The keys and values of one layer, in the layout that attention streams.
//!
//! Keys lie transposed in tiles of sixteen positions, so that the scores of sixteen positions are
//! computed in the sixteen lanes of a vector and no sum runs across lanes; values lie in rows, as
//! the weighted sum over positions needs them. Per head of keys and values:
//!
//! ```text
//! keys    tile 0: dim 0 of positions 0..16, dim 1 of positions 0..16, …; tile 1: positions 16..32, …
//! values  position 0: dims 0..value_dim and zeros up to a multiple of sixteen; position 1: …
//! ```
//!
//! Which position holds which token, and forgetting, is the caller's business.

use crate::Cpu;
use crate::isa::{Floats, Kernel, Simd, WIDTH};
use half::f16;
use zerocopy::FromZeros;

/// How the elements of a cache are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KvType {
    /// 16-bit IEEE floats. What is too large for one is stored as the largest, 65504.
    #[default]
    F16,
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
    /// Bytes that the cache of a layer takes; `None` if that is more than can be addressed, or if
    /// one of the numbers is zero.
    pub fn bytes(&self) -> Option<usize> {
        if self.kv_heads == 0 || self.capacity == 0 || self.key_dim == 0 || self.value_dim == 0 {
            return None;
        }
        let elements = self.key_elements()?.checked_add(self.value_elements()?)?;
        elements
            .checked_mul(size_of::<u16>())
            .filter(|bytes| isize::try_from(*bytes).is_ok())
    }

    /// Tiles of sixteen positions.
    fn tiles(&self) -> usize {
        self.capacity.div_ceil(WIDTH)
    }

    /// Elements from one value to the next.
    pub(super) fn value_stride(&self) -> usize {
        self.value_dim.next_multiple_of(WIDTH)
    }

    fn key_elements(&self) -> Option<usize> {
        self.tiles()
            .checked_mul(WIDTH)?
            .checked_mul(self.key_dim)?
            .checked_mul(self.kv_heads)
    }

    fn value_elements(&self) -> Option<usize> {
        self.value_dim
            .checked_next_multiple_of(WIDTH)?
            .checked_mul(self.capacity)?
            .checked_mul(self.kv_heads)
    }
}

/// The keys and values of one layer.
#[derive(Clone, Debug)]
pub struct KvLayer {
    shape: KvShape,
    keys: Vec<u16>,   // (kv_heads, tiles, key_dim, 16)
    values: Vec<u16>, // (kv_heads, capacity, value_stride)
}

impl KvLayer {
    /// Room for the shape's positions; `None` if there is not that much memory, or if
    /// one of the numbers is zero.
    pub fn new(shape: KvShape) -> Option<KvLayer> {
        shape.bytes()?;
        Some(KvLayer {
            shape,
            keys: u16::new_vec_zeroed(shape.key_elements()?).ok()?,
            values: u16::new_vec_zeroed(shape.value_elements()?).ok()?,
        })
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
        let tile = &self.head_keys(head)[position / WIDTH * WIDTH * shape.key_dim..];
        for (to, lanes) in key.iter_mut().zip(tile.chunks_exact(WIDTH)) {
            *to = f16::from_bits(lanes[position % WIDTH]).to_f32();
        }
        let row = &self.head_values(head)[position * shape.value_stride()..];
        for (to, bits) in value.iter_mut().zip(row) {
            *to = f16::from_bits(*bits).to_f32();
        }
    }

    /// The tiles of the keys of a head, `(tiles, key_dim, 16)`.
    #[inline(always)]
    pub(super) fn head_keys(&self, head: usize) -> &[u16] {
        let len = self.shape.tiles() * WIDTH * self.shape.key_dim;
        &self.keys[head * len..(head + 1) * len]
    }

    /// The rows of the values of a head, `(capacity, value_stride)`.
    #[inline(always)]
    pub(super) fn head_values(&self, head: usize) -> &[u16] {
        let len = self.shape.capacity * self.shape.value_stride();
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
        let tile_len = WIDTH * shape.key_dim;
        for (i, key) in self.keys.chunks_exact(shape.key_dim).enumerate() {
            let (position, head) = (self.position + i / heads, i % heads);
            let tile = (head * shape.tiles() + position / WIDTH) * tile_len;
            let tile = &mut self.layer.keys[tile..tile + tile_len];
            for (tile, key) in tile.chunks_mut(WIDTH * WIDTH).zip(key.chunks(WIDTH)) {
                let bits = narrow(simd, key);
                for (lanes, bits) in tile.chunks_exact_mut(WIDTH).zip(bits) {
                    lanes[position % WIDTH] = bits;
                }
            }
        }
        let stride = shape.value_stride();
        for (i, value) in self.values.chunks_exact(shape.value_dim).enumerate() {
            let (position, head) = (self.position + i / heads, i % heads);
            let row = (head * shape.capacity + position) * stride;
            let row = self.layer.values[row..row + stride].chunks_exact_mut(WIDTH);
            for (row, value) in row.zip(value.chunks(WIDTH)) {
                row.copy_from_slice(&narrow(simd, value));
            }
        }
    }
}

/// Up to sixteen floats as bits of 16-bit floats, zeros after them. An infinity would turn the
/// weight 0 of a masked position into NaN, so what is too large becomes the largest.
#[inline(always)]
fn narrow<S: Floats>(simd: S, x: &[f32]) -> [u16; WIDTH] {
    const LARGEST: f32 = 65_504.0;
    let x = match x.first_chunk::<WIDTH>() {
        Some(x) => simd.load(x),
        None => simd.load_partial(x, 0.0),
    };
    let x = simd.max(simd.splat(-LARGEST), simd.min(simd.splat(LARGEST), x));
    let mut bits = [0; WIDTH];
    simd.store_f16(x, &mut bits);
    bits
}
