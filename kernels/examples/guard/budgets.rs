//! Instructions for each weight, counted and compared with the table.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::counted::{COLUMNS, ISAS, Work, cases};
use crate::{is_installed, output};

/// The table: what was counted when it was written.
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/guard/budgets.txt");

/// How much more than the table says is still within the budget. Counts repeat exactly; this is
/// for what a change elsewhere does to the compiler's choices.
const MARGIN: f64 = 1.05;

/// A count below this share of the table's leaves room for a loss that nobody would see.
const LOOSE: f64 = 0.9;

/// Counts everything and compares it with the table.
pub fn check() -> Result<(), String> {
    let Some(counts) = count()? else {
        eprintln!("budgets: skipped, because there is no valgrind");
        return Ok(());
    };
    let table = std::fs::read_to_string(PATH).map_err(|error| format!("{PATH}: {error}"))?;
    let mut faults = String::new();
    let mut loose = 0;
    for ((work, isa, columns), count) in cases().zip(&counts) {
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
         If the loss is meant: cargo run --release -p yareta-kernels --example guard -- measure",
        compiler(),
        table
            .lines()
            .find_map(|line| line.strip_prefix("# compiler: "))
            .unwrap_or("?"),
    ))
}

/// Counts everything and writes the table.
pub fn write() -> Result<(), String> {
    let counts = count()?.ok_or("there is no valgrind to measure with")?;
    let mut table = format!(
        "# Instructions for each weight and column, counted by callgrind; for `prepare`, for each\n\
         # activation. Written by: cargo run --release -p yareta-kernels --example guard -- measure\n\
         # compiler: {}\n",
        compiler()
    );
    let mut row = |cells: &[String]| {
        let _ = write!(table, "{:14}", cells[0]);
        for cell in &cells[1..] {
            let _ = write!(table, "{cell:>12}");
        }
        table.push('\n');
    };
    let heads = ISAS
        .iter()
        .flat_map(|isa| COLUMNS.map(|columns| format!("{isa}:{columns}")));
    row(&std::iter::once("what".into())
        .chain(heads)
        .collect::<Vec<_>>());
    let per_row = ISAS.len() * COLUMNS.len();
    for (work, counts) in Work::all().zip(counts.chunks(per_row)) {
        let cells = counts.iter().map(|count| format!("{count:.3}"));
        row(&std::iter::once(work.name())
            .chain(cells)
            .collect::<Vec<_>>());
    }
    std::fs::write(PATH, table).map_err(|error| format!("{PATH}: {error}"))
}

/// Instructions per weight of each case, in order; `None` without valgrind.
fn count() -> Result<Option<Vec<f64>>, String> {
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
            .arg("counted"),
    )?;
    let mut counts = Vec::new();
    for (number, (work, _, columns)) in cases().enumerate() {
        let path = directory.0.join(format!("out.{}", number + 1));
        let dump = std::fs::read_to_string(&path)
            .map_err(|error| format!("callgrind wrote no {}: {error}", path.display()))?;
        let total = dump
            .lines()
            .find_map(|line| line.strip_prefix("totals: ")?.trim().parse::<u64>().ok())
            .filter(|total| *total > 0)
            .ok_or_else(|| format!("no totals in {}", path.display()))?;
        counts.push(total as f64 / work.size(columns) as f64);
    }
    Ok(Some(counts))
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
