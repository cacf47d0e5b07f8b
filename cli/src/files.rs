//! Small text files that the user names.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::failure::{Failure, Outcome};

/// The longest file in bytes that is read as a text: what is longer is no text that was meant.
const LONGEST: u64 = 64 << 20;

/// The text in a file.
pub fn read_text(path: &Path) -> Outcome<String> {
    let fail = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::InvalidData => Failure::file(path, "not a text in UTF-8"),
        _ => Failure::file(path, error),
    };
    let mut text = String::new();
    let file = File::open(path).map_err(fail)?;
    let read = file.take(LONGEST + 1).read_to_string(&mut text);
    match read.map_err(fail)? as u64 > LONGEST {
        true => Err(Failure::file(path, "longer than 64 MiB")),
        false => Ok(text),
    }
}
