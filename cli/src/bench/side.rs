//! One model with its settings, run and measured beside the machine.

use std::time::{Duration, Instant};

use yareta::{Cpu, Isa, KvType, MemoryPlan, Model, Session, SessionOptions, Token};

use super::machine::{Limits, Machine, Means, Products};
use super::statistics::Samples;
use super::work::Work;
use super::{BenchArgs, Figure};
use crate::failure::{Failure, Outcome};
use crate::options::ComputeArgs;
use crate::source::Source;

/// What a side is run with.
#[derive(Clone, Debug)]
pub struct Settings {
    pub source: Source,
    pub threads: Option<usize>,
    pub isa: Option<Isa>,
    pub huge_pages: bool,
    pub kv: KvType,
    pub batch: usize,
    pub depth: usize,
}

/// A model with its settings, and what was measured of it.
pub struct Side {
    pub name: String,
    pub settings: Settings,
    pub model: Model,
    pub session: Session,
    pub plan: MemoryPlan,
    pub load_time: Duration,
    pub warm_up_time: Duration,
    work: Work,
    means: Means,
    tokens: Tokens,
    prompt: usize,   // tokens
    generate: usize, // tokens
    prompt_rate: Samples,
    generation_rate: Samples,
    pub limits: Limits,
}

/// What a prompt reaches of the machine's peaks, run by run.
pub struct ProductShares {
    /// Of the weights' products: those of quantized weights as the int8 peak allows, those of
    /// float weights as the float peak does, and of BF16 weights as that of bfloat16 does.
    pub weights: Samples,
    /// Of the attention's, all counted as products of floats.
    pub attention: Samples,
}

impl Side {
    /// Opens the model and makes a session.
    pub fn open(settings: Settings, args: &BenchArgs) -> Outcome<Side> {
        let compute = ComputeArgs {
            threads: settings.threads,
            isa: settings.isa,
            huge_pages: settings.huge_pages,
        };
        let start = Instant::now();
        let model = settings.source.model(compute.options()?)?;
        let load_time = start.elapsed();
        let needed = args.prompt.max(args.generate + 1);
        let needed = settings.depth.saturating_add(needed);
        let options = SessionOptions::new()
            .context(args.session.context.unwrap_or(needed))
            .batch(settings.batch)
            .kv(settings.kv);
        let plan = model.plan(&options)?;
        let session = model.session_with(&options)?;
        let isa = model.isa();
        let cpu = Cpu::with(isa)
            .ok_or_else(|| Failure::Usage(format!("this CPU does not have {isa}")))?;
        let work = Work::of(&model);
        let mut side = Side {
            name: settings.source.name(),
            means: Means {
                cpu,
                threads: model.threads().count(),
                bytes: work.bytes,
            },
            work,
            tokens: Tokens::new(model.vocabulary()),
            settings,
            model,
            session,
            plan,
            load_time,
            warm_up_time: Duration::ZERO,
            prompt: args.prompt,
            generate: args.generate,
            prompt_rate: Samples::default(),
            generation_rate: Samples::default(),
            limits: Limits::default(),
        };
        side.means.bytes = side.bytes_per_token();
        Ok(side)
    }

    /// Fills the context up to the depth, and reads a prompt as it will be measured, so that the
    /// weights are in memory, and all else that it takes.
    pub fn warm_up(&mut self) -> Outcome {
        let start = Instant::now();
        if self.settings.depth > 0 {
            let tokens = self.tokens.take(self.settings.depth);
            self.session.feed(&tokens)?;
        }
        let tokens = self.tokens.take(self.prompt.max(1));
        self.session.feed(&tokens)?;
        self.warm_up_time = start.elapsed();
        Ok(())
    }

    /// With what the limits beside its runs are measured.
    pub fn means(&self) -> Means {
        self.means
    }

    /// One run, with the limits of the machine measured before and after it.
    pub fn measure(&mut self, figure: Figure, machine: Option<&Machine>) -> Outcome {
        let means = self.means;
        let mean = |a: f64, b: f64| (a + b) / 2.0;
        match figure {
            Figure::Prompt => {
                let before = machine.map(|machine| machine.products(&means));
                let seconds = self.run_prompt()?;
                let after = machine.map(|machine| machine.products(&means));
                self.prompt_rate.push(self.prompt as f64 / seconds);
                if let (Some(before), Some(after)) = (before, after) {
                    self.limits.int8.push(mean(before.int8, after.int8));
                    self.limits.float.push(mean(before.float, after.float));
                    self.limits.bf16.push(mean(before.bf16, after.bf16));
                }
            }
            Figure::Generation => {
                let before = machine.map(|machine| machine.reading(&means));
                let seconds = self.run_generation()?;
                let after = machine.map(|machine| machine.reading(&means));
                self.generation_rate.push(self.generate as f64 / seconds);
                if let (Some(before), Some(after)) = (before, after) {
                    self.limits.reading.push(mean(before, after));
                }
            }
        }
        Ok(())
    }

    fn run_prompt(&mut self) -> Outcome<f64> {
        self.session.truncate(self.settings.depth);
        let tokens = self.tokens.take(self.prompt);
        let start = Instant::now();
        self.session.feed(&tokens)?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn run_generation(&mut self) -> Outcome<f64> {
        self.session.truncate(self.settings.depth);
        // A first token that is not counted, as a session without one cannot go on.
        let tokens = self.tokens.take(self.generate + 1);
        self.session.feed(&tokens[..1])?;
        let start = Instant::now();
        for token in &tokens[1..] {
            self.session.feed(std::slice::from_ref(token))?;
        }
        Ok(start.elapsed().as_secs_f64())
    }

    /// Tokens per second of each run.
    pub fn rates(&self, figure: Figure) -> &Samples {
        match figure {
            Figure::Prompt => &self.prompt_rate,
            Figure::Generation => &self.generation_rate,
        }
    }

    /// Bytes of keys and values that generating a token reads, in the mean of a run.
    pub fn cached_bytes_per_token(&self) -> f64 {
        let positions = self.work.positions(self.settings.depth + 1, self.generate);
        match self.generate {
            0 => 0.0,
            _ => positions * self.plan.cache_per_position as f64,
        }
    }

    /// Bytes of weights that generating a token reads.
    pub fn weight_bytes_per_token(&self) -> f64 {
        self.work.bytes
    }

    /// All bytes that generating a token reads.
    pub fn bytes_per_token(&self) -> f64 {
        self.weight_bytes_per_token() + self.cached_bytes_per_token()
    }

    /// Products with weights for a token of the prompt.
    pub fn weight_products_per_token(&self) -> Products {
        self.work.products
    }

    /// Products with keys and values for a token of the prompt, in the mean of a run.
    pub fn attention_products_per_token(&self) -> f64 {
        let count = self.prompt.max(1);
        self.work.attention * self.work.positions(self.settings.depth, count)
    }

    /// The shares of the machine's peaks that prompts reach.
    pub fn product_shares(&self) -> ProductShares {
        let Products { int8, float, bf16 } = self.weight_products_per_token();
        let attention = self.attention_products_per_token();
        let least_int8 = self.limits.int8.with(&self.prompt_rate, |a, _| int8 / a);
        let least_float = self.limits.float.with(&self.prompt_rate, |a, _| float / a);
        let least_bf16 = self.limits.bf16.with(&self.prompt_rate, |a, _| bf16 / a);
        let least = least_int8.with(&least_float, |a, b| a + b);
        let least = least.with(&least_bf16, |a, b| a + b);
        let peak = &self.limits.float;
        ProductShares {
            weights: least.with(&self.prompt_rate, |least, rate| least * rate),
            attention: peak.with(&self.prompt_rate, |peak, rate| attention / peak * rate),
        }
    }

    /// The share of the rate of reading that generation reaches, run by run.
    pub fn reading_shares(&self) -> Samples {
        let bytes = self.bytes_per_token();
        let reading = &self.limits.reading;
        let share = |rate: f64, limit: f64| rate * bytes / limit;
        self.generation_rate.with(reading, share)
    }

    /// Seconds that generating a token takes beyond reading its bytes, run by run.
    pub fn overheads(&self) -> Samples {
        let bytes = self.bytes_per_token();
        let reading = &self.limits.reading;
        let overhead = |rate: f64, limit: f64| 1.0 / rate - bytes / limit;
        self.generation_rate.with(reading, overhead)
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
