//! `yareta bench`: how fast a model runs, in tokens per second and as a share of what the machine
//! can do at most; and how one model or setting compares with another, in turns.
//!
//! Generation reads every weight once per token, so the limit is the rate at which bytes are read;
//! a prompt is multiplied with each weight once per token, so the limit is the rate of products.
//! Both are measured here with the same threads, before and after each run: the machine of a share
//! is the machine of that moment.

mod machine;
mod memory;
mod report;
mod side;
mod statistics;
mod work;

use std::path::PathBuf;

use indicatif::ProgressBar;
use yareta::{Isa, KvType};

use crate::failure::{Failure, Outcome};
use crate::options::{ComputeArgs, SessionArgs, parse_isa, parse_kv};
use crate::screen;
use crate::source::Source;
use machine::Machine;
use memory::Resident;
use side::{Settings, Side};

/// What `bench` is told.
#[derive(clap::Args)]
#[command(mut_arg("context", |arg| arg.help(
    "Tokens that fit the context [default: as many as are needed]"
)))]
pub struct BenchArgs {
    #[command(flatten)]
    source: Source,
    /// Tokens of the prompt; 0 to leave prompts out
    #[arg(short, long, value_name = "TOKENS", default_value_t = 512)]
    prompt: usize,
    /// Tokens to generate; 0 to leave generation out
    #[arg(short = 'n', long, value_name = "TOKENS", default_value_t = 128)]
    generate: usize,
    /// Tokens that are in the context already
    #[arg(short, long, value_name = "TOKENS", default_value_t = 0)]
    depth: usize,
    /// How often to measure
    #[arg(short, long, value_name = "COUNT", default_value_t = 5,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repetitions: u32,
    #[command(flatten)]
    session: SessionArgs,
    #[command(flatten)]
    compute: ComputeArgs,
    #[command(flatten)]
    against: Against,
    /// Do not measure the machine's limits, which takes memory
    #[arg(long)]
    no_limits: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a second side has that the first has not. The two run in turns, and their ratio is that of
/// runs made one after the other.
#[derive(clap::Args)]
#[command(next_help_heading = "Compare, in turns, with")]
struct Against {
    /// Another model; the same measures how far ratios spread by themselves
    #[arg(long = "vs", id = "vs", value_name = "FILE")]
    model: Option<PathBuf>,
    /// Another number of threads
    #[arg(long = "vs-threads", id = "vs-threads", value_name = "COUNT")]
    threads: Option<usize>,
    /// Another instruction set
    #[arg(long = "vs-isa", id = "vs-isa", value_name = "NAME", value_parser = parse_isa)]
    isa: Option<Isa>,
    /// Huge pages
    #[arg(long = "vs-huge-pages", id = "vs-huge-pages")]
    huge_pages: bool,
    /// Another type of keys and values
    #[arg(long = "vs-kv", id = "vs-kv", value_name = "TYPE", value_parser = parse_kv)]
    kv: Option<KvType>,
    /// Another number of tokens to process at once
    #[arg(long = "vs-batch", id = "vs-batch", value_name = "TOKENS")]
    batch: Option<usize>,
    /// Another number of tokens that are in the context already
    #[arg(long = "vs-depth", id = "vs-depth", value_name = "TOKENS")]
    depth: Option<usize>,
}

impl BenchArgs {
    /// With what the first side runs.
    fn first(&self) -> Settings {
        Settings {
            source: self.source.clone(),
            threads: self.compute.threads,
            isa: self.compute.isa,
            huge_pages: self.compute.huge_pages,
            kv: self.session.kv,
            batch: self.session.batch,
            depth: self.depth,
        }
    }

    /// With what the second side runs, if there is one.
    fn second(&self) -> Option<Settings> {
        let first = self.first();
        let Against {
            model,
            threads,
            isa,
            huge_pages,
            kv,
            batch,
            depth,
        } = &self.against;
        let numbers = threads.is_some() || batch.is_some() || depth.is_some();
        let types = isa.is_some() || kv.is_some();
        let any = numbers || types || *huge_pages || model.is_some();
        any.then(|| Settings {
            source: Source {
                model: model.clone().or(first.source.model),
            },
            threads: threads.or(first.threads),
            isa: isa.or(first.isa),
            huge_pages: first.huge_pages || *huge_pages,
            kv: kv.unwrap_or(first.kv),
            batch: batch.unwrap_or(first.batch),
            depth: depth.unwrap_or(first.depth),
        })
    }

    /// What is measured of each side.
    fn figures(&self) -> Vec<Figure> {
        let wanted = [
            (Figure::Prompt, self.prompt),
            (Figure::Generation, self.generate),
        ];
        let wanted = wanted.into_iter().filter(|(_, tokens)| *tokens > 0);
        wanted.map(|(figure, _)| figure).collect()
    }
}

/// Something that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    Prompt,
    Generation,
}

impl Figure {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Figure::Prompt => "prompt",
            Figure::Generation => "generation",
        }
    }
}

/// Runs the measurements and prints them.
pub fn run(args: BenchArgs) -> Outcome {
    if args.figures().is_empty() {
        let text = "neither a prompt (-p) nor generation (-n) is to be measured";
        return Err(Failure::Usage(text.into()));
    }
    let mut sides = vec![Side::open(args.first(), &args)?];
    sides[0].warm_up()?;
    // Before the measurements of the machine take memory of their own, and those of a comparison.
    let resident = Resident::now();
    if let Some(settings) = args.second() {
        let mut side = Side::open(settings, &args)?;
        side.warm_up()?;
        sides.push(side);
    }
    let machine = match args.no_limits {
        true => None,
        false => {
            let means: Vec<_> = sides.iter().map(Side::means).collect();
            Some(Machine::new(&means)?)
        }
    };
    measure(&mut sides, machine.as_ref(), &args)?;
    let report = report::Report {
        args: &args,
        sides: &sides,
        resident,
        has_limits: machine.is_some(),
    };
    match args.json {
        true => report.print_json(),
        false => report.print(),
    }
}

/// Runs all sides as often as wanted. Runs of the same figure follow each other, and each side goes
/// first as often as the other: what changes slowly hits both the same.
fn measure(sides: &mut [Side], machine: Option<&Machine>, args: &BenchArgs) -> Outcome {
    let bar: ProgressBar = screen::bar(u64::from(args.repetitions), "bench");
    for repetition in 0..args.repetitions {
        bar.set_position(u64::from(repetition));
        for figure in args.figures() {
            let mut run = |side: &mut Side| {
                bar.set_message(format!("{}: {}", side.name, figure.name()));
                side.measure(figure, machine)
            };
            match repetition % 2 {
                0 => sides.iter_mut().try_for_each(&mut run)?,
                _ => sides.iter_mut().rev().try_for_each(&mut run)?,
            }
        }
    }
    bar.finish_and_clear();
    Ok(())
}
