//! The weights of a synthetic model: a pool of encoded ones for each type, of which pieces make up
//! tensors, and the random numbers that all comes from.

use std::io::Write;

use indicatif::ProgressBar;
use yareta::Result;
use yareta::gguf::{DataWriter, TensorType};

/// Encoded weights, of which pieces make up tensors.
pub(super) struct Pool {
    bytes: Vec<u8>,
    block_bytes: usize,
    chunk: Vec<u8>, // what is written at once
}

impl Pool {
    /// Weights in it: many blocks of any format, few enough for the slowest to encode at once.
    const WEIGHTS: usize = 1 << 17;
    /// Bytes that are written at once, about: whole blocks.
    const CHUNK: usize = 4 << 20;
    /// The most blocks in a piece.
    const PIECE: u64 = 64;

    /// A pool for matrices of a type, with so many columns.
    pub(super) fn new((kind, cols): (TensorType, u64), random: &mut Random) -> Pool {
        // Sums of `cols` products with numbers near 1 are then near 1 themselves.
        let deviation = 1.0 / (cols as f32).sqrt();
        let weights: Vec<f32> = (0..Pool::WEIGHTS)
            .map(|_| deviation * random.normal())
            .collect();
        let block_bytes = kind.block_bytes();
        let mut bytes = vec![0; Pool::WEIGHTS / kind.block_len() * block_bytes];
        // A mix has only types with a format.
        if let Some(format) = kind.format() {
            format.encode(&weights, None, &mut bytes);
        }
        Pool {
            bytes,
            block_bytes,
            chunk: Vec::new(),
        }
    }

    /// Fills the tensor that is next with pieces from anywhere in the pool.
    pub(super) fn fill<W: Write>(
        &mut self,
        data: &mut DataWriter<W>,
        random: &mut Random,
        progress: &ProgressBar,
    ) -> Result<()> {
        let blocks = (self.bytes.len() / self.block_bytes) as u64;
        let most = Pool::CHUNK / self.block_bytes * self.block_bytes;
        let mut left = data.next().map_or(0, |(_, bytes)| bytes);
        while left > 0 {
            self.chunk.clear();
            let size = left.min(most as u64) as usize;
            while self.chunk.len() < size {
                let bits = random.bits();
                let first = (bits >> 32) % blocks;
                let count = (bits % Pool::PIECE + 1).min(blocks - first) as usize;
                let start = first as usize * self.block_bytes;
                let piece = &self.bytes[start..start + count * self.block_bytes];
                let room = size - self.chunk.len();
                self.chunk
                    .extend_from_slice(&piece[..piece.len().min(room)]);
            }
            data.write(&self.chunk)?;
            progress.inc(size as u64);
            left -= size as u64;
        }
        Ok(())
    }
}

/// A sequence of numbers that depends on the seed alone (SplitMix64, by Steele, Lea and Flood).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Nearly normal with mean 0 and deviation 1: the sum of twelve uniform numbers, less six.
    pub(super) fn normal(&mut self) -> f32 {
        let halves = (0..6).map(|_| self.bits());
        let sum: u64 = halves.map(|bits| (bits >> 32) + (bits & 0xffff_ffff)).sum();
        (sum as f64 / 4_294_967_296.0 - 6.0) as f32
    }
}
