//! The bytes of a file: memory-mapped, owned or static, shared without copying.
//!
//! Responsible for mapping files, and the only module of the library that needs `unsafe` for it.
//! Knows nothing of what the bytes mean.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::{Error, Result};

/// Immutable bytes that any number of owners share; cloning is cheap and moves nothing.
#[derive(Clone, Debug)]
pub(crate) struct Bytes(Arc<Source>);

#[derive(Debug)]
enum Source {
    Mapped(Mmap),
    Owned(Vec<u8>),
    Static(&'static [u8]),
}

impl Bytes {
    /// Maps the whole of a regular file, read-only. Takes no memory until the bytes are used, and
    /// then only pages that the system can drop again and that other processes share.
    ///
    /// The file must not be shortened or rewritten while it is mapped: see the `SAFETY` comment.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened or mapped, or is not a regular file.
    pub(crate) fn map(path: &Path) -> Result<Bytes> {
        let fail = |source| Error::Io {
            path: path.to_path_buf(),
            source,
        };
        // Asked before opening, because opening a named pipe would wait for its writer.
        if !std::fs::metadata(path).map_err(fail)?.is_file() {
            let kind = io::ErrorKind::InvalidInput;
            return Err(fail(io::Error::new(kind, "not a regular file")));
        }
        let file = File::open(path).map_err(fail)?;
        // SAFETY: `Mmap::map` asks that the mapped bytes do not change while they are borrowed.
        // No code of this process can change them through this mapping: it is read-only, private
        // to this `Source`, and lives as long as it. What remains is another writer to the same
        // file, which no program can rule out: writing elsewhere in the file can at worst make
        // weights wrong, because nothing that was checked at open (offsets, lengths, text) is
        // trusted to stay so when it is read again; shortening the file ends the process with
        // the system's signal for a lost page. Both are documented at `Gguf::open`.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(fail)?;
        Ok(Bytes(Arc::new(Source::Mapped(map))))
    }

    /// Shares bytes that are part of the program.
    pub(crate) fn from_static(bytes: &'static [u8]) -> Bytes {
        Bytes(Arc::new(Source::Static(bytes)))
    }

    /// The mapping, where the bytes are mapped.
    pub(crate) fn mapping(&self) -> Option<&Mmap> {
        match &*self.0 {
            Source::Mapped(map) => Some(map),
            Source::Owned(_) | Source::Static(_) => None,
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes(Arc::new(Source::Owned(bytes)))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Source::Mapped(map) => map,
            Source::Owned(bytes) => bytes,
            Source::Static(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_regular_file_is_refused() {
        let error = Bytes::map(Path::new("/")).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
        let error = Bytes::map(Path::new("/no/such/file"))
            .map(|_| ())
            .unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
    }

    #[test]
    fn owned_static_and_mapped_bytes_are_the_same() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        let content = include_bytes!("../Cargo.toml");
        assert_eq!(*Bytes::map(path).unwrap(), *content);
        assert_eq!(*Bytes::from(content.to_vec()), *content);
        assert_eq!(*Bytes::from_static(content), *content);
    }
}
