//! Instructions for each weight, counted and compared with the table.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::counted::{COLUMNS, Counter, Work};
use crate::{emulated, is_installed, output};

/// What instructions are counted of.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// This very program.
    This,
    /// The same with instruction sets that callgrind does not know.
    Steps,
    /// A build of it for 64-bit Arm.
    Arm(&'a str),
}

impl Subject<'_> {
    fn counter(self) -> Counter {
        match self {
            Subject::This => Counter::Callgrind,
            Subject::Steps => Counter::Steps,
            Subject::Arm(_) => Counter::Emulator,
        }
    }

    /// The table: what was counted when it was written.
    fn table(self) -> &'static str {
        match self {
            Subject::This => concat!(env!("CARGO_MANIFEST_DIR"), "/examples/guard/budgets.txt"),
            Subject::Steps => concat!(env!("CARGO_MANIFEST_DIR"), "/examples/guard/steps.txt"),
            Subject::Arm(_) => concat!(env!("CARGO_MANIFEST_DIR"), "/examples/guard/arm.txt"),
        }
    }

    /// How the table is written, after the name of the program.
    fn how(self) -> String {
        match self {
            Subject::This => "measure".into(),
            Subject::Steps => "steps measure".into(),
            Subject::Arm(_) => "arm BUILD measure".into(),
        }
    }

    /// Instructions of each case, in order; `None` where what counts them is not installed.
    fn instructions(self) -> Result<Option<Vec<u64>>, String> {
        match self {
            Subject::This => callgrind(),
            Subject::Steps => steps(),
            Subject::Arm(program) => emulated::count(program),
        }
    }

    /// Instructions per weight of each case, in order.
    fn count(self) -> Result<Option<Vec<f64>>, String> {
        let Some(instructions) = self.instructions()? else {
            return Ok(None);
        };
        let cases = self.counter().cases();
        if instructions.len() != cases.count() {
            let count = instructions.len();
            return Err(format!("budgets: {count} counts, not one for each case"));
        }
        let cases = self.counter().cases().zip(instructions);
        let per_weight = |((work, _, columns), count): ((Work, _, _), u64)| {
            count as f64 / work.size(columns) as f64
        };
        Ok(Some(cases.map(per_weight).collect()))
    }
}

/// How much more than the table says is still within the budget. Counts repeat exactly; this is
/// for what a change elsewhere does to the compiler's choices.
const MARGIN: f64 = 1.05;

/// A count below this share of the table's leaves room for a loss that nobody would see.
const LOOSE: f64 = 0.9;

/// Counts everything and compares it with the table.
pub fn check(subject: Subject<'_>) -> Result<(), String> {
    let Some(counts) = subject.count()? else {
        eprintln!("budgets: skipped, because what counts instructions is not there");
        return Ok(());
    };
    let path = subject.table();
    let table = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let mut faults = String::new();
    let mut loose = 0;
    for ((work, isa, columns), count) in subject.counter().cases().zip(&counts) {
        let Some(budget) = budget(&table, &work.name(), isa.name(), columns) else {
            return Err(format!("budgets: {} is not in the table", work.name()));
        };
        if *count > budget * MARGIN {
            let name = work.name();
            let _ = writeln!(
                faults,
                "  {name}, {isa}, columns {columns}: {count:.3}, was {budget:.3}"
            );
        }
        loose += u32::from(*count < budget * LOOSE);
    }
    if loose > 0 {
        eprintln!("budgets: {loose} counts are well below the table's; `measure` tightens it");
    }
    if faults.is_empty() {
        eprintln!("budgets: {} counts within the table", counts.len());
        return Ok(());
    }
    Err(format!(
        "budgets: more instructions for a weight than the table allows\n{faults}\
         This is {}; the table was measured with {}.\n\
         If the loss is meant: cargo run --release -p yareta-kernels --example guard -- {}",
        compiler(),
        table
            .lines()
            .find_map(|line| line.strip_prefix("# compiler: "))
            .unwrap_or("?"),
        subject.how(),
    ))
}

/// Counts everything and writes the table.
pub fn write(subject: Subject<'_>) -> Result<(), String> {
    let counts = subject.count()?;
    let counts = counts.ok_or("what counts instructions is not there")?;
    let counted_by = match subject.counter() {
        Counter::Callgrind => "callgrind",
        Counter::Steps => "single steps",
        Counter::Emulator => "the emulator",
    };
    let mut table = format!(
        "# Instructions for each weight and column, counted by {counted_by}; for `prepare`,\n\
         # for each activation. Written by: cargo run --release -p yareta-kernels --example guard -- {}\n\
         # compiler: {}\n",
        subject.how(),
        compiler()
    );
    let mut row = |cells: &[String]| {
        let _ = write!(table, "{:14}", cells[0]);
        for cell in &cells[1..] {
            let _ = write!(table, " {cell:>11}");
        }
        table.push('\n');
    };
    let isas = subject.counter().isas();
    let heads = isas
        .iter()
        .flat_map(|isa| COLUMNS.map(|columns| format!("{isa}:{columns}")));
    row(&std::iter::once("what".into())
        .chain(heads)
        .collect::<Vec<_>>());
    let per_row = isas.len() * COLUMNS.len();
    for (work, counts) in Work::all().zip(counts.chunks(per_row)) {
        let cells = counts.iter().map(|count| format!("{count:.3}"));
        row(&std::iter::once(work.name())
            .chain(cells)
            .collect::<Vec<_>>());
    }
    let path = subject.table();
    std::fs::write(path, table).map_err(|error| format!("{path}: {error}"))
}

/// Instructions of each case, in order; `None` without valgrind.
fn callgrind() -> Result<Option<Vec<u64>>, String> {
    if !is_installed("valgrind") {
        return Ok(None);
    }
    let directory = Directory::new()?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let out = directory.0.join("out");
    output(
        Command::new("valgrind")
            .args(["--tool=callgrind", "--quiet"])
            .arg("--toggle-collect=guard::counted::measured")
            .arg("--dump-after=guard::counted::measured")
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(program)
            .args(["counted", Counter::Callgrind.name()]),
    )?;
    let mut counts = Vec::new();
    for number in 0..Counter::Callgrind.cases().count() {
        let path = directory.0.join(format!("out.{}", number + 1));
        let dump = std::fs::read_to_string(&path)
            .map_err(|error| format!("callgrind wrote no {}: {error}", path.display()))?;
        let total = dump
            .lines()
            .find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok())
            .filter(|total| *total > 0)
            .ok_or_else(|| format!("no totals in {}", path.display()))?;
        counts.push(total);
    }
    Ok(Some(counts))
}

/// Instructions of each case, in order; `None` without Python, or on another processor.
fn steps() -> Result<Option<Vec<u64>>, String> {
    let known = Counter::Steps.isas().iter().all(|isa| isa.is_available());
    if !known || !is_installed("python3") || !is_installed("nm") {
        return Ok(None);
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let counts = output(
        Command::new("python3")
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/examples/guard/steps.py"
            ))
            .arg(program)
            .args(["counted", Counter::Steps.name()]),
    )?;
    let number = |line: &str| line.parse().map_err(|_| format!("not a count: {line}"));
    counts
        .lines()
        .map(number)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// What the table says.
fn budget(table: &str, name: &str, isa: &str, columns: usize) -> Option<f64> {
    let mut rows = table.lines().filter(|line| !line.starts_with('#'));
    let column = format!("{isa}:{columns}");
    let index = rows
        .next()?
        .split_whitespace()
        .position(|head| head == column)?;
    let row = rows.find(|row| row.split_whitespace().next() == Some(name))?;
    row.split_whitespace().nth(index)?.parse().ok()
}

fn compiler() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or("rustc".into());
    let version = output(Command::new(rustc).arg("--version"));
    version.map_or("an unknown compiler".into(), |text| text.trim().to_owned())
}

/// A directory that is removed again.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Result<Directory, String> {
        let name = format!("yareta-guard-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
