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
pub(crate) struct Vector(Box<Inner>);

#[derive(Debug)]
struct Inner {
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
        let fits = format.row_bytes(len) == Some(gguf.bytes(tensor).len());
        fits.then(|| Vector::of((gguf, tensor), format, 0..len))
    }

    fn of((gguf, tensor): (&Gguf, &TensorInfo), format: Format, range: Range<usize>) -> Vector {
        Vector(Box::new(Inner {
            gguf: gguf.clone(),
            tensor: tensor.clone(),
            format,
            range,
            numbers: OnceLock::new(),
        }))
    }

    /// Some of its numbers, which must be there.
    pub(crate) fn slice(&self, range: Range<usize>) -> Vector {
        let Inner {
            gguf,
            tensor,
            format,
            range: own,
            ..
        } = &*self.0;
        assert!(range.start <= range.end && range.end <= own.len());
        let range = own.start + range.start..own.start + range.end;
        Vector::of((gguf, tensor), *format, range)
    }

    /// How many there are; known without decoding them.
    pub(crate) fn len(&self) -> usize {
        self.0.range.len()
    }
}

impl Deref for Vector {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        let Inner {
            gguf,
            tensor,
            format,
            range,
            numbers,
        } = &*self.0;
        numbers.get_or_init(|| {
            let bytes = gguf.bytes(tensor);
            let blocks = bytes.len() / format.block_bytes();
            let mut numbers = vec![0.0; blocks * format.block_len()];
            format.decode(bytes, &mut numbers);
            numbers.truncate(range.end);
            numbers.drain(..range.start);
            numbers
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::{TensorType, Writer};

    #[test]
    fn numbers_and_slices_of_them() {
        let mut writer = Writer::new();
        writer.tensor("norm", TensorType::F32, &[6]).unwrap();
        let mut data = writer.start(Vec::new()).unwrap();
        let numbers = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        data.write(&bytes).unwrap();
        let gguf = Gguf::from_bytes(data.finish().unwrap()).unwrap();
        let tensor = gguf.tensor("norm").unwrap();

        let vector = Vector::new(&gguf, tensor, Format::F32, 6).unwrap();
        assert_eq!(vector.len(), 6);
        assert_eq!(*vector, numbers);
        let slice = vector.slice(1..5);
        assert_eq!((slice.len(), &*slice), (4, &numbers[1..5]));
        let slice = slice.slice(2..3);
        assert_eq!((slice.len(), &*slice), (1, &numbers[3..4]));
        assert!(Vector::new(&gguf, tensor, Format::F32, 5).is_none());
        assert!(Vector::new(&gguf, tensor, Format::F16, 6).is_none());
    }
}
