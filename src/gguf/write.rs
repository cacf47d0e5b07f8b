//! Writes GGUF files: version 3, little endian, tensor data streamed.

use std::collections::HashSet;
use std::io::Write;

use super::array::Array;
use super::cursor::Encoding;
use super::metadata::{LONGEST_KEY, Metadata};
use super::part::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, LONGEST_NAME, MOST_DIMENSIONS};
use super::tensor_type::TensorType;
use super::value::Value;
use crate::{Error, Result};

/// Builds a GGUF file: first metadata and the list of tensors, then, through [`DataWriter`], the
/// data of each tensor in that order, in pieces of any size, to any [`Write`].
///
/// ```
/// use yareta::gguf::{Gguf, TensorType, Writer};
///
/// let mut writer = Writer::new();
/// writer.set("general.architecture", "llama")?;
/// writer.tensor("output_norm.weight", TensorType::F32, &[2])?;
/// let mut data = writer.start(Vec::new())?;
/// data.write(&1.0f32.to_le_bytes())?;
/// data.write(&2.0f32.to_le_bytes())?;
/// let file = Gguf::from_bytes(data.finish()?)?;
/// assert_eq!(file.tensors()[0].shape(), [2]);
/// # Ok::<(), yareta::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Writer {
    metadata: Vec<(String, Value)>,
    tensors: Vec<Declared>,
    names: HashSet<String>,
}

/// A tensor whose data is to follow.
#[derive(Clone, Debug)]
struct Declared {
    name: String,
    tensor_type: TensorType,
    shape: Vec<u64>,
    bytes: u64,
}

impl Writer {
    /// A writer without metadata and tensors.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Sets a metadata key, replacing its value if it has one. Keys are written in the order in
    /// which they were first set. `general.alignment` decides what tensor data is aligned to.
    ///
    /// # Errors
    /// [`Error::Unwritable`] if the key is empty or too long for the format.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> Result<&mut Writer> {
        if key.is_empty() || key.len() > LONGEST_KEY {
            let length = key.len();
            return Err(unwritable(format!("a metadata key of {length} bytes")));
        }
        let value = value.into();
        match self.metadata.iter_mut().find(|(set, _)| set == key) {
            Some((_, old)) => *old = value,
            None => self.metadata.push((key.into(), value)),
        }
        Ok(self)
    }

    /// Sets every key of another file, but for those that describe how it is split.
    ///
    /// # Errors
    /// As [`set`](Writer::set); none for the metadata of a file that was read.
    pub fn copy_metadata(&mut self, metadata: &Metadata) -> Result<&mut Writer> {
        for (key, value) in metadata.iter() {
            if !key.starts_with("split.") {
                self.set(key, value.clone())?;
            }
        }
        Ok(self)
    }

    /// Adds a tensor, whose data comes after that of the tensors added before it. `shape` is its
    /// dimensions, the fastest first.
    ///
    /// # Errors
    /// [`Error::Unwritable`] if the name is empty, too long or taken, the shape does not have one
    /// to four dimensions or has a zero, its rows are not whole blocks, or its size overflows.
    pub fn tensor(
        &mut self,
        name: &str,
        tensor_type: TensorType,
        shape: &[u64],
    ) -> Result<&mut Writer> {
        let fail = |reason: String| Err(unwritable(format!("tensor `{name}`: {reason}")));
        if name.is_empty() || name.len() > LONGEST_NAME {
            return fail(format!("a name of {} bytes", name.len()));
        }
        if shape.is_empty() || shape.len() > MOST_DIMENSIONS as usize || shape.contains(&0) {
            return fail(format!("no shape can be {shape:?}"));
        }
        let product = |product: u64, &length: &u64| product.checked_mul(length);
        let elements = shape.iter().try_fold(1, product);
        let whole = shape[0].is_multiple_of(tensor_type.block_len() as u64);
        let bytes = elements.and_then(|elements| tensor_type.bytes(elements));
        let Some(bytes) = bytes.filter(|_| whole) else {
            return fail(format!("{tensor_type} cannot have the shape {shape:?}"));
        };
        if !self.names.insert(name.into()) {
            return fail("added twice".into());
        }
        self.tensors.push(Declared {
            name: name.into(),
            tensor_type,
            shape: shape.into(),
            bytes,
        });
        Ok(self)
    }

    /// Bytes of the whole file, header, data and padding.
    ///
    /// # Errors
    /// As [`start`](Writer::start), but for the writing.
    pub fn file_len(&self) -> Result<u64> {
        let (header, alignment) = self.header()?;
        let mut length = header.len() as u64;
        for tensor in &self.tensors {
            length = padded_end(length, tensor, alignment)?;
        }
        Ok(length)
    }

    /// Writes the header to `out` and answers what takes the tensors' data.
    ///
    /// # Errors
    /// [`Error::Unwritable`] if `general.alignment` is not a power of two or all data together
    /// overflows, [`Error::Write`] if `out` fails.
    pub fn start<W: Write>(&self, mut out: W) -> Result<DataWriter<W>> {
        let (header, alignment) = self.header()?;
        out.write_all(&header).map_err(failed)?;
        let left: Vec<(String, u64)> = self
            .tensors
            .iter()
            .rev()
            .map(|tensor| (tensor.name.clone(), tensor.bytes))
            .collect();
        Ok(DataWriter {
            out,
            alignment,
            left,
            at: 0,
        })
    }

    /// The header, padded to the alignment, and the alignment.
    fn header(&self) -> Result<(Vec<u8>, u64)> {
        let alignment = self.alignment()?;
        let mut header = Vec::new();
        header.extend_from_slice(b"GGUF");
        header.extend_from_slice(&3u32.to_le_bytes());
        put_length(self.tensors.len(), &mut header);
        put_length(self.metadata.len(), &mut header);
        for (key, value) in &self.metadata {
            put_string(key.as_bytes(), &mut header);
            header.extend_from_slice(&value.value_type().id().to_le_bytes());
            put_value(value, &mut header);
        }
        let mut offset = 0u64;
        for tensor in &self.tensors {
            put_string(tensor.name.as_bytes(), &mut header);
            header.extend_from_slice(&(tensor.shape.len() as u32).to_le_bytes());
            for length in &tensor.shape {
                header.extend_from_slice(&length.to_le_bytes());
            }
            header.extend_from_slice(&tensor.tensor_type.id().to_le_bytes());
            header.extend_from_slice(&offset.to_le_bytes());
            offset = padded_end(offset, tensor, alignment)?;
        }
        // A header is padded even where no tensor follows: then files of any content have a
        // length that is a multiple of the alignment.
        header.resize(header.len() + padding(header.len() as u64, alignment), 0);
        Ok((header, alignment))
    }

    fn alignment(&self) -> Result<u64> {
        let set = self.metadata.iter().find(|(key, _)| key == ALIGNMENT_KEY);
        let Some((_, value)) = set else {
            return Ok(DEFAULT_ALIGNMENT);
        };
        match value {
            // Readers differ in what integers they take; all take this one. The limit keeps
            // padding small.
            Value::U32(alignment) if alignment.is_power_of_two() && *alignment <= 1 << 16 => {
                Ok(u64::from(*alignment))
            }
            other => Err(unwritable(format!(
                "`{ALIGNMENT_KEY}` must be a u32 power of two up to 65536, not {other}"
            ))),
        }
    }
}

/// Takes the data of the tensors that a [`Writer`] declared, in their order.
#[derive(Debug)]
pub struct DataWriter<W> {
    out: W,
    alignment: u64,
    left: Vec<(String, u64)>, // name and bytes still to come, the current tensor last
    at: u64,                  // bytes of data written
}

impl<W: Write> DataWriter<W> {
    /// The tensor whose data is next, and how many of its bytes are still to come; `None` when
    /// all are written.
    pub fn next(&self) -> Option<(&str, u64)> {
        self.left
            .last()
            .map(|(name, bytes)| (name.as_str(), *bytes))
    }

    /// Writes the next bytes of the current tensor. When they complete it, the next bytes are of
    /// the next one.
    ///
    /// # Errors
    /// [`Error::Unwritable`] if these are more bytes than the tensor has left, [`Error::Write`]
    /// if the output fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let count = bytes.len() as u64;
        let Some((name, left)) = self.left.last_mut() else {
            return Err(unwritable(format!("{count} bytes after the last tensor")));
        };
        if count > *left {
            return Err(unwritable(format!(
                "tensor `{name}`: {count} bytes where {left} are left"
            )));
        }
        self.out.write_all(bytes).map_err(failed)?;
        self.at += count;
        *left -= count;
        if *left == 0 {
            self.left.pop();
            let zeros = padding(self.at, self.alignment);
            self.out.write_all(&vec![0; zeros]).map_err(failed)?;
            self.at += zeros as u64;
        }
        Ok(())
    }

    /// Ends the file and gives the output back.
    ///
    /// # Errors
    /// [`Error::Unwritable`] if data of a tensor is missing, [`Error::Write`] if the output
    /// fails.
    pub fn finish(mut self) -> Result<W> {
        if let Some((name, left)) = self.left.last() {
            return Err(unwritable(format!(
                "tensor `{name}`: {left} bytes are missing"
            )));
        }
        self.out.flush().map_err(failed)?;
        Ok(self.out)
    }
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(length as u64).to_le_bytes());
}

fn put_string(text: &[u8], out: &mut Vec<u8>) {
    put_length(text.len(), out);
    out.extend_from_slice(text);
}

fn put_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::U8(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::I8(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::U16(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::I16(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::U32(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::I32(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::F32(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::Bool(value) => out.push(u8::from(*value)),
        Value::String(text) => put_string(text.as_bytes(), out),
        Value::Array(array) => put_array(array, out),
        Value::U64(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::I64(value) => out.extend_from_slice(&value.to_le_bytes()),
        Value::F64(value) => out.extend_from_slice(&value.to_le_bytes()),
    }
}

fn put_array(array: &Array, out: &mut Vec<u8>) {
    out.extend_from_slice(&array.element_type().id().to_le_bytes());
    put_length(array.len(), out);
    match array.raw(Encoding::CURRENT) {
        Some(elements) => out.extend_from_slice(elements),
        None => array.iter().for_each(|element| put_value(&element, out)),
    }
}

/// Zeros from `at` to the next multiple of the alignment.
fn padding(at: u64, alignment: u64) -> usize {
    (at.wrapping_neg() % alignment) as usize // less than 65536
}

/// Where the padding after a tensor that starts at `start` ends.
fn padded_end(start: u64, tensor: &Declared, alignment: u64) -> Result<u64> {
    let end = start.checked_add(tensor.bytes);
    end.and_then(|end| end.checked_next_multiple_of(alignment))
        .ok_or_else(|| unwritable(format!("tensor `{}`: all data overflows", tensor.name)))
}

fn unwritable(reason: String) -> Error {
    Error::Unwritable { reason }
}

fn failed(source: std::io::Error) -> Error {
    Error::Write { source }
}
