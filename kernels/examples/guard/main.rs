//! Guards against silent loss of speed: a change that stops a hot function from being inlined, or
//! makes a loop compute what it need not, passes every test of results.
//!
//! - **Budgets** ([`budgets`]): instructions for each weight of each format, counted by callgrind,
//!   which gives the same number every time. Valgrind knows neither AVX-512 nor AVX-VNNI, so they
//!   are counted for scalar code and AVX2, whose kernels are the same source.
//! - **Calls** ([`calls`]): what functions compiled for AVX2, AVX-VNNI and AVX-512 still call. A
//!   function that is not inlined into them is compiled without the instruction set.
//!
//! ```text
//! cargo run --release -p yareta-kernels --example guard              checks both
//! cargo run --release -p yareta-kernels --example guard -- measure   writes the table of budgets
//! ```
//!
//! Needs valgrind and binutils on x86-64 Linux, and says what it leaves out where they are not. AVX-512
//! is counted by single steps where Python is there (`-- steps`, `-- steps measure`; a minute). The
//! instructions of 64-bit Arm are counted by user-mode emulation of a build of this program for it,
//! on any Linux ([`emulated`]):
//!
//! ```text
//! cargo build --release -p yareta-kernels --example guard --target aarch64-unknown-linux-gnu
//! cargo run --release -p yareta-kernels --example guard -- arm BUILD           checks
//! cargo run --release -p yareta-kernels --example guard -- arm BUILD measure   writes its table
//! ```

mod budgets;
mod calls;
mod counted;
mod emulated;

use std::process::{Command, ExitCode, Stdio};

use budgets::Subject;
use counted::Counter;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcomes = match arguments[..] {
        // What instructions are counted of.
        ["counted", counter] => match Counter::named(counter) {
            Some(counter) => {
                counted::run(counter);
                vec![]
            }
            None => vec![Err(format!("nothing counts as `{counter}`"))],
        },
        [] => vec![budgets::check(Subject::This), calls::check()],
        ["measure"] => vec![budgets::write(Subject::This)],
        ["steps"] => vec![budgets::check(Subject::Steps)],
        ["steps", "measure"] => vec![budgets::write(Subject::Steps)],
        ["arm", build] => vec![budgets::check(Subject::Arm(build))],
        ["arm", build, "measure"] => vec![budgets::write(Subject::Arm(build))],
        _ => vec![Err("[measure], steps [measure], arm BUILD [measure]".into())],
    };
    let faults: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    faults.iter().for_each(|fault| eprintln!("{fault}"));
    match faults.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Whether a program is there.
fn is_installed(program: &str) -> bool {
    let version = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}

/// What a program writes.
fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let ran = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if !ran.status.success() {
        let reason = String::from_utf8_lossy(&ran.stderr);
        return Err(format!("{name} failed: {reason}"));
    }
    Ok(String::from_utf8_lossy(&ran.stdout).into_owned())
}
