//! `yareta bench`: how fast a model runs, in tokens per second and as a share of what the machine
//! can do at most.
//!
//! Generation reads every weight once per token, so the limit is the rate at which memory is read;
//! a prompt is multiplied with each weight once per token, so the limit is the rate of products.
//! Both are measured here, between the runs, with the same threads.

mod machine;
mod memory;
mod report;
mod statistics;
mod work;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use yareta::{Cpu, Isa, MemoryPlan, Model, Session, Token};

use crate::failure::{Failure, Outcome};
use crate::options::{ComputeArgs, SessionArgs, parse_isa};
use crate::screen;
use crate::source::Source;
use machine::Machine;
use memory::Resident;
use statistics::Samples;
use work::Work;

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
    /// Measure another model too, in turns with the first
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Measure with another number of threads too, in turns
    #[arg(long, value_name = "COUNT")]
    vs_threads: Option<usize>,
    /// Measure with another instruction set too, in turns
    #[arg(long, value_name = "NAME", value_parser = parse_isa)]
    vs_isa: Option<Isa>,
    /// Do not measure the machine's limits, which takes memory
    #[arg(long)]
    no_limits: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl BenchArgs {
    /// Whether there is a second side.
    fn compares(&self) -> bool {
        self.compare.is_some() || self.vs_threads.is_some() || self.vs_isa.is_some()
    }

    /// The second side's model and settings: the first's where nothing else is said.
    fn other(&self) -> (Source, ComputeArgs) {
        let model = self.compare.clone().or(self.source.model.clone());
        let compute = ComputeArgs {
            threads: self.vs_threads.or(self.compute.threads),
            isa: self.vs_isa.or(self.compute.isa),
        };
        (Source { model }, compute)
    }
}

/// Runs the measurements and prints them.
pub fn run(args: BenchArgs) -> Outcome {
    if args.prompt == 0 && args.generate == 0 {
        let text = "neither a prompt (-p) nor generation (-n) is to be measured";
        return Err(Failure::Usage(text.into()));
    }
    let mut first = Side::open(&args.source, &args.compute, &args)?;
    first.warm_up(&args)?;
    // Before the measurements of the machine take memory of their own, and those of a comparison.
    let resident = Resident::now();
    let mut second = None;
    if args.compares() {
        let (source, compute) = args.other();
        let mut side = Side::open(&source, &compute, &args)?;
        side.warm_up(&args)?;
        second = Some(side);
    }
    let mut machine = match args.no_limits {
        true => None,
        false => Some(first.machine()?),
    };
    let bar = screen::bar(u64::from(args.repetitions), "bench");
    for repetition in 0..args.repetitions {
        bar.set_position(u64::from(repetition));
        match &mut second {
            None => first.measure(&args, &bar)?,
            // Each goes first as often as the other: what changes slowly hits both the same.
            Some(second) if repetition % 2 == 0 => {
                first.measure(&args, &bar)?;
                second.measure(&args, &bar)?;
            }
            Some(second) => {
                second.measure(&args, &bar)?;
                first.measure(&args, &bar)?;
            }
        }
        if let Some(machine) = &mut machine {
            machine.measure();
        }
    }
    bar.finish_and_clear();
    let report = report::Report {
        args: &args,
        sides: std::iter::once(&first).chain(&second).collect(),
        resident,
        machine: machine.as_ref(),
    };
    match args.json {
        true => report.print_json(),
        false => report.print(),
    }
}

/// One model with its settings, and what was measured.
struct Side {
    name: String,
    model: Model,
    session: Session,
    plan: MemoryPlan,
    work: Work,
    load_time: Duration,
    warm_up_time: Duration,
    tokens: Tokens,
    prompt: Samples,     // tokens per second
    generation: Samples, // tokens per second
}

impl Side {
    fn open(source: &Source, compute: &ComputeArgs, args: &BenchArgs) -> Outcome<Side> {
        let start = Instant::now();
        let model = source.model(compute.options()?)?;
        let load_time = start.elapsed();
        let needed = args.prompt.max(args.generate + 1);
        let context = args.session.context;
        let options = args
            .session
            .options()
            .context(context.unwrap_or(args.depth.saturating_add(needed)));
        let plan = model.plan(&options)?;
        let session = model.session_with(&options)?;
        Ok(Side {
            name: source.name(),
            work: Work::of(&model),
            tokens: Tokens::new(model.vocabulary()),
            model,
            session,
            plan,
            load_time,
            warm_up_time: Duration::ZERO,
            prompt: Samples::default(),
            generation: Samples::default(),
        })
    }

    /// Fills the context up to the depth, and does a little of everything, so that the weights
    /// are in memory.
    fn warm_up(&mut self, args: &BenchArgs) -> Outcome {
        let start = Instant::now();
        if args.depth > 0 {
            let tokens = self.tokens.take(args.depth);
            self.session.feed(&tokens)?;
        }
        let tokens = self.tokens.take(args.prompt.clamp(1, 64));
        self.session.feed(&tokens)?;
        self.warm_up_time = start.elapsed();
        Ok(())
    }

    fn measure(&mut self, args: &BenchArgs, bar: &ProgressBar) -> Outcome {
        if args.prompt > 0 {
            bar.set_message(format!("{}: prompt", self.name));
            self.session.truncate(args.depth);
            let tokens = self.tokens.take(args.prompt);
            let start = Instant::now();
            self.session.feed(&tokens)?;
            self.prompt
                .push(args.prompt as f64 / start.elapsed().as_secs_f64());
        }
        if args.generate > 0 {
            bar.set_message(format!("{}: generation", self.name));
            self.session.truncate(args.depth);
            // A first token that is not counted, as a session without one cannot go on.
            let tokens = self.tokens.take(args.generate + 1);
            self.session.feed(&tokens[..1])?;
            let start = Instant::now();
            for token in &tokens[1..] {
                self.session.feed(std::slice::from_ref(token))?;
            }
            self.generation
                .push(args.generate as f64 / start.elapsed().as_secs_f64());
        }
        Ok(())
    }

    fn machine(&self) -> Outcome<Machine> {
        let isa = self.model.isa();
        let cpu = Cpu::with(isa)
            .ok_or_else(|| Failure::Usage(format!("this CPU does not have {isa}")))?;
        Machine::new(cpu, self.model.threads().count())
    }

    /// Bytes that generating a token reads, in the mean of a run: weights, and the keys and values
    /// of the tokens before it.
    fn bytes_per_token(&self, args: &BenchArgs) -> f64 {
        let position = args.depth as f64 + 1.0 + args.generate as f64 / 2.0;
        let cached = self.plan.cache as f64 / self.session.context() as f64;
        self.work.bytes + position * cached
    }

    /// The share of the memory's rate that generation reaches.
    fn memory_share(&self, args: &BenchArgs, machine: &Machine) -> f64 {
        self.generation.mean() * self.bytes_per_token(args) / machine.memory
    }

    /// The share of the peak of products that a prompt reaches, those with keys and values not
    /// counted.
    fn product_share(&self, machine: &Machine) -> f64 {
        let least = self.work.int8 / machine.int8 + self.work.float / machine.float;
        self.prompt.mean() * least
    }
}

/// An endless sequence of arbitrary tokens, the same in every bench.
struct Tokens {
    vocabulary: u64,
    state: u64,
}

impl Tokens {
    fn new(vocabulary: usize) -> Tokens {
        Tokens {
            vocabulary: vocabulary.max(1) as u64,
            state: 1,
        }
    }

    fn take(&mut self, count: usize) -> Vec<Token> {
        let next = |_| {
            // The multiplier of Knuth's MMIX; the upper bits are good enough.
            self.state = self
                .state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((self.state >> 33) % self.vocabulary) as Token
        };
        (0..count).map(next).collect()
    }
}
