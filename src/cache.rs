//! The keys and values of the tokens that a session has seen, layer by layer.
//!
//! Responsible for taking the memory and for copying positions in and out. What lies in a layer,
//! and how, is [`KvLayer`]'s business; which positions hold something is the session's.

use yareta_kernels::{KvLayer, KvShape, KvType};

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

    /// Asks the system to hold it in huge pages, before anything is stored.
    pub(crate) fn ask_for_huge_pages(&self) {
        self.layers.iter().for_each(KvLayer::ask_for_huge_pages);
    }

    pub(crate) fn layers_mut(&mut self) -> &mut [KvLayer] {
        &mut self.layers
    }

    /// How keys and values are stored.
    pub(crate) fn kind(&self) -> KvType {
        self.shape.kind
    }

    /// Bytes of the keys and values of one position.
    pub(crate) fn position_bytes(&self) -> usize {
        self.layers.len() * self.shape.position_bytes()
    }

    /// Writes a position, of [`Cache::position_bytes`], bit for bit.
    pub(crate) fn save(&self, position: usize, to: &mut [u8]) {
        let parts = to.chunks_exact_mut(self.shape.position_bytes());
        for (layer, to) in self.layers.iter().zip(parts) {
            layer.save(position, to);
        }
    }

    /// Makes a position what [`Cache::save`] wrote of a cache of the same model and type.
    pub(crate) fn restore(&mut self, position: usize, from: &[u8]) {
        let parts = from.chunks_exact(self.shape.position_bytes());
        for (layer, from) in self.layers.iter_mut().zip(parts) {
            layer.restore(position, from);
        }
    }
}
