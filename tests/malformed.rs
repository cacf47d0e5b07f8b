//! Files that are not valid GGUF: each kind gives the error that says what is wrong and where.

#[path = "common/exercise.rs"]
mod exercise;
mod raw;

use exercise::exercise;
use raw::Raw;
use yareta::{Error, Gguf};

/// A kind of malformed file and the error it must give, to the letter.
struct Case {
    bytes: Vec<u8>,
    error: &'static str,
}

fn case(bytes: Raw, error: &'static str) -> Case {
    Case {
        bytes: bytes.done(),
        error,
    }
}

fn check(cases: Vec<Case>) {
    assert!(!cases.is_empty());
    let mut wrong = Vec::new();
    for Case { bytes, error } in cases {
        let answer = match Gguf::from_bytes(bytes.clone()) {
            Ok(_) => "opened".to_string(),
            Err(found) => found.to_string(),
        };
        if answer != error {
            wrong.push(format!("expected: {error}\n   found: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// Numbers of value types.
const U8: u32 = 0;
const I32: u32 = 5;
const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;
const U64: u32 = 10;

// Numbers of tensor types.
const F32: u32 = 0;
const Q4_0: u32 = 2;
const F64: u32 = 28;

#[test]
fn other_files_are_named() {
    let cases: [(&[u8], &str); 24] = [
        (b"", "the file is empty"),
        (
            b"lmgg\x01\0",
            "a legacy GGML file, from before GGUF; convert it",
        ),
        (
            b"ggml\0\0",
            "a legacy GGML file (big endian), from before GGUF",
        ),
        (
            b"fmgg\x01\0",
            "a legacy GGMF file, from before GGUF; convert it",
        ),
        (
            b"tjgg\x03\0",
            "a legacy GGJT file, from before GGUF; convert it",
        ),
        (
            b"algg\x01\0",
            "a legacy GGLA adapter, from before GGUF; convert it",
        ),
        (b"FUGG\0\0\0\x03", "a GGUF file whose magic is byte-swapped"),
        (
            b"\x40\0\0\0\0\0\0\0{\"__metadata__\":{}}",
            "a safetensors file; convert it",
        ),
        (
            b"PK\x03\x04\0\0",
            "a zip archive, such as a PyTorch checkpoint",
        ),
        (
            b"\x80\x02\x8a\x0al\xfc\x9c",
            "a Python pickle, such as an old PyTorch checkpoint",
        ),
        (b"\x1f\x8b\x08", "a gzip archive; unpack it first"),
        (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"),
        (b"\xfd7zXZ\0", "an xz archive; unpack it first"),
        (b"BZh9", "a bzip2 archive; unpack it first"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00",
            "a Git LFS pointer: the file itself was not downloaded",
        ),
        (
            b"\n<!DOCTYPE html><html>",
            "an HTML page: the download gave a web page instead of the file",
        ),
        (
            b"<html><head>",
            "an HTML page: the download gave a web page instead of the file",
        ),
        (
            b"<?xml version=\"1.0\"?><Error>",
            "an XML document, perhaps the error answer of a download",
        ),
        (b"{\"error\":\"not found\"}", "JSON text"),
        (b"Entry not found", "plain text"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"\x93NUMPY\x01", "a NumPy array"),
        (b"\x7fELF\x02", "an ELF program"),
        (
            b"\x00\x01\x02\x03\x04",
            "it starts with the bytes [00, 01, 02, 03], not with `GGUF`",
        ),
    ];
    for (bytes, expected) in cases {
        let Err(Error::NotGguf { found }) = Gguf::from_bytes(bytes.to_vec()) else {
            panic!("{expected}");
        };
        assert_eq!(found, expected);
    }
}

#[test]
fn malformed_headers() {
    check(vec![
        case(
            Raw::start(0, false),
            "malformed GGUF: the header: GGUF version 0, which is not one of 1, 2, 3 (at byte 4)",
        ),
        case(
            Raw::start(4, false).u64(0).u64(0),
            "malformed GGUF: the header: GGUF version 4, which is not one of 1, 2, 3 (at byte 4)",
        ),
        case(
            Raw::start(4, true).u64(0).u64(0),
            "malformed GGUF: the header: GGUF version 4, which is not one of 1, 2, 3 (at byte 4)",
        ),
        case(
            Raw::start(3, false).u32(0),
            "malformed GGUF: the file ends inside the header (at byte 12)",
        ),
        case(
            Raw::start(3, false).u64(0),
            "malformed GGUF: the file ends inside the header (at byte 16)",
        ),
        case(
            Raw::header(u64::MAX, 0),
            "malformed GGUF: the header: 18446744073709551615 tensors, more than 262144 (at byte 8)",
        ),
        case(
            Raw::header(262_145, 0),
            "malformed GGUF: the header: 262145 tensors, more than 262144 (at byte 8)",
        ),
        case(
            Raw::header(1000, 0),
            "malformed GGUF: the header: 1000 tensors do not fit the rest of the file (at byte 8)",
        ),
        case(
            Raw::header(0, u64::MAX),
            "malformed GGUF: the header: 18446744073709551615 metadata keys, more than 65536 (at byte 16)",
        ),
        case(
            Raw::header(0, 65_537),
            "malformed GGUF: the header: 65537 metadata keys, more than 65536 (at byte 16)",
        ),
        case(
            Raw::header(0, 60_000),
            "malformed GGUF: the header: 60000 metadata keys do not fit the rest of the file (at byte 16)",
        ),
        case(
            Raw::start(1, false).length(0).length(60_000),
            "malformed GGUF: the header: 60000 metadata keys do not fit the rest of the file (at byte 12)",
        ),
        case(
            Raw::start(3, true).length(1000).length(0),
            "malformed GGUF: the header: 1000 tensors do not fit the rest of the file (at byte 8)",
        ),
    ]);
    for length in 1..4 {
        let error = Gguf::from_bytes(b"GGUF"[..length].to_vec()).unwrap_err();
        let message = "malformed GGUF: the file ends inside the header";
        assert!(error.to_string().starts_with(message), "{error}");
    }
}

#[test]
fn malformed_keys() {
    let long = "k".repeat(65_536);
    check(vec![
        case(
            Raw::header(0, 1).u64(u64::MAX).u64(0),
            "malformed GGUF: metadata key 1 of 1: 18446744073709551615 bytes of text do not fit the rest of the file (at byte 24)",
        ),
        case(
            Raw::header(0, 1).u64(9).bytes(b"too short"),
            "malformed GGUF: the file ends inside the value of metadata key `too short` (at byte 41)",
        ),
        case(
            Raw::header(0, 2).key_u32("a", 1).u32(0).bytes(&[0; 5]),
            "malformed GGUF: metadata key 2 of 2: an empty name (at byte 41)",
        ),
        case(
            Raw::header(0, 2).key_u32("first", 1).key_u32("first", 1),
            "malformed GGUF: metadata key `first` is there twice (at byte 45)",
        ),
        case(
            Raw::header(0, 1).key("", 4).u32(1),
            "malformed GGUF: metadata key 1 of 1: an empty name (at byte 24)",
        ),
        case(
            Raw::header(0, 1).key(b"caf\xe9", 4).u32(1),
            "malformed GGUF: metadata key 1 of 1: a name that is not UTF-8 (at byte 24)",
        ),
        case(
            Raw::header(0, 1).key(&long, 4).u32(1),
            "malformed GGUF: metadata key 1 of 1: a name of 65536 bytes, longer than 65535 (at byte 24)",
        ),
        case(
            Raw::header(0, 1).key("k", 13).u32(1),
            "malformed GGUF: the value of metadata key `k`: unknown value type 13 (at byte 33)",
        ),
        case(
            Raw::header(0, 1).key("k", u32::MAX).u32(1),
            "malformed GGUF: the value of metadata key `k`: unknown value type 4294967295 (at byte 33)",
        ),
    ]);
}

#[test]
fn malformed_values() {
    let value = |kind: u32| Raw::header(0, 1).key("k", kind);
    let nested = |depth: usize| {
        let deeper = |raw: Raw, _| raw.u32(ARRAY).u64(1);
        (0..depth).fold(value(ARRAY), deeper).u32(U8).u64(0)
    };
    assert!(Gguf::from_bytes(nested(3).done()).is_ok());
    check(vec![
        case(
            value(U64).u32(0),
            "malformed GGUF: the file ends inside the value of metadata key `k` (at byte 41)",
        ),
        case(
            value(STRING).u64(1 << 40).bytes(b"short"),
            "malformed GGUF: the value of metadata key `k`: 1099511627776 bytes of text do not fit the rest of the file (at byte 37)",
        ),
        case(
            value(BOOL).bytes(&[2]),
            "malformed GGUF: the value of metadata key `k`: a bool of value 2, not 0 or 1 (at byte 37)",
        ),
        case(
            value(ARRAY).u32(BOOL).u64(3).bytes(&[0, 1, 255]),
            "malformed GGUF: the value of metadata key `k`: a bool of value 255, not 0 or 1 (at byte 51)",
        ),
        case(
            value(ARRAY).u32(99).u64(0),
            "malformed GGUF: the value of metadata key `k`: unknown value type 99 (at byte 37)",
        ),
        case(
            value(ARRAY).u32(U8).u64(u64::MAX).bytes(&[0; 16]),
            "malformed GGUF: the value of metadata key `k`: 18446744073709551615 array elements do not fit the rest of the file (at byte 41)",
        ),
        case(
            value(ARRAY).u32(U64).u64(1 << 61).bytes(&[0; 16]),
            "malformed GGUF: the value of metadata key `k`: 2305843009213693952 array elements do not fit the rest of the file (at byte 41)",
        ),
        case(
            value(ARRAY).u32(I32).u64(5).bytes(&[0; 16]),
            "malformed GGUF: the value of metadata key `k`: 5 array elements do not fit the rest of the file (at byte 41)",
        ),
        case(
            value(ARRAY).u32(STRING).u64(1 << 32).bytes(&[0; 16]),
            "malformed GGUF: the value of metadata key `k`: 4294967296 array elements do not fit the rest of the file (at byte 41)",
        ),
        case(
            value(ARRAY)
                .u32(STRING)
                .u64(2)
                .text("one")
                .u64(4)
                .bytes(b"two"),
            "malformed GGUF: the value of metadata key `k`: 4 bytes of text do not fit the rest of the file (at byte 60)",
        ),
        case(
            value(ARRAY).u32(ARRAY).u64(2).u32(U8).u64(0),
            "malformed GGUF: the value of metadata key `k`: 2 array elements do not fit the rest of the file (at byte 41)",
        ),
        case(
            nested(4),
            "malformed GGUF: the value of metadata key `k`: arrays nested deeper than 4 (at byte 85)",
        ),
        case(
            nested(100_000),
            "malformed GGUF: the value of metadata key `k`: arrays nested deeper than 4 (at byte 85)",
        ),
    ]);
}

#[test]
fn impossible_alignments() {
    let key = |kind: u32| Raw::header(0, 1).key("general.alignment", kind);
    check(vec![
        case(
            key(4).u32(0),
            "metadata key `general.alignment`: 0 is not a power of two",
        ),
        case(
            key(4).u32(24),
            "metadata key `general.alignment`: 24 is not a power of two",
        ),
        case(
            key(I32).u32(-8i32 as u32),
            "metadata key `general.alignment`: -8 is out of range",
        ),
        case(
            key(STRING).text("32"),
            "metadata key `general.alignment` must be an integer, found string",
        ),
    ]);
}

#[test]
fn malformed_tensors() {
    let one = || Raw::header(1, 0);
    let long = "t".repeat(1025);
    check(vec![
        case(
            one().u64(1 << 60).bytes(&[0; 64]),
            "malformed GGUF: the name of tensor 1 of 1: 1152921504606846976 bytes of text do not fit the rest of the file (at byte 24)",
        ),
        case(
            one().tensor("", &[4], F32, 0).data(16),
            "malformed GGUF: the name of tensor 1 of 1: an empty name (at byte 24)",
        ),
        case(
            one().tensor(b"\xff", &[4], F32, 0).data(16),
            "malformed GGUF: the name of tensor 1 of 1: a name that is not UTF-8 (at byte 24)",
        ),
        case(
            one().tensor(&long, &[4], F32, 0).data(16),
            "malformed GGUF: the name of tensor 1 of 1: a name of 1025 bytes, longer than 1024 (at byte 24)",
        ),
        case(
            Raw::header(2, 0)
                .tensor("t", &[4], F32, 0)
                .tensor("t", &[4], F32, 32)
                .data(64),
            "malformed GGUF: tensor `t` is there twice (at byte 57)",
        ),
        case(
            one().tensor("a name long enough", &[], F32, 0).data(16),
            "malformed GGUF: the entry of tensor `a name long enough`: 0 dimensions, not 1 to 4 (at byte 50)",
        ),
        case(
            one().tensor("t", &[1, 1, 1, 1, 1], F32, 0).data(16),
            "malformed GGUF: the entry of tensor `t`: 5 dimensions, not 1 to 4 (at byte 33)",
        ),
        case(
            one().text("t").u32(u32::MAX).bytes(&[0; 64]),
            "malformed GGUF: the entry of tensor `t`: 4294967295 dimensions, not 1 to 4 (at byte 33)",
        ),
        case(
            one().tensor("t", &[4, 0], F32, 0).data(16),
            "malformed GGUF: the entry of tensor `t`: a dimension of [4, 0] is zero (at byte 33)",
        ),
        case(
            one().tensor("t", &[1 << 32, 1 << 32], F32, 0).data(16),
            "malformed GGUF: the entry of tensor `t`: the product of the dimensions [4294967296, 4294967296] overflows (at byte 33)",
        ),
        case(
            one().tensor("t", &[1 << 62], F64, 0).data(16),
            "malformed GGUF: the entry of tensor `t`: the bytes of [4611686018427387904] elements of F64 overflow (at byte 33)",
        ),
        case(
            one().tensor("t", &[4], 42, 0).data(16),
            "malformed GGUF: the entry of tensor `t`: unknown tensor type 42 (at byte 45)",
        ),
        case(
            one().tensor("t", &[4], u32::MAX, 0).data(16),
            "malformed GGUF: the entry of tensor `t`: unknown tensor type 4294967295 (at byte 45)",
        ),
        case(
            one().tensor("t", &[48, 2], Q4_0, 0).data(64),
            "malformed GGUF: the entry of tensor `t`: rows of 48 elements are not whole blocks of 32, as Q4_0 has them (at byte 33)",
        ),
        case(
            one().text("tensor").u32(2).u64(4).u64(4),
            "malformed GGUF: the file ends inside the entry of tensor `tensor` (at byte 58)",
        ),
        case(
            one().text("tensor").u32(1).u64(4).u32(F32).u32(0),
            "malformed GGUF: the file ends inside the entry of tensor `tensor` (at byte 58)",
        ),
        case(
            Raw::header(2, 0).tensor("t", &[4], F32, 0).data(64),
            "malformed GGUF: the name of tensor 2 of 2: an empty name (at byte 57)",
        ),
    ]);
}

#[test]
fn misplaced_tensors() {
    let one = || Raw::header(1, 0);
    let two = |first: u64, second: u64| {
        Raw::header(2, 0)
            .tensor("a", &[16], F32, first)
            .tensor("b", &[16], F32, second)
            .data(160)
    };
    assert!(Gguf::from_bytes(two(0, 64).done()).is_ok());
    assert!(Gguf::from_bytes(two(96, 0).done()).is_ok());
    let aligned = |alignment: u32, offset: u64| {
        Raw::header(1, 1)
            .key_u32("general.alignment", alignment)
            .tensor("t", &[4], F32, offset)
            .data(256)
    };
    assert!(Gguf::from_bytes(aligned(1, 3).done()).is_ok());
    check(vec![
        case(
            one().tensor("t", &[4], F32, 8).data(64),
            "malformed GGUF: the entry of tensor `t`: its offset 8 is not a multiple of 32 (at byte 33)",
        ),
        case(
            aligned(64, 32),
            "malformed GGUF: the entry of tensor `t`: its offset 32 is not a multiple of 64 (at byte 66)",
        ),
        case(
            aligned(1 << 31, 0),
            "malformed GGUF: tensor `t`: its data ends at byte 2147483664, past the end of the file of 352 bytes (at byte 66)",
        ),
        case(
            one().tensor("t", &[4], F32, 0).data(15),
            "malformed GGUF: tensor `t`: its data ends at byte 80, past the end of the file of 79 bytes (at byte 33)",
        ),
        case(
            one().tensor("t", &[4], F32, 0),
            "malformed GGUF: tensor `t`: its data ends at byte 80, past the end of the file of 57 bytes (at byte 33)",
        ),
        case(
            one().tensor("t", &[4], F32, 1 << 40).data(64),
            "malformed GGUF: tensor `t`: its data ends at byte 1099511627856, past the end of the file of 128 bytes (at byte 33)",
        ),
        case(
            one().tensor("t", &[4], F32, u64::MAX - 31).data(64),
            "malformed GGUF: tensor `t`: its offset 18446744073709551584 overflows (at byte 33)",
        ),
        case(
            one().tensor("t", &[1 << 20, 1 << 20], F32, 0).data(64),
            "malformed GGUF: tensor `t`: its data ends at byte 4398046511200, past the end of the file of 160 bytes (at byte 33)",
        ),
        case(
            two(0, 0),
            "malformed GGUF: tensors `a` and `b` overlap (at byte 96)",
        ),
        case(
            two(0, 32),
            "malformed GGUF: tensors `a` and `b` overlap (at byte 128)",
        ),
        case(
            two(64, 32),
            "malformed GGUF: tensors `b` and `a` overlap (at byte 160)",
        ),
    ]);
}

#[test]
fn parts_of_split_models_in_memory() {
    let split = |number: u16, count: u16| {
        Raw::header(0, 2)
            .key("split.no", 2)
            .u16(number)
            .key("split.count", 2)
            .u16(count)
    };
    assert!(Gguf::from_bytes(split(0, 1).done()).is_ok());
    check(vec![
        case(
            split(0, 3),
            "metadata key `split.count`: a model split in 3 can only be opened from its files",
        ),
        case(
            split(1, 3),
            "metadata key `split.no`: this is part 2 of 3 of a split model; open the first, `…-00001-of-00003.gguf`",
        ),
        case(
            split(3, 3),
            "metadata key `split.no`: there is no part 3 (from 0) of 3",
        ),
        case(
            split(0, 0),
            "metadata key `split.no`: there is no part 0 (from 0) of 0",
        ),
        case(
            Raw::header(0, 1).key("split.count", STRING).text("three"),
            "metadata key `split.count` must be an integer, found string",
        ),
        case(
            Raw::header(0, 1).key_u32("split.count", 100_000),
            "metadata key `split.count`: 100000 parts, more than 99999",
        ),
    ]);
}

/// A small file with a bit of everything that a file can have.
fn valid() -> Vec<u8> {
    Raw::header(3, 9)
        .key("general.architecture", STRING)
        .text("llama")
        .key_u32("general.alignment", 32)
        .key("flag", BOOL)
        .bytes(&[1])
        .key("small", U8)
        .bytes(&[7])
        .key("large", U64)
        .u64(1 << 40)
        .key("rate", 6)
        .bytes(&0.5f32.to_le_bytes())
        .key("tokens", ARRAY)
        .u32(STRING)
        .u64(3)
        .text("<s>")
        .text("▁a")
        .text(b"\xff")
        .key("types", ARRAY)
        .u32(I32)
        .u64(2)
        .u32(1)
        .u32(3)
        .key("nested", ARRAY)
        .u32(ARRAY)
        .u64(2)
        .u32(BOOL)
        .u64(2)
        .bytes(&[0, 1])
        .u32(STRING)
        .u64(1)
        .text("x")
        .tensor("norm", &[4], F32, 0)
        .tensor("weight", &[32, 2], Q4_0, 32)
        .tensor("stack", &[2, 2, 2], F32, 96)
        .data(128)
        .done()
}

#[test]
fn no_prefix_opens_and_none_panics() {
    let valid = valid();
    assert!(exercise(&valid));
    for length in 0..valid.len() {
        assert!(!exercise(&valid[..length]), "{length} of {}", valid.len());
    }
}

#[test]
fn no_changed_byte_panics() {
    let valid = valid();
    let mut opened = 0;
    for position in 0..valid.len() {
        for value in 0..=255 {
            let mut changed = valid.clone();
            changed[position] = value;
            opened += usize::from(exercise(&changed));
        }
    }
    // All that differ in weights, numbers or letters of a name.
    assert!(opened > valid.len(), "{opened}");
}
