//! GGUF files: metadata and tensors, read in place, and written.
//!
//! Responsible for the container: what bytes of a file mean which key, value and tensor, checked
//! once when it is opened, so that nothing read later can fail or reach outside the file. Knows
//! nothing of architectures, of what a key means to a model, or of what tensors compute.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 1, 2 and 3 in
//! either byte order.

mod array;
mod convert;
mod cursor;
mod foreign;
mod metadata;
mod part;
mod split;
mod tensor_type;
mod value;
mod write;

pub use array::{Array, ByteStrings, Strings, Values};
pub use metadata::Metadata;
pub use part::TensorInfo;
pub use tensor_type::TensorType;
pub use value::{Text, Value, ValueType};
pub use write::{DataWriter, Writer};

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::file::Bytes;
use crate::{Error, Result};
use cursor::Order;
use part::Part;

/// An open GGUF file, or all parts of a split one. Cloning is cheap and shares everything.
#[derive(Clone)]
pub struct Gguf(Arc<Inner>);

struct Inner {
    parts: Vec<Part>,                    // at least one; their tensors are below
    tensors: Vec<TensorInfo>,            // of all parts, in order
    positions: HashMap<Box<str>, usize>, // in `tensors`
}

/// What there is, not the bytes.
impl fmt::Debug for Gguf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gguf")
            .field("version", &self.version())
            .field("parts", &self.parts())
            .field("keys", &self.metadata().len())
            .field("tensors", &self.tensors().len())
            .field("bytes", &self.file_len())
            .finish_non_exhaustive()
    }
}

impl Gguf {
    /// Maps a file into memory and checks its header; tensor data is not touched, so that this
    /// takes milliseconds for a file of any size. A model split over several files is opened from
    /// its first part, `…-00001-of-0000n.gguf`.
    ///
    /// The files must not be changed while they are open: changed weights give wrong results, and
    /// the system ends a process that reads from a part of a file that was cut off.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be mapped; [`Error::NotGguf`] if it is something else,
    /// saying what; [`Error::Malformed`] where it breaks the format; [`Error::KeyType`] or
    /// [`Error::KeyValue`] for a wrong `general.alignment` or contradictory `split.` keys.
    pub fn open(path: impl AsRef<Path>) -> Result<Gguf> {
        let path = path.as_ref();
        let first = Part::read(Bytes::map(path)?, 0)?;
        let count = split::count(&first.metadata)?;
        Gguf::new(split::open_rest(path, first, count)?)
    }

    /// Reads a file that is in memory.
    ///
    /// # Errors
    /// As [`open`](Gguf::open), and [`Error::KeyValue`] if it is a part of a split model.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Gguf> {
        Gguf::from_shared(bytes.into())
    }

    /// Reads a file that is part of the program, such as one included with `include_bytes!`.
    ///
    /// # Errors
    /// As [`from_bytes`](Gguf::from_bytes).
    pub fn from_static(bytes: &'static [u8]) -> Result<Gguf> {
        Gguf::from_shared(Bytes::from_static(bytes))
    }

    /// The metadata; of a split model, that of the first part.
    pub fn metadata(&self) -> &Metadata {
        &self.first().metadata
    }

    /// All tensors in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.0.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let position = *self.0.positions.get(name)?;
        self.0.tensors.get(position)
    }

    /// The bytes of a tensor of this file, in their place, in the file's byte order.
    ///
    /// # Panics
    /// If `tensor` is of another file.
    pub fn bytes(&self, tensor: &TensorInfo) -> &[u8] {
        &self.0.parts[tensor.part].bytes[tensor.range.clone()]
    }

    /// Version of the format: 1, 2 or 3.
    pub fn version(&self) -> u32 {
        self.first().version
    }

    /// Whether numbers are stored with their most significant byte first. Metadata is read the
    /// same either way; tensor data is not converted, and models cannot be made of such files.
    pub fn is_big_endian(&self) -> bool {
        self.first().order == Order::Big
    }

    /// What tensor data is aligned to, in bytes: a power of two.
    pub fn alignment(&self) -> u64 {
        self.first().alignment
    }

    /// Number of files: 1, or the parts of a split model.
    pub fn parts(&self) -> usize {
        self.0.parts.len()
    }

    /// Bytes of all files.
    pub fn file_len(&self) -> u64 {
        self.0
            .parts
            .iter()
            .map(|part| part.bytes.len() as u64)
            .sum()
    }

    /// Asks the system to read the files ahead, in order, in the background. Of use before a
    /// first pass over the weights of a file that is not in memory yet; does nothing for bytes
    /// that are, or where the system cannot.
    pub fn read_ahead(&self) {
        #[cfg(unix)]
        for map in self.0.parts.iter().filter_map(|part| part.bytes.mapping()) {
            // Advice only: a system that refuses it reads pages when they are touched.
            let _ = map.advise(memmap2::Advice::WillNeed);
        }
    }

    /// Asks the system to hold what it reads of the files from now on in huge pages, which also has it
    /// read two megabytes at a time; does nothing where it cannot.
    pub(crate) fn ask_for_huge_pages(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        for map in self.0.parts.iter().filter_map(|part| part.bytes.mapping()) {
            // Advice only, which a system without huge pages refuses.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
    }

    fn first(&self) -> &Part {
        &self.0.parts[0] // there is always one
    }

    fn from_shared(bytes: Bytes) -> Result<Gguf> {
        let part = Part::read(bytes, 0)?;
        match split::count(&part.metadata)? {
            1 => Gguf::new(vec![part]),
            count => Err(Error::KeyValue {
                key: "split.count".into(),
                reason: format!("a model split in {count} can only be opened from its files"),
            }),
        }
    }

    fn new(mut parts: Vec<Part>) -> Result<Gguf> {
        let tensors: Vec<TensorInfo> = parts
            .iter_mut()
            .flat_map(|part| std::mem::take(&mut part.tensors))
            .collect();
        let mut positions = HashMap::with_capacity(tensors.len());
        for (position, tensor) in tensors.iter().enumerate() {
            // Within a part, names were found to be unique.
            if positions.insert(tensor.name.clone(), position).is_some() {
                return Err(Error::Malformed {
                    what: format!("tensor `{}` is in two parts", tensor.name),
                    offset: tensor.range.start as u64,
                });
            }
        }
        Ok(Gguf(Arc::new(Inner {
            parts,
            tensors,
            positions,
        })))
    }
}
