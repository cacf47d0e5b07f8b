//! What a bench found, for people and for scripts.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::machine::Machine;
use super::memory::Resident;
use super::{BenchArgs, Side};
use crate::failure::Outcome;
use crate::text::{Side as Align, Table, bytes, count, number, rate};

/// Everything that was measured.
pub struct Report<'a> {
    pub args: &'a BenchArgs,
    /// One, or two that are compared.
    pub sides: Vec<&'a Side>,
    /// Of the first side alone.
    pub resident: Option<Resident>,
    pub machine: Option<&'a Machine>,
}

impl Report<'_> {
    /// A few lines for people.
    pub fn print(&self) -> Outcome {
        let mut out = io::stdout().lock();
        for side in &self.sides {
            self.print_side(side, &mut out)?;
        }
        if let [first, second] = self.sides[..] {
            self.print_ratios(first, second, &mut out)?;
        }
        if let Some(machine) = self.machine {
            writeln!(
                out,
                "machine: reads {}, adds {} of int8 and {} of float products",
                rate(machine.memory, "B"),
                rate(machine.int8, ""),
                rate(machine.float, ""),
            )?;
        }
        Ok(out.flush()?)
    }

    fn print_side(&self, side: &Side, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{}: {}, {} weights, {}, {} threads, {}",
            side.name,
            side.model.architecture(),
            count(side.model.parameters()),
            bytes(side.model.gguf().file_len()),
            side.model.threads().count(),
            side.model.isa(),
        )?;
        let mut table = Table::new(&[Align::Left, Align::Right, Align::Left, Align::Left]);
        let args = self.args;
        let depth = match args.depth {
            0 => String::new(),
            depth => format!(" at {depth}"),
        };
        if side.prompt.len() > 0 {
            table.row([
                format!("prompt {}{depth}", args.prompt),
                side.prompt.text(),
                "tokens/s".into(),
                self.share(
                    |machine| side.product_share(machine),
                    "of the peak of products",
                ),
            ]);
        }
        if side.generation.len() > 0 {
            table.row([
                format!("generation {}{depth}", args.generate),
                side.generation.text(),
                "tokens/s".into(),
                self.share(
                    |machine| side.memory_share(args, machine),
                    "of the rate of memory",
                ),
            ]);
        }
        table.row([
            "load",
            &number(side.load_time.as_secs_f64() * 1000.0),
            "ms",
            &format!(
                "then {} s to warm up",
                number(side.warm_up_time.as_secs_f64())
            ),
        ]);
        table.write(out, 2)?;
        if let (Some(resident), true) = (self.resident, std::ptr::eq(side, self.sides[0])) {
            writeln!(
                out,
                "  memory: {} resident, of which {} mapped file and {} own (planned: cache {}, \
                 scratch {}); peak {}",
                bytes(resident.total),
                bytes(resident.file),
                bytes(resident.own),
                bytes(side.plan.cache),
                bytes(side.plan.scratch),
                bytes(resident.peak),
            )?;
        }
        Ok(())
    }

    fn print_ratios(&self, first: &Side, second: &Side, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "first to second, run by run")?;
        let mut table = Table::new(&[Align::Left, Align::Right, Align::Left]);
        for (what, a, b) in pairs(first, second) {
            table.row([what, &a.ratios(b).text(), "times as fast"]);
        }
        table.write(out, 2)
    }

    fn share(&self, share: impl Fn(&Machine) -> f64, of: &str) -> String {
        let percent = |machine| format!("{:.0} % {of}", share(machine) * 100.0);
        self.machine.map(percent).unwrap_or_default()
    }

    /// The same for scripts.
    pub fn print_json(&self) -> Outcome {
        let sides: Vec<Value> = self.sides.iter().map(|side| self.side_json(side)).collect();
        let mut all = json!({
            "prompt_tokens": self.args.prompt,
            "generated_tokens": self.args.generate,
            "depth": self.args.depth,
            "sides": sides,
            "memory": self.resident.map(|resident| resident.json()),
            "machine": self.machine.map(Machine::json),
        });
        if let [first, second] = self.sides[..] {
            for (what, a, b) in pairs(first, second) {
                all["ratio"][what] = a.ratios(b).json();
            }
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{all:#}")?;
        Ok(out.flush()?)
    }

    fn side_json(&self, side: &Side) -> Value {
        let args = self.args;
        json!({
            "model": side.name,
            "architecture": side.model.architecture(),
            "weights": side.model.parameters(),
            "file_bytes": side.model.gguf().file_len(),
            "threads": side.model.threads().count(),
            "isa": side.model.isa().name(),
            "load_seconds": side.load_time.as_secs_f64(),
            "warm_up_seconds": side.warm_up_time.as_secs_f64(),
            "prompt_tokens_per_second": side.prompt.json(),
            "prompt_share_of_peak": self.machine.map(|machine| side.product_share(machine)),
            "generation_tokens_per_second": side.generation.json(),
            "generation_share_of_memory":
                self.machine.map(|machine| side.memory_share(args, machine)),
            "bytes_per_token": side.bytes_per_token(args),
            "products_per_token": side.work.int8 + side.work.float,
            "plan": {
                "weights_bytes": side.plan.weights,
                "cache_bytes": side.plan.cache,
                "scratch_bytes": side.plan.scratch,
            },
        })
    }
}

/// What was measured of both sides.
fn pairs<'a>(
    first: &'a Side,
    second: &'a Side,
) -> Vec<(&'static str, &'a super::Samples, &'a super::Samples)> {
    let mut pairs = Vec::new();
    if first.prompt.len() > 0 {
        pairs.push(("prompt", &first.prompt, &second.prompt));
    }
    if first.generation.len() > 0 {
        pairs.push(("generation", &first.generation, &second.generation));
    }
    pairs
}
