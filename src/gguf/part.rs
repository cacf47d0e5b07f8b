//! One file, checked: its metadata and where its tensors are. All checks of GGUF's format are
//! made here and in what it calls, once, when the file is opened.

use std::collections::HashSet;
use std::ops::Range;

use super::cursor::{Cursor, Encoding, Order, Subject};
use super::foreign;
use super::metadata::Metadata;
use super::tensor_type::TensorType;
use crate::file::Bytes;
use crate::{Error, Result};

/// The most tensors in a file. The largest models in use, with every expert a tensor of its own,
/// have some fifty thousand.
const MOST_TENSORS: u64 = 1 << 18;

/// The longest tensor name in bytes: ggml has room for 64, some of its descendants for more.
pub(crate) const LONGEST_NAME: usize = 1024;

/// The most dimensions of a tensor.
pub(crate) const MOST_DIMENSIONS: u32 = 4;

/// The key that says what tensor data is aligned to.
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";

/// Where tensor data is aligned to unless `general.alignment` says otherwise.
pub(crate) const DEFAULT_ALIGNMENT: u64 = 32;

/// A file, or one part of a split one.
pub(crate) struct Part {
    pub(crate) bytes: Bytes,
    pub(crate) version: u32,
    pub(crate) order: Order,
    pub(crate) alignment: u64,
    pub(crate) metadata: Metadata,
    pub(crate) tensors: Vec<TensorInfo>,
}

/// What a file says of a tensor: name, type, shape, and where its bytes are.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    pub(crate) name: Box<str>,
    tensor_type: TensorType,
    shape: [u64; MOST_DIMENSIONS as usize],
    dimensions: usize,
    pub(crate) part: usize,
    pub(crate) range: Range<usize>, // in the part's file
}

impl TensorInfo {
    /// Its name, unique in the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type of its elements.
    pub fn tensor_type(&self) -> TensorType {
        self.tensor_type
    }

    /// One to four dimensions, none of them zero, the fastest first, as GGUF writes them: a
    /// matrix is (columns, rows), where a row of columns lies together.
    pub fn shape(&self) -> &[u64] {
        &self.shape[..self.dimensions]
    }

    /// Number of elements, the product of the shape.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product() // checked when the file was opened; unused dimensions are 1
    }

    /// Bytes that it takes in the file.
    pub fn byte_len(&self) -> usize {
        self.range.len()
    }

    /// Which part of a split file it lies in, from 0.
    pub fn part(&self) -> usize {
        self.part
    }

    /// Where it lies in the file, or in its part of a split one, in bytes from the start.
    pub fn byte_range(&self) -> Range<usize> {
        self.range.clone()
    }
}

/// A tensor as its entry in the header has it.
struct TensorEntry {
    name: Box<str>,
    tensor_type: TensorType,
    shape: [u64; MOST_DIMENSIONS as usize],
    dimensions: usize,
    offset: u64, // from the start of the data
    bytes: u64,
    at: usize, // of the entry in the file
}

impl Part {
    /// Reads and checks everything but the tensors' data.
    ///
    /// # Errors
    /// [`Error::NotGguf`], [`Error::Malformed`]; and for `general.alignment`, [`Error::KeyType`].
    pub(crate) fn read(bytes: Bytes, number: usize) -> Result<Part> {
        let (version, encoding) = read_version(&bytes)?;
        let mut cursor = Cursor::new(&bytes, 8, encoding);
        let at = cursor.position();
        let tensor_count = cursor.length()?;
        if tensor_count > MOST_TENSORS {
            let what = format_args!("{tensor_count} tensors, more than {MOST_TENSORS}");
            return Err(cursor.malformed(at, what));
        }
        let metadata = Metadata::read(&bytes, &mut cursor)?;
        let alignment = read_alignment(&metadata)?;
        let entries = read_entries(&mut cursor, at, tensor_count, alignment)?;
        let tensors = place(&bytes, cursor.position(), alignment, entries, number)?;
        Ok(Part {
            version,
            order: encoding.order,
            alignment,
            metadata,
            tensors,
            bytes,
        })
    }
}

/// Reads the magic and the version. The version's byte order is that of the whole file.
fn read_version(bytes: &[u8]) -> Result<(u32, Encoding)> {
    const MAGIC: &[u8] = b"GGUF";
    let truncated = !bytes.is_empty() && bytes.len() < MAGIC.len() && MAGIC.starts_with(bytes);
    if !bytes.starts_with(MAGIC) && !truncated {
        return Err(Error::NotGguf {
            found: foreign::describe(bytes),
        });
    }
    let mut cursor = Cursor::new(bytes, MAGIC.len(), Encoding::CURRENT);
    let little = cursor.number()?;
    // Versions are small numbers, so that a byte-swapped one has its low half empty.
    let (version, order) = if little != 0 && little & 0xffff == 0 {
        (little.swap_bytes(), Order::Big)
    } else {
        (little, Order::Little)
    };
    let length_bytes = match version {
        1 => 4,
        2 | 3 => 8,
        other => {
            let what = format_args!("GGUF version {other}, which is not one of 1, 2, 3");
            return Err(cursor.malformed(MAGIC.len(), what));
        }
    };
    let encoding = Encoding {
        order,
        length_bytes,
    };
    Ok((version, encoding))
}

fn read_alignment(metadata: &Metadata) -> Result<u64> {
    let alignment = metadata.u64(ALIGNMENT_KEY)?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() {
        return Err(Error::KeyValue {
            key: ALIGNMENT_KEY.into(),
            reason: format!("{alignment} is not a power of two"),
        });
    }
    Ok(alignment)
}

/// Reads the entries of the tensors; `at` is where their number was read.
fn read_entries(
    cursor: &mut Cursor<'_>,
    at: usize,
    count: u64,
    alignment: u64,
) -> Result<Vec<TensorEntry>> {
    // The least an entry takes: the length of its name, its number of dimensions, one dimension,
    // its type, its offset.
    let least = 2 * cursor.encoding().length_bytes + 4 + 4 + 8;
    cursor.about(Subject::Header);
    let capacity = cursor.fits(at, (count, "tensors"), least)?;
    let mut entries = Vec::with_capacity(capacity);
    let mut names = HashSet::with_capacity(capacity);
    for number in 0..count {
        cursor.about(Subject::TensorName(number, count));
        let at = cursor.position();
        let name = cursor.name(LONGEST_NAME)?;
        if name.is_empty() {
            return Err(cursor.malformed(at, "an empty name"));
        }
        if !names.insert(name) {
            return Err(Error::Malformed {
                what: format!("tensor `{name}` is there twice"),
                offset: at as u64,
            });
        }
        cursor.about(Subject::TensorEntry(name));
        let entry = read_entry(cursor, name)?;
        if !entry.offset.is_multiple_of(alignment) {
            let offset = entry.offset;
            let what = format_args!("its offset {offset} is not a multiple of {alignment}");
            return Err(cursor.malformed(entry.at, what));
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// Reads what follows a tensor's name.
fn read_entry(cursor: &mut Cursor<'_>, name: &str) -> Result<TensorEntry> {
    let at = cursor.position();
    let dimensions = cursor.number()?;
    if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
        let what = format_args!("{dimensions} dimensions, not 1 to {MOST_DIMENSIONS}");
        return Err(cursor.malformed(at, what));
    }
    let dimensions = dimensions as usize; // at most four
    let mut shape = [1; MOST_DIMENSIONS as usize];
    for length in &mut shape[..dimensions] {
        *length = cursor.length()?;
    }
    let shown = &shape[..dimensions];
    if shown.contains(&0) {
        return Err(cursor.malformed(at, format_args!("a dimension of {shown:?} is zero")));
    }
    let product = |product: u64, &length: &u64| product.checked_mul(length);
    let Some(elements) = shown.iter().try_fold(1, product) else {
        let what = format_args!("the product of the dimensions {shown:?} overflows");
        return Err(cursor.malformed(at, what));
    };

    let type_at = cursor.position();
    let id = cursor.number()?;
    let Some(tensor_type) = TensorType::from_id(id) else {
        return Err(cursor.malformed(type_at, format_args!("unknown tensor type {id}")));
    };
    let block_len = tensor_type.block_len() as u64;
    if !shape[0].is_multiple_of(block_len) {
        let what = format_args!(
            "rows of {} elements are not whole blocks of {block_len}, as {tensor_type} has them",
            shape[0]
        );
        return Err(cursor.malformed(at, what));
    }
    let Some(bytes) = tensor_type.bytes(elements) else {
        let what = format_args!("the bytes of {shown:?} elements of {tensor_type} overflow");
        return Err(cursor.malformed(at, what));
    };
    Ok(TensorEntry {
        name: name.into(),
        tensor_type,
        shape,
        dimensions,
        offset: cursor.offset()?,
        bytes,
        at,
    })
}

/// Finds where each tensor lies in the file whose header ends at `header`, and that no two lie in
/// the same place.
fn place(
    bytes: &[u8],
    header: usize,
    alignment: u64,
    entries: Vec<TensorEntry>,
    part: usize,
) -> Result<Vec<TensorInfo>> {
    let malformed = |name: &str, at: usize, what: String| Error::Malformed {
        what: format!("tensor `{name}`: {what}"),
        offset: at as u64,
    };
    let data = (header as u64).checked_next_multiple_of(alignment);
    let mut tensors = Vec::with_capacity(entries.len());
    for entry in entries {
        let start = data.and_then(|data| data.checked_add(entry.offset));
        let end = start.and_then(|start| start.checked_add(entry.bytes));
        let (Some(start), Some(end)) = (start, end) else {
            let what = format!("its offset {} overflows", entry.offset);
            return Err(malformed(&entry.name, entry.at, what));
        };
        if end > bytes.len() as u64 {
            let what = format!(
                "its data ends at byte {end}, past the end of the file of {} bytes",
                bytes.len()
            );
            return Err(malformed(&entry.name, entry.at, what));
        }
        tensors.push(TensorInfo {
            name: entry.name,
            tensor_type: entry.tensor_type,
            shape: entry.shape,
            dimensions: entry.dimensions,
            part,
            range: start as usize..end as usize, // within the file, whose length is a usize
        });
    }

    let mut by_place: Vec<&TensorInfo> = tensors.iter().collect();
    by_place.sort_unstable_by_key(|tensor| tensor.range.start);
    for pair in by_place.windows(2) {
        if pair[0].range.end > pair[1].range.start {
            return Err(Error::Malformed {
                what: format!("tensors `{}` and `{}` overlap", pair[0].name, pair[1].name),
                offset: pair[1].range.start as u64,
            });
        }
    }
    Ok(tensors)
}
