//! Calls left in functions that are compiled for an instruction set, found in the disassembly of
//! this very program.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::Command;

use crate::{is_installed, output};

/// What a hot function may call. Panics end it; copying and filling memory is as fast elsewhere; how
/// columns are divided is asked once per tile.
const ALLOWED: [&str; 9] = [
    "core::panicking::",
    "core::slice::index::",
    "core::slice::copy_from_slice_impl::len_mismatch_fail",
    "core::option::",
    "core::result::unwrap_failed",
    "memcpy",
    "memmove",
    "memset",
    "yareta_kernels::activations::Activations::panels",
];

/// Far fewer hot functions than there are formats mean that they have other names now, and that
/// this check looks at nothing.
const FEWEST: usize = 50;

/// Whether a function is compiled for an instruction set: one of the gateways of `isa`.
fn is_hot(function: &str) -> bool {
    let gateways = [
        "run",
        "run_vnni",
        "run_vbmi",
        "run_bf16",
        "call",
        "call_dot",
        "call_vbmi",
        "call_bf16",
    ];
    let name = function.rsplit("::").next().unwrap_or_default();
    let isa = ["avx2", "avx512"]
        .iter()
        .any(|isa| function.contains(&format!("::{isa}::")));
    function.contains("yareta_kernels::isa::") && isa && gateways.contains(&name)
}

/// Finds calls that should not be there.
pub fn check() -> Result<(), String> {
    if !cfg!(target_arch = "x86_64") || !is_installed("objdump") {
        eprintln!("calls: skipped, because there is no objdump, or this is not x86-64");
        return Ok(());
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let objdump = |flags: &[&str]| output(Command::new("objdump").args(flags).arg(&program));
    let disassembly = objdump(&[
        "--disassemble",
        "--demangle",
        "--no-show-raw-insn",
        "--wide",
    ])?;
    let relocations = objdump(&["--dynamic-reloc", "--wide"])?;
    let found = Calls::find(&disassembly, &relocations);
    if found.functions < FEWEST {
        let count = found.functions;
        return Err(format!(
            "calls: only {count} functions for an instruction set found"
        ));
    }
    if found.left.is_empty() {
        eprintln!("calls: none left in {} functions", found.functions);
        return Ok(());
    }
    let mut text = String::from("calls: left in functions for an instruction set\n");
    for ((function, target), places) in &found.left {
        text += &format!("  {function} calls {target} {} times\n", places.len());
        // The functions that were inlined around the first say which kernel it is.
        let around = output(
            Command::new("addr2line")
                .args([
                    "--inlines",
                    "--functions",
                    "--demangle",
                    "--basenames",
                    "--pretty-print",
                ])
                .arg("--exe")
                .arg(&program)
                .arg(&places[0]),
        );
        text += &around.unwrap_or_default();
    }
    Err(text)
}

/// Calls by function and target, with the address of each.
struct Calls {
    functions: usize,
    left: BTreeMap<(String, String), Vec<String>>,
}

impl Calls {
    fn find(disassembly: &str, relocations: &str) -> Calls {
        let table = Table::new(disassembly, relocations);
        let mut calls = Calls {
            functions: 0,
            left: BTreeMap::new(),
        };
        // A function is everything up to an empty line.
        for function in disassembly.split("\n\n") {
            let mut lines = function.trim_start().lines();
            let head = lines.next().and_then(header);
            if let Some((_, name)) = head.filter(|(_, name)| is_hot(name)) {
                calls.functions += 1;
                calls.look_into(name, lines, &table);
            }
        }
        calls
    }

    fn look_into<'a>(
        &mut self,
        function: &str,
        lines: impl Iterator<Item = &'a str> + Clone,
        table: &Table<'_>,
    ) {
        // Addresses that are used often are kept in registers, by `mov …,%r15`, and called from
        // there.
        let loaded = lines.clone().filter_map(|line| {
            let (_, operands) = line.split_once("\tmov ")?;
            let (_, register) = operands.split_once(",%")?;
            Some((register.split_whitespace().next()?, table.target(line)?))
        });
        // How to write a number is told to panics.
        let loaded: BTreeSet<(&str, &str)> = loaded
            .filter(|(_, target)| !target.contains(" as core::fmt::"))
            .collect();
        for line in lines.filter(|line| line.contains("\tcall ")) {
            let Some((address, instruction)) = line.split_once(":\tcall ") else {
                continue;
            };
            let operand = instruction.trim();
            let targets: Vec<&str> = if let Some(register) = operand.strip_prefix("*%") {
                // One that is loaded by no such instruction was kept on the stack: it may hold
                // what any other does.
                let own = |(to, _): &&(&str, &str)| *to == register;
                let any = loaded.iter().filter(own).count() == 0;
                let held = loaded.iter().filter(|load| any || own(load));
                held.map(|(_, target)| *target).collect()
            } else if operand.starts_with('*') {
                table.target(line).into_iter().collect()
            } else {
                let name = operand.split_once('<').map(|(_, name)| name);
                name.map(|name| name.trim_end_matches('>'))
                    .into_iter()
                    .collect()
            };
            let fine = |target: &&str| {
                is_hot(target) || ALLOWED.iter().any(|name| target.starts_with(name))
            };
            let target = match targets.is_empty() {
                true => operand,
                false => match targets.into_iter().find(|target| !fine(target)) {
                    Some(target) => target,
                    None => continue,
                },
            };
            let key = (function.to_owned(), target.to_owned());
            let places = self.left.entry(key).or_default();
            places.push(format!("0x{}", address.trim()));
        }
    }
}

/// Names of functions by address, and the table of addresses as the loader fills it.
struct Table<'a> {
    names: HashMap<u64, &'a str>,
    entries: HashMap<u64, Entry<'a>>,
}

/// What an entry of the table of addresses points to.
enum Entry<'a> {
    Named(&'a str),
    Address(u64),
}

impl<'a> Table<'a> {
    fn new(disassembly: &'a str, relocations: &'a str) -> Table<'a> {
        // `offset type value`
        let entry = |line: &'a str| {
            let mut parts = line.split_whitespace();
            let offset = hexadecimal(parts.next()?)?;
            let value = parts.nth(1)?;
            let target = match value.strip_prefix("*ABS*+0x") {
                Some(address) => Entry::Address(hexadecimal(address)?),
                None => Entry::Named(value.split('@').next()?),
            };
            Some((offset, target))
        };
        Table {
            names: disassembly.lines().filter_map(header).collect(),
            entries: relocations.lines().filter_map(entry).collect(),
        }
    }

    /// The function whose address the instruction loads from the table, which a comment of the
    /// disassembler names: `mov 0x1f2e3d(%rip),%r15 # 7c8f08 <…>`.
    fn target(&self, line: &str) -> Option<&'a str> {
        let entry = hexadecimal(line.split_once("# ")?.1.split(' ').next()?)?;
        match self.entries.get(&entry)? {
            Entry::Named(name) => Some(name),
            Entry::Address(address) => self.names.get(address).copied(),
        }
    }
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

/// Address and name in the first line of a function: `0000000000012340 <name>:`.
fn header(line: &str) -> Option<(u64, &str)> {
    let (address, name) = line.split_once(" <")?;
    let name = name.strip_suffix(">:")?;
    Some((hexadecimal(address)?, name))
}
