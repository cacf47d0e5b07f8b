//! The keys and values of the tokens that a session has seen, layer by layer.
//!
//! Responsible for taking the memory and for copying positions in and out. What lies in a layer,
//! and how, is [`KvLayer`]'s business; which positions hold something is the session's.

use yareta_kernels::{Cpu, KvLayer, KvShape, KvType};

use crate::config::Config;
use crate::{Error, Result};

/// The cache of a session.
#[derive(Debug)]
pub(crate) struct Cache {
    layers: Vec<KvLayer>,
    shape: KvShape, // of each layer
}

impl Cache {
    /// The shape of each layer's cache for `capacity` positions.
    pub(crate) fn shape(config: &Config, kind: KvType, capacity: usize) -> KvShape {
        KvShape {
            kind,
            kv_heads: config.kv_heads,
            capacity,
            key_dim: config.key_dim,
            value_dim: config.value_dim,
        }
    }

    /// Bytes of the caches of all layers; `None` if they cannot be counted.
    pub(crate) fn bytes(config: &Config, shape: &KvShape) -> Option<u64> {
        (shape.bytes()? as u64).checked_mul(config.layers as u64)
    }

    /// Takes the memory, which the system gives only as positions are filled.
    ///
    /// # Errors
    /// [`Error::Memory`] if there is not that much.
    pub(crate) fn new(config: &Config, shape: KvShape) -> Result<Cache> {
        let bytes = Cache::bytes(config, &shape).unwrap_or(u64::MAX);
        let full = || Error::Memory {
            what: "the cache of a session",
            bytes,
        };
        let mut layers = Vec::new();
        layers
            .try_reserve_exact(config.layers)
            .map_err(|_| full())?;
        for _ in 0..config.layers {
            layers.push(KvLayer::new(shape).ok_or_else(full)?);
        }
        Ok(Cache { layers, shape })
    }

    pub(crate) fn layers_mut(&mut self) -> &mut [KvLayer] {
        &mut self.layers
    }

    /// Keys and values of one position, as floats: (layers, `kv_heads`, `key_dim + value_dim`).
    pub(crate) fn position_len(&self) -> usize {
        self.layers.len() * self.shape.kv_heads * (self.shape.key_dim + self.shape.value_dim)
    }

    /// Reads a position into `out`, of [`Cache::position_len`].
    pub(crate) fn load(&self, position: usize, out: &mut [f32]) {
        let (key_dim, value_dim) = (self.shape.key_dim, self.shape.value_dim);
        let per_layer = self.shape.kv_heads * (key_dim + value_dim);
        for (layer, out) in self.layers.iter().zip(out.chunks_exact_mut(per_layer)) {
            let (keys, values) = out.split_at_mut(self.shape.kv_heads * key_dim);
            let heads = keys
                .chunks_exact_mut(key_dim)
                .zip(values.chunks_exact_mut(value_dim));
            for (head, (key, value)) in heads.enumerate() {
                layer.load(position, head, key, value);
            }
        }
    }

    /// Writes a position that [`Cache::load`] read from a cache of the same model.
    pub(crate) fn store(&mut self, cpu: Cpu, position: usize, from: &[f32]) {
        let per_layer = self.shape.kv_heads * (self.shape.key_dim + self.shape.value_dim);
        let keys = self.shape.kv_heads * self.shape.key_dim;
        for (layer, from) in self.layers.iter_mut().zip(from.chunks_exact(per_layer)) {
            let (keys, values) = from.split_at(keys);
            layer.store(cpu, position, keys, values);
        }
    }
}
