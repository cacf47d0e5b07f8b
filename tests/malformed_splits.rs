//! Models split into several files: parts that belong together, and parts that do not.

mod raw;

use raw::Raw;
use yareta::{Error, Gguf};

// Numbers of value types, and of a tensor type.
const I32: u32 = 5;
const STRING: u32 = 8;
const F32: u32 = 0;

/// The files of a split model in a new directory, which goes when this does.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let process = std::process::id();
        let path = std::env::temp_dir().join(format!("yareta-{name}-{process}"));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn write(&self, name: &str, file: Raw) -> std::path::PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, file.done()).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A directory that stays behind is no failure of the test.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Part `number` of `count`, with a tensor of that name, in a model of two tensors.
fn part(number: u16, count: u16, tensor: &str) -> Raw {
    Raw::header(1, 3)
        .key("split.no", 2)
        .u16(number)
        .key("split.count", 2)
        .u16(count)
        .key("split.tensors.count", I32)
        .u32(2)
        .tensor(tensor, &[4], F32, 0)
        .data(16)
}

#[test]
fn split_models_open_from_their_first_part() {
    let directory = Directory::new("split");
    let first = directory.write("m-00001-of-00002.gguf", part(0, 2, "a"));
    let second = directory.write("m-00002-of-00002.gguf", part(1, 2, "b"));
    let file = Gguf::open(&first).unwrap();
    assert_eq!(file.parts(), 2);
    let names: Vec<&str> = file.tensors().iter().map(|tensor| tensor.name()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(file.tensor("b").unwrap().part(), 1);
    for tensor in file.tensors() {
        let expected: Vec<u8> = (0..16).collect();
        assert_eq!(file.bytes(tensor), expected);
    }
    let error = Gguf::open(second).unwrap_err().to_string();
    assert_eq!(
        error,
        "metadata key `split.no`: this is part 2 of 2 of a split model; \
         open the first, `…-00001-of-00002.gguf`"
    );
}

#[test]
fn parts_that_do_not_belong_together() {
    let key = |number: u16, count: u16| {
        Raw::header(0, 2)
            .key("split.no", 2)
            .u16(number)
            .key("split.count", 2)
            .u16(count)
    };
    let cases: [(Raw, &str); 9] = [
        (
            part(0, 2, "b"),
            "metadata key `split.no`: the file of part 2 of 2 says that it is part 1",
        ),
        (
            part(1, 3, "b"),
            "metadata key `split.count`: the file of part 2 of 2 says that there are 3",
        ),
        (
            Raw::header(0, 0),
            "metadata key `split.no`: missing in part 2 of 2",
        ),
        (
            key(1, 2),
            "metadata key `split.tensors.count`: 2 tensors expected in 2 parts, found 1",
        ),
        (
            part(1, 2, "a"),
            "malformed GGUF: tensor `a` is in two parts (at byte 160)",
        ),
        (
            Raw::start(3, true)
                .length(0)
                .length(2)
                .key_u32("split.no", 1)
                .key_u32("split.count", 2),
            "metadata key `split.no`: part 2 of 2 has another byte order than the first",
        ),
        (
            Raw::header(1, 0),
            "malformed GGUF: part 2 of 2: the header: 1 tensors do not fit the rest of the file (at byte 8)",
        ),
        (
            Raw::start(9, false),
            "malformed GGUF: part 2 of 2: the header: GGUF version 9, which is not one of 1, 2, 3 (at byte 4)",
        ),
        (
            Raw::header(0, 1).key("split.no", STRING).text("1"),
            "metadata key `split.no` must be an integer, found string",
        ),
    ];
    let directory = Directory::new("parts");
    let first = directory.write("m-00001-of-00002.gguf", part(0, 2, "a"));
    let open = || Gguf::open(&first).map(|_| ()).unwrap_err();
    assert!(matches!(open(), Error::Io { path, .. } if path.ends_with("m-00002-of-00002.gguf")));
    for (second, expected) in cases {
        directory.write("m-00002-of-00002.gguf", second);
        assert_eq!(open().to_string(), expected);
    }
    std::fs::write(directory.0.join("m-00002-of-00002.gguf"), "oops").unwrap();
    assert_eq!(
        open().to_string(),
        "not a GGUF file: part 2 of 2: plain text"
    );
    let renamed = directory.write("m.gguf", part(0, 2, "a"));
    let error = Gguf::open(&renamed).unwrap_err().to_string();
    let expected = "metadata key `split.count`: the first of 2 parts must have a name that ends \
                    in `-00001-of-00002.gguf`, found `";
    assert!(error.starts_with(expected), "{error}");
}
