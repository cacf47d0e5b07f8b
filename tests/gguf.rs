//! Reads real GGUF files: every version, odd alignment, large vocabularies.

mod common;
mod raw;

use std::time::{Duration, Instant};

use common::data;
use raw::Raw;
use yareta::gguf::{Array, Gguf, TensorType, Text, Value, ValueType, Writer};

#[test]
fn versions_1_and_3_of_a_model_have_the_same_weights() {
    let names = ["stories260K-gguf-v1.gguf", "stories260K-v3.gguf"];
    let paths = names.map(|name| data(&format!("models/{name}")));
    let [Some(old), Some(new)] = paths else {
        return;
    };
    let old = Gguf::open(old).unwrap();
    let new = Gguf::open(new).unwrap();
    assert_eq!((old.version(), new.version()), (1, 3));
    assert_eq!(new.tensors().len(), 48);
    for file in [&old, &new] {
        let metadata = file.metadata();
        assert_eq!(
            metadata.require_string("general.architecture").unwrap(),
            "llama"
        );
        assert_eq!(metadata.require_u32("llama.context_length").unwrap(), 512);
        let epsilon = metadata.require_f32("llama.attention.layer_norm_rms_epsilon");
        assert_eq!(epsilon.unwrap(), 1e-5);
        let tokens: Vec<&str> = metadata
            .require_strings("tokenizer.ggml.tokens")
            .unwrap()
            .collect();
        assert_eq!(tokens.len(), 512);
        assert_eq!(tokens[..3], ["<unk>", "<s>", "</s>"]);
        let scores = metadata.f32s("tokenizer.ggml.scores").unwrap().unwrap();
        assert_eq!(scores.len(), 512);
    }
    let norm = new.tensor("blk.0.attn_norm.weight").unwrap();
    assert_eq!(norm.tensor_type(), TensorType::F32);
    assert_eq!(norm.shape(), [64]);
    for tensor in new.tensors() {
        let other = old.tensor(tensor.name()).unwrap();
        assert_eq!(tensor.shape(), other.shape(), "{}", tensor.name());
        assert_eq!(new.bytes(tensor).len() as u64, 4 * tensor.elements());
    }
    let embedding = |file: &Gguf| {
        let tensor = file.tensor("token_embd.weight").unwrap();
        file.bytes(tensor).to_vec()
    };
    assert_eq!(embedding(&old), embedding(&new));
}

#[test]
fn an_alignment_of_1_and_an_unknown_architecture_open() {
    let Some(path) = data("models/unknown-arch-nanochat-align1.gguf") else {
        return;
    };
    let file = Gguf::open(path).unwrap();
    assert_eq!(file.alignment(), 1);
    assert_eq!(file.tensors().len(), 105);
    let bias = file.tensor("blk.3.ln_1.bias").unwrap();
    assert_eq!(bias.tensor_type(), TensorType::Q4_0);
    assert_eq!(bias.byte_range(), 968_467..968_467 + 144);
    let merges = file.metadata().array("tokenizer.ggml.merges").unwrap();
    assert_eq!(merges.unwrap().element_type(), ValueType::String);
    let first = merges.unwrap().iter().next().unwrap();
    assert_eq!(first.as_str(), Some("   "));
}

#[test]
fn vocabularies_open_in_milliseconds_from_file_and_memory() {
    let mut opened = 0;
    for name in ["gpt-2", "llama-spm", "deepseek-llm", "baichuan", "mpt"] {
        let Some(path) = data(&format!("vocab/ggml-vocab-{name}.gguf")) else {
            return;
        };
        let bytes = std::fs::read(&path).unwrap();
        let start = Instant::now();
        let file = Gguf::open(&path).unwrap();
        // About 3 ms unoptimized; the limit leaves room for a busy machine.
        assert!(start.elapsed() < Duration::from_millis(500), "{name}");
        let tokens = file.metadata().require_strings("tokenizer.ggml.tokens");
        let tokens = tokens.unwrap();
        assert!(tokens.len() >= 30_000, "{name}");
        let copy = Gguf::from_bytes(bytes).unwrap();
        let copied = copy.metadata().require_strings("tokenizer.ggml.tokens");
        assert!(tokens.eq(copied.unwrap()), "{name}");
        assert!(file.tensors().is_empty());
        opened += 1;
    }
    assert_eq!(opened, 5);
}

#[cfg(target_os = "linux")] // where a file of zeros takes no space
#[test]
fn a_file_of_40_gigabytes_opens_at_once() {
    const ROWS: u64 = 1 << 20;
    let path = std::env::temp_dir().join(format!("yareta-large-{}.gguf", std::process::id()));
    let tensors = (0..10u64).fold(Raw::header(10, 0), |raw, number| {
        let offset = number * ROWS * 4096;
        raw.tensor(format!("t{number}"), &[1024, ROWS], 0, offset)
    });
    std::fs::write(&path, tensors.data(0).done()).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() + 10 * ROWS * 4096)
        .unwrap();
    let start = Instant::now();
    let opened = Gguf::open(&path);
    let elapsed = start.elapsed();
    std::fs::remove_file(&path).unwrap();
    let opened = opened.unwrap();
    let last = opened.tensor("t9").unwrap();
    assert_eq!(opened.bytes(last)[last.byte_len() - 1], 0);
    assert!(opened.file_len() > 40 << 30);
    // Under a millisecond on a quiet machine; reading it would take ten seconds or more.
    assert!(elapsed < Duration::from_secs(1), "{elapsed:?}");
}

/// A file with every type of value and two tensors, in any version and byte order.
fn every_type(version: u32, big: bool) -> Vec<u8> {
    let float = 1.5f32.to_bits();
    let double = (-2.25f64).to_bits();
    Raw::start(version, big)
        .length(2)
        .length(14)
        .key("u8", 0)
        .bytes(&[200])
        .key("i8", 1)
        .bytes(&[0xfe])
        .key("u16", 2)
        .u16(60_000)
        .key("i16", 3)
        .u16(-3i16 as u16)
        .key("u32", 4)
        .u32(4_000_000_000)
        .key("i32", 5)
        .u32(-4i32 as u32)
        .key("f32", 6)
        .u32(float)
        .key("bool", 7)
        .bytes(&[1])
        .key("string", 8)
        .text("a ▁ b")
        .key("u64", 10)
        .u64(u64::MAX)
        .key("i64", 11)
        .u64(-5i64 as u64)
        .key("f64", 12)
        .u64(double)
        .key("strings", 9)
        .u32(8)
        .length(3)
        .text("x")
        .text("")
        .text("yz")
        .key("i32s", 9)
        .u32(5)
        .length(2)
        .u32(-1i32 as u32)
        .u32(7)
        .tensor("first", &[4, 2], 0, 32)
        .tensor("second", &[2, 1, 3, 1], 28, 64)
        .data(64 + 48)
        .done()
}

#[test]
fn every_version_and_byte_order_reads_the_same() {
    let orders = [(1, false), (2, false), (3, false), (1, true), (3, true)];
    for (version, big) in orders {
        let file = Gguf::from_bytes(every_type(version, big)).unwrap();
        assert_eq!(file.version(), version);
        assert_eq!(file.is_big_endian(), big);
        let metadata = file.metadata();
        assert_eq!(metadata.u32("u8").unwrap(), Some(200));
        assert_eq!(metadata.get("i8").unwrap().as_integer(), Some(-2));
        assert_eq!(metadata.u64("u16").unwrap(), Some(60_000));
        assert_eq!(metadata.get("i16").unwrap().as_integer(), Some(-3));
        assert_eq!(metadata.u32("u32").unwrap(), Some(4_000_000_000));
        assert_eq!(metadata.get("i32").unwrap().as_integer(), Some(-4));
        assert_eq!(metadata.f32("f32").unwrap(), Some(1.5));
        assert_eq!(metadata.boolean("bool").unwrap(), Some(true));
        assert_eq!(metadata.string("string").unwrap(), Some("a ▁ b"));
        assert_eq!(metadata.u64("u64").unwrap(), Some(u64::MAX));
        assert_eq!(metadata.get("i64").unwrap().as_integer(), Some(-5));
        assert_eq!(metadata.f32("f64").unwrap(), Some(-2.25));
        let strings = metadata.require_strings("strings").unwrap();
        assert!(strings.eq(["x", "", "yz"]));
        assert_eq!(metadata.i32s("i32s").unwrap(), Some(vec![-1, 7]));
        assert_eq!(metadata.len(), 14);
        let shapes: Vec<&[u64]> = file.tensors().iter().map(|tensor| tensor.shape()).collect();
        assert_eq!(shapes, [&[4u64, 2][..], &[2, 1, 3, 1]]);
        let second = file.tensor("second").unwrap();
        let expected: Vec<u8> = (64..112).collect();
        assert_eq!(file.bytes(second), expected);
    }
}

#[test]
fn values_of_another_type_are_errors_that_name_both() {
    let file = Gguf::from_bytes(every_type(3, false)).unwrap();
    let metadata = file.metadata();
    let errors = [
        (
            metadata.string("u32").map(|_| ()),
            "metadata key `u32` must be string, found u32",
        ),
        (
            metadata.u32("string").map(|_| ()),
            "metadata key `string` must be an integer, found string",
        ),
        (
            metadata.u32("f32").map(|_| ()),
            "metadata key `f32` must be an integer, found f32",
        ),
        (
            metadata.u32("u64").map(|_| ()),
            "metadata key `u64`: 18446744073709551615 is out of range",
        ),
        (
            metadata.u64("i64").map(|_| ()),
            "metadata key `i64`: -5 is out of range",
        ),
        (
            metadata.f32("i32").map(|_| ()),
            "metadata key `i32` must be f32, found i32",
        ),
        (
            metadata.boolean("u8").map(|_| ()),
            "metadata key `u8` must be bool, found u8",
        ),
        (
            metadata.strings("i32s").map(|_| ()),
            "metadata key `i32s` must be an array of strings, found an array of i32",
        ),
        (
            metadata.f32s("i32s").map(|_| ()),
            "metadata key `i32s` must be an array of f32, found an array of i32",
        ),
        (
            metadata.u32s("i32s").map(|_| ()),
            "metadata key `i32s`: element 0, -1, is out of range",
        ),
        (
            metadata.bools("string").map(|_| ()),
            "metadata key `string` must be an array of bool, found string",
        ),
        (
            metadata.array("bool").map(|_| ()),
            "metadata key `bool` must be an array, found bool",
        ),
        (
            metadata.require_f32("none").map(|_| ()),
            "metadata key `none` is missing",
        ),
    ];
    for (error, expected) in errors {
        assert_eq!(error.unwrap_err().to_string(), expected);
    }
    assert_eq!(metadata.u32("none").unwrap(), None);
}

#[test]
fn text_that_is_not_utf_8_is_read_as_bytes() {
    let texts: [&[u8]; 3] = [b"ok", b"\xe2\x96", b"\xff"];
    let mut writer = Writer::new();
    writer.set("tokens", Array::of_strings(texts)).unwrap();
    writer.set("name", Text::from(texts[1])).unwrap();
    let bytes = writer.start(Vec::new()).unwrap().finish().unwrap();
    let file = Gguf::from_bytes(bytes).unwrap();
    let metadata = file.metadata();
    let error = metadata.strings("tokens").map(|_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "metadata key `tokens`: string 1 is not UTF-8"
    );
    let array = metadata.array("tokens").unwrap().unwrap();
    assert!(array.byte_strings().unwrap().eq(texts));
    let error = metadata.string("name").unwrap_err();
    assert_eq!(
        error.to_string(),
        "metadata key `name`: the text is not UTF-8"
    );
}

#[test]
fn values_are_shown_as_a_listing_does() {
    let file = Gguf::from_bytes(every_type(3, false)).unwrap();
    let shown = |key: &str| file.metadata().get(key).unwrap().to_string();
    assert_eq!(shown("string"), "\"a ▁ b\"");
    assert_eq!(shown("strings"), "[\"x\", \"\", \"yz\"]");
    assert_eq!(shown("i32s"), "[-1, 7]");
    let long = Value::from((0..100u8).collect::<Vec<u8>>());
    assert_eq!(long.to_string(), "[0, 1, 2, 3, 4, 5, 6, 7, … 100 in all]");
}

#[test]
fn the_writer_refuses_what_no_reader_takes() {
    type Change = fn(&mut Writer) -> yareta::Result<()>;
    let refused = |change: Change| {
        let mut writer = Writer::new();
        writer.tensor("there", TensorType::F32, &[1]).unwrap();
        let changed = change(&mut writer);
        let written = changed.and_then(|()| writer.start(Vec::new()).map(|_| ()));
        written.unwrap_err().to_string()
    };
    let cases: [(&str, Change); 7] = [
        ("cannot write GGUF: a metadata key of 0 bytes", |writer| {
            writer.set("", 1u32).map(|_| ())
        }),
        (
            "cannot write GGUF: `general.alignment` must be a u32 power of two up to 65536, not 3",
            |writer| writer.set("general.alignment", 3u32).map(|_| ()),
        ),
        ("cannot write GGUF: tensor `there`: added twice", |writer| {
            writer.tensor("there", TensorType::F32, &[1]).map(|_| ())
        }),
        (
            "cannot write GGUF: tensor `t`: no shape can be []",
            |writer| writer.tensor("t", TensorType::F32, &[]).map(|_| ()),
        ),
        (
            "cannot write GGUF: tensor `t`: no shape can be [0]",
            |writer| writer.tensor("t", TensorType::F32, &[0]).map(|_| ()),
        ),
        (
            "cannot write GGUF: tensor `t`: Q4_0 cannot have the shape [16, 2]",
            |writer| writer.tensor("t", TensorType::Q4_0, &[16, 2]).map(|_| ()),
        ),
        (
            "cannot write GGUF: tensor `u`: all data overflows",
            |writer| {
                let half = [1 << 60];
                writer.tensor("t", TensorType::F64, &half)?;
                writer.tensor("u", TensorType::F64, &half).map(|_| ())
            },
        ),
    ];
    for (expected, change) in cases {
        assert_eq!(refused(change), expected);
    }
}

#[test]
fn tensor_data_is_streamed_in_pieces_and_counted() {
    let mut writer = Writer::new();
    writer.set("general.alignment", 64u32).unwrap();
    writer.tensor("a", TensorType::I8, &[5]).unwrap();
    writer.tensor("b", TensorType::I8, &[3]).unwrap();
    let start = || writer.start(Vec::new()).unwrap();

    let mut data = start();
    assert_eq!(data.next(), Some(("a", 5)));
    data.write(&[1, 2]).unwrap();
    data.write(&[]).unwrap();
    assert_eq!(data.next(), Some(("a", 3)));
    data.write(&[3, 4, 5]).unwrap();
    assert_eq!(data.next(), Some(("b", 3)));
    data.write(&[6, 7, 8]).unwrap();
    assert_eq!(data.next(), None);
    let error = data.write(&[9]).unwrap_err().to_string();
    assert_eq!(error, "cannot write GGUF: 1 bytes after the last tensor");
    let bytes = data.finish().unwrap();
    assert_eq!(bytes.len() as u64, writer.file_len().unwrap());
    let file = Gguf::from_bytes(bytes).unwrap();
    assert_eq!(file.bytes(&file.tensors()[0]), [1, 2, 3, 4, 5]);
    assert_eq!(file.bytes(&file.tensors()[1]), [6, 7, 8]);
    assert_eq!(file.alignment(), 64);

    let error = start().finish().map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "cannot write GGUF: tensor `a`: 5 bytes are missing");
    let error = start().write(&[0; 6]).unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot write GGUF: tensor `a`: 6 bytes where 5 are left"
    );
    let full: &mut [u8] = &mut [0; 16];
    let error = writer.start(full).map(|_| ()).unwrap_err();
    assert!(matches!(error, yareta::Error::Write { .. }), "{error}");
}

#[test]
fn metadata_is_copied_from_files_of_any_order() {
    let expected = Gguf::from_bytes(every_type(3, false)).unwrap();
    for (version, big) in [(1, false), (3, false), (3, true)] {
        let file = Gguf::from_bytes(every_type(version, big)).unwrap();
        let mut writer = Writer::new();
        writer.copy_metadata(file.metadata()).unwrap();
        let bytes = writer.start(Vec::new()).unwrap().finish().unwrap();
        let copy = Gguf::from_bytes(bytes).unwrap();
        assert!(!copy.is_big_endian());
        assert!(
            copy.metadata()
                .iter()
                .map(|(key, value)| (key, value.to_string()))
                .eq(expected
                    .metadata()
                    .iter()
                    .map(|(key, value)| (key, value.to_string())))
        );
    }
}
