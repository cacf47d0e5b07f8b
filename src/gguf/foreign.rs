//! Names what a file is that is not GGUF, from its first bytes, so that the error helps.

/// How files of other kinds begin. Numbers of the old ggml files are written in the byte order of
/// the machine that made them, hence both spellings.
const BEGINNINGS: &[(&[u8], &str)] = &[
    (b"lmgg", "a legacy GGML file, from before GGUF; convert it"),
    (b"ggml", "a legacy GGML file (big endian), from before GGUF"),
    (b"fmgg", "a legacy GGMF file, from before GGUF; convert it"),
    (b"ggmf", "a legacy GGMF file (big endian), from before GGUF"),
    (b"tjgg", "a legacy GGJT file, from before GGUF; convert it"),
    (b"ggjt", "a legacy GGJT file (big endian), from before GGUF"),
    (
        b"algg",
        "a legacy GGLA adapter, from before GGUF; convert it",
    ),
    (
        b"ggla",
        "a legacy GGLA adapter (big endian), from before GGUF",
    ),
    (b"nsgg", "a saved session of another program"),
    (b"ggsn", "a saved session of another program"),
    (b"FUGG", "a GGUF file whose magic is byte-swapped"),
    (
        b"version https://git-lfs",
        "a Git LFS pointer: the file itself was not downloaded",
    ),
    (b"PK\x03\x04", "a zip archive, such as a PyTorch checkpoint"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"),
    (b"\xfd7zXZ\0", "an xz archive; unpack it first"),
    (b"BZh", "a bzip2 archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it first"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x7fELF", "an ELF program"),
    (b"%PDF", "a PDF document"),
];

/// What bytes that do not start with GGUF's magic look like.
pub(crate) fn describe(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "the file is empty".into();
    }
    let known = BEGINNINGS
        .iter()
        .find(|(beginning, _)| bytes.starts_with(beginning));
    if let Some((_, name)) = known {
        return (*name).into();
    }
    if is_safetensors(bytes) {
        return "a safetensors file; convert it".into();
    }
    // A pickle opens with its protocol opcode and number; PyTorch writes 2 to 5.
    if let [0x80, 2..=5, ..] = bytes {
        return "a Python pickle, such as an old PyTorch checkpoint".into();
    }
    if let Some(name) = describe_text(bytes) {
        return name.into();
    }
    let first = &bytes[..bytes.len().min(4)];
    format!("it starts with the bytes {first:02x?}, not with `GGUF`")
}

/// A safetensors file starts with the length of its JSON header, which opens a JSON object.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return false;
    };
    // Its own reader accepts headers up to 100 MB.
    u64::from_le_bytes(*length) <= 100_000_000 && rest.starts_with(b"{")
}

/// What kind of text the bytes are, if they are text.
fn describe_text(bytes: &[u8]) -> Option<&'static str> {
    let start = &bytes[..bytes.len().min(256)];
    let text = start.trim_ascii_start().to_ascii_lowercase();
    if text.starts_with(b"<!doctype") || text.starts_with(b"<html") {
        return Some("an HTML page: the download gave a web page instead of the file");
    }
    if text.starts_with(b"<?xml") {
        return Some("an XML document, perhaps the error answer of a download");
    }
    if text.starts_with(b"{") {
        return Some("JSON text");
    }
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r');
    (!text.is_empty() && text.iter().all(is_text)).then_some("plain text")
}
