//! Instructions of a program for 64-bit Arm, counted by the emulator.
//!
//! The emulator translates a program block by block: it writes down each block's instructions when
//! it translates it, and the block's address whenever it runs it. The sum of the lengths of the
//! blocks that ran is the number of instructions, the same every time.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::counted::Counter;
use crate::is_installed;

/// Names of the emulator.
const EMULATORS: [&str; 2] = ["qemu-aarch64-static", "qemu-aarch64"];

/// Where Debian's cross-compiler has the libraries that the program is linked with.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

/// The function whose calls are counted, one number for each, as it is called inside the program's
/// symbol.
const MEASURED: &str = "7counted8measured";

/// Instructions in each call of the measured function by `program`; `None` without an emulator.
pub fn count(program: &str) -> Result<Option<Vec<u64>>, String> {
    let Some(emulator) = EMULATORS.into_iter().find(|name| is_installed(name)) else {
        return Ok(None);
    };
    let mut child = Command::new(emulator)
        .args(["-L", LIBRARIES, "-d", "in_asm,exec,nochain"])
        .args([program, "counted", Counter::Emulator.name()])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{emulator}: {error}"))?;
    let log = child.stderr.take().ok_or("no log of the emulator")?;
    let mut counted = Log::default();
    for line in BufReader::new(log).split(b'\n') {
        let line = line.map_err(|error| format!("{emulator}: {error}"))?;
        counted.line(&String::from_utf8_lossy(&line));
    }
    let status = child
        .wait()
        .map_err(|error| format!("{emulator}: {error}"))?;
    match status.success() {
        true => Ok(Some(counted.counts)),
        false => Err(format!("{emulator} {program}: {status}")),
    }
}

/// What is known from the log of the emulator so far.
#[derive(Default)]
struct Log {
    /// Instructions of each block by its address.
    blocks: HashMap<u64, u64>,
    /// The block that is written down, and how many of its instructions have been.
    current: Option<(u64, u64)>,
    /// Instructions since the measured function began, while it runs.
    running: Option<u64>,
    counts: Vec<u64>,
}

impl Log {
    fn line(&mut self, line: &str) {
        // `Trace 0: 0x7f46bfa9fa80 [flags/0000005500000754/flags/flags] symbol`
        if let Some(trace) = line.strip_prefix("Trace ") {
            self.blocks.extend(self.current.take());
            let mut parts = trace.split(['/', ']']);
            let address = parts.nth(1).and_then(hexadecimal).unwrap_or_default();
            let symbol = parts.next_back().unwrap_or_default();
            let length = self.blocks.get(&address).copied().unwrap_or_default();
            self.ran(symbol, length);
        // `0x5500000754:  a9bf7bfd  stp      x29, x30, [sp, #-0x10]!`
        } else if let Some((address, _)) = line.strip_prefix("0x").and_then(|l| l.split_once(':')) {
            match &mut self.current {
                Some((_, length)) => *length += 1,
                None => self.current = hexadecimal(address).map(|address| (address, 1)),
            }
        }
    }

    /// A block of `length` instructions ran. The measured function is two blocks: up to the call of
    /// the work, and from there on.
    fn ran(&mut self, symbol: &str, length: u64) {
        match (symbol.contains(MEASURED), &mut self.running) {
            (true, None) => self.running = Some(0),
            (true, Some(count)) => {
                self.counts.push(*count);
                self.running = None;
            }
            (false, Some(count)) => *count += length,
            (false, None) => {}
        }
    }
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}
