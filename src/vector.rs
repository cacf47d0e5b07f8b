//! The numbers of a tensor that is decoded: a norm, a bias.
//!
//! Responsible for decoding them when they are first used. The vectors of a model lie between its
//! matrices, so that decoding them all when a file is opened would read a piece of every layer from
//! the disk: of a 7B model, half a gigabyte.

use std::ops::{Deref, Range};
use std::sync::OnceLock;

use yareta_kernels::Format;

use crate::Gguf;
use crate::gguf::TensorInfo;

/// Numbers in a file, read as a slice.
#[derive(Debug)]
pub(crate) struct Vector {
    gguf: Gguf,
    tensor: TensorInfo,
    format: Format,
    range: Range<usize>, // of the tensor's numbers
    numbers: OnceLock<Vec<f32>>,
}

impl Vector {
    /// The numbers of a tensor of `gguf`; `None` if its bytes are not `len` numbers of `format`.
    pub(crate) fn new(
        gguf: &Gguf,
        tensor: &TensorInfo,
        format: Format,
        len: usize,
    ) -> Option<Vector> {
        (format.row_bytes(len) == Some(gguf.bytes(tensor).len())).then(|| Vector {
            gguf: gguf.clone(),
            tensor: tensor.clone(),
            format,
            range: 0..len,
            numbers: OnceLock::new(),
        })
    }

    /// Some of its numbers, which must be there.
    pub(crate) fn slice(&self, range: Range<usize>) -> Vector {
        assert!(range.start <= range.end && range.end <= self.range.len());
        let start = self.range.start;
        Vector {
            gguf: self.gguf.clone(),
            tensor: self.tensor.clone(),
            format: self.format,
            range: start + range.start..start + range.end,
            numbers: OnceLock::new(),
        }
    }

    /// How many there are; known without decoding them.
    pub(crate) fn len(&self) -> usize {
        self.range.len()
    }
}

impl Deref for Vector {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.numbers.get_or_init(|| {
            let bytes = self.gguf.bytes(&self.tensor);
            let mut numbers =
                vec![0.0; bytes.len() / self.format.block_bytes() * self.format.block_len()];
            self.format.decode(bytes, &mut numbers);
            numbers.truncate(self.range.end);
            numbers.drain(..self.range.start);
            numbers
        })
    }
}
