//! Models split over several files: `name-00001-of-00003.gguf`, opened from the first.

use std::path::{Path, PathBuf};

use super::metadata::Metadata;
use super::part::Part;
use crate::file::Bytes;
use crate::{Error, Result};

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// How many parts the model has whose part has this `metadata`; 1 if it is not split.
///
/// # Errors
/// [`Error::KeyValue`] if this is not the first part, or the numbers contradict each other.
pub(crate) fn count(metadata: &Metadata) -> Result<u32> {
    let count = metadata.u32(COUNT)?.unwrap_or(1);
    let number = metadata.u32(NUMBER)?.unwrap_or(0);
    if count == 0 || number >= count {
        return Err(bad(
            NUMBER,
            format!("there is no part {number} (from 0) of {count}"),
        ));
    }
    if number > 0 {
        return Err(bad(
            NUMBER,
            format!(
                "this is part {} of {count} of a split model; open the first, `…{}`",
                number + 1,
                suffix(0, count)
            ),
        ));
    }
    // The names have five digits for it.
    if count > 99_999 {
        return Err(bad(COUNT, format!("{count} parts, more than 99999")));
    }
    Ok(count)
}

/// Maps the other parts of the model whose first part was opened from `path`.
///
/// # Errors
/// [`Error::KeyValue`] if the files do not belong together; what mapping and reading a file
/// gives, the part named.
pub(crate) fn open_rest(path: &Path, first: Part, count: u32) -> Result<Vec<Part>> {
    let mut parts = vec![first];
    for number in 1..count {
        let path = sibling(path, number, count)?;
        let part = Bytes::map(&path)
            .and_then(|bytes| Part::read(bytes, parts.len()))
            .map_err(|error| in_part(error, number, count))?;
        check_belongs(&part, &parts[0], number, count)?;
        parts.push(part);
    }
    let found: usize = parts.iter().map(|part| part.tensors.len()).sum();
    let expected = parts[0].metadata.u64(TENSORS)?;
    match expected {
        Some(expected) if expected != found as u64 => Err(bad(
            TENSORS,
            format!("{expected} tensors expected in {count} parts, found {found}"),
        )),
        _ => Ok(parts),
    }
}

/// How the name of part `number` (from 0) ends.
fn suffix(number: u32, count: u32) -> String {
    format!("-{:05}-of-{count:05}.gguf", number + 1)
}

/// The path of another part, from the path of the first.
fn sibling(first: &Path, number: u32, count: u32) -> Result<PathBuf> {
    let ending = suffix(0, count);
    let name = first.file_name().and_then(|name| name.to_str());
    let Some(stem) = name.and_then(|name| name.strip_suffix(&ending)) else {
        return Err(bad(
            COUNT,
            format!(
                "the first of {count} parts must have a name that ends in `{ending}`, found `{}`",
                first.display()
            ),
        ));
    };
    Ok(first.with_file_name(format!("{stem}{}", suffix(number, count))))
}

fn check_belongs(part: &Part, first: &Part, number: u32, count: u32) -> Result<()> {
    let found = part.metadata.require_u32(NUMBER);
    let found = found.map_err(|error| in_part(error, number, count))?;
    if found != number {
        return Err(bad(
            NUMBER,
            format!(
                "the file of part {} of {count} says that it is part {}",
                number + 1,
                u64::from(found) + 1
            ),
        ));
    }
    let found = part.metadata.require_u32(COUNT);
    let found = found.map_err(|error| in_part(error, number, count))?;
    if found != count {
        return Err(bad(
            COUNT,
            format!(
                "the file of part {} of {count} says that there are {found}",
                number + 1
            ),
        ));
    }
    if part.order != first.order {
        return Err(bad(
            NUMBER,
            format!(
                "part {} of {count} has another byte order than the first",
                number + 1
            ),
        ));
    }
    Ok(())
}

/// Names the part in an error that does not name its file.
fn in_part(error: Error, number: u32, count: u32) -> Error {
    let part = number + 1;
    match error {
        Error::Malformed { what, offset } => Error::Malformed {
            what: format!("part {part} of {count}: {what}"),
            offset,
        },
        Error::NotGguf { found } => Error::NotGguf {
            found: format!("part {part} of {count}: {found}"),
        },
        Error::MissingKey { key } => bad(&key, format!("missing in part {part} of {count}")),
        other => other,
    }
}

fn bad(key: &str, reason: String) -> Error {
    Error::KeyValue {
        key: key.into(),
        reason,
    }
}
