//! What the tests of the program share: running it, and small files to run it on.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The program with `args`, neither reading nor writing a terminal.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yareta"));
    command.args(args);
    command
}

/// What the program did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    fn new(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            err: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        }
    }

    /// That all went well.
    #[track_caller]
    pub fn ok(self) -> Ran {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// That it failed with `code`, saying `sentence` on one line and nothing on standard output.
    #[track_caller]
    pub fn fails(self, code: i32, sentence: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.contains(sentence), "{self:?}");
        assert_eq!(self.err.trim_end().lines().count(), 1, "{self:?}");
        assert!(self.err.starts_with("yareta: "), "{self:?}");
        assert_eq!(self.out, "");
    }

    /// The standard output as JSON.
    #[track_caller]
    pub fn json(self) -> serde_json::Value {
        let ran = self.ok();
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }
}

/// Runs the program with nothing to read.
pub fn yareta(args: &[&str]) -> Ran {
    let output = command(args).stdin(Stdio::null()).output();
    Ran::new(output.expect("the program runs"))
}

/// Runs the program, which reads `input`.
pub fn yareta_reading(args: &[&str], input: &str) -> Ran {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A program that does not read what it is given is no failure of the writing.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    Ran::new(child.wait_with_output().expect("the program ends"))
}

/// A file of the test data, under `YARETA_TEST_DATA` or beside the project; `None`, saying so, if
/// it is not there.
pub fn data(name: &str) -> Option<String> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let root = std::env::var_os("YARETA_TEST_DATA").unwrap_or_else(|| default.into());
    let path = PathBuf::from(root).join(name);
    if !path.exists() {
        eprintln!("skipped: no test data at {}", path.display());
        return None;
    }
    Some(path.to_str().expect("a path in UTF-8").to_owned())
}

/// A file that is removed when the test ends.
pub struct Temporary(PathBuf);

impl Temporary {
    /// A path of this process where nothing is.
    pub fn path(name: &str) -> Temporary {
        let name = format!("yareta-test-{}-{name}", std::process::id());
        Temporary(std::env::temp_dir().join(name))
    }

    /// A file with `bytes` in it.
    pub fn file(name: &str, bytes: &[u8]) -> Temporary {
        let file = Temporary::path(name);
        std::fs::write(&file.0, bytes).expect("a writable temporary directory");
        file
    }

    /// Where it is.
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
