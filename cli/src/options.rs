//! The options that several commands share, and what they mean to the library.

use std::time::{SystemTime, UNIX_EPOCH};

use yareta::{Isa, KvType, Model, ModelOptions, Sampler, Session, SessionOptions, Threads};

use crate::failure::Outcome;
use crate::generate::note;

/// Above which options the help lists those of computing, and those of sampling.
const COMPUTING: &str = "Computing";
const SAMPLING: &str = "Sampling";

/// What to compute with.
#[derive(clap::Args, Clone, Debug)]
pub struct ComputeArgs {
    /// Threads to compute with [default: one for each physical performance core]
    #[arg(help_heading = COMPUTING, short, long, value_name = "COUNT")]
    pub threads: Option<usize>,
    /// Instruction set to compute with: scalar, avx2, avxvnni, avx512, avx512vbmi, avx512bf16, neon,
    /// neondot or neoni8mm
    /// [default: the best of this machine]
    #[arg(help_heading = COMPUTING, long, value_name = "NAME", value_parser = parse_isa)]
    pub isa: Option<Isa>,
    /// Ask the system to hold the model, keys and values in huge pages
    #[arg(help_heading = COMPUTING, long)]
    pub huge_pages: bool,
}

impl ComputeArgs {
    /// How to open a model.
    pub fn options(&self) -> Outcome<ModelOptions<'static>> {
        let mut options = ModelOptions::new().huge_pages(self.huge_pages);
        if let Some(count) = self.threads {
            options = options.threads(Threads::new(count)?);
        }
        if let Some(isa) = self.isa {
            options = options.isa(isa);
        }
        Ok(options)
    }
}

/// Checks the name here and whether this machine has it when a model is opened.
pub fn parse_isa(name: &str) -> Result<Isa, String> {
    name.parse().map_err(|error| format!("{error}"))
}

/// What a session can hold.
#[derive(clap::Args, Clone, Debug)]
pub struct SessionArgs {
    /// Tokens that fit the context [default: what the model was trained on, at most 4096]
    #[arg(help_heading = COMPUTING, short, long, value_name = "TOKENS")]
    pub context: Option<usize>,
    /// Tokens of a prompt to process at once
    #[arg(help_heading = COMPUTING, short, long, value_name = "TOKENS", default_value_t = 512)]
    pub batch: usize,
    /// How keys and values are stored: q16 or f16, or q8_0 for half the memory
    #[arg(help_heading = COMPUTING, long, value_name = "TYPE", default_value = "q16", value_parser = parse_kv)]
    pub kv: KvType,
}

impl SessionArgs {
    /// How to make a session.
    pub fn options(&self) -> SessionOptions {
        let options = SessionOptions::new().batch(self.batch).kv(self.kv);
        match self.context {
            Some(tokens) => options.context(tokens),
            None => options,
        }
    }

    /// A session; where its context is longer than the model's, that is told.
    pub fn session(&self, model: &Model) -> Outcome<Session> {
        let session = model.session_with(&self.options())?;
        if session.context() > model.context() {
            note(&format!(
                "yareta: a context of {} tokens, but the model was trained on {}",
                session.context(),
                model.context()
            ));
        }
        Ok(session)
    }
}

/// A limit of tokens, or -1 for none, as other programs have it.
pub fn parse_limit(text: &str) -> Result<usize, String> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(usize::MAX),
        Ok(tokens) => usize::try_from(tokens).map_err(|_| "not a number of tokens, or -1".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// The type that keys and values are stored as.
pub fn parse_kv(name: &str) -> Result<KvType, String> {
    match name {
        "q16" => Ok(KvType::Q16),
        "f16" => Ok(KvType::F16),
        "q8_0" => Ok(KvType::Q8_0),
        _ => Err("the types are q16, f16 and q8_0".into()),
    }
}

/// How the next token is chosen. The defaults suit models of any size; small ones need them: with
/// the least probable tokens cut off, the embedded model ends 30 of 30 stories by itself within
/// 256 tokens instead of 27.
#[derive(clap::Args, Clone, Debug)]
pub struct SamplingArgs {
    /// Temperature: 0 always takes the most probable token, 1 draws as the model says
    #[arg(
        help_heading = SAMPLING,
        long,
        value_name = "NUMBER",
        default_value_t = 0.7,
        allow_negative_numbers = true
    )]
    pub temp: f32,
    /// Draw from so many of the most probable tokens; 0 for all
    #[arg(help_heading = SAMPLING, long, value_name = "COUNT", default_value_t = 40)]
    pub top_k: usize,
    /// Draw from the most probable tokens that together have this share
    #[arg(
        help_heading = SAMPLING,
        long,
        value_name = "SHARE",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    pub top_p: f32,
    /// Draw from tokens at least this share as probable as the most probable
    #[arg(
        help_heading = SAMPLING,
        long,
        value_name = "SHARE",
        default_value_t = 0.1,
        allow_negative_numbers = true
    )]
    pub min_p: f32,
    /// Draw from tokens about as probable as is typical, which together have this share
    #[arg(
        help_heading = SAMPLING,
        long,
        value_name = "SHARE",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    pub typical: f32,
    /// Make tokens of the recent text less probable; 1 for not
    #[arg(
        help_heading = SAMPLING,
        long,
        value_name = "FACTOR",
        default_value_t = 1.1,
        allow_negative_numbers = true
    )]
    pub repeat_penalty: f32,
    /// Take this from the logit of a token for each time it is in the recent text
    #[arg(
        help_heading = SAMPLING,
        long,
        value_name = "NUMBER",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    pub frequency_penalty: f32,
    /// Take this from the logit of a token that is in the recent text
    #[arg(
        help_heading = SAMPLING,
        long,
        value_name = "NUMBER",
        default_value_t = 0.0,
        allow_negative_numbers = true
    )]
    pub presence_penalty: f32,
    /// Tokens that are recent
    #[arg(help_heading = SAMPLING, long, value_name = "TOKENS", default_value_t = 64)]
    pub repeat_last: usize,
    /// Number that decides all draws: the same gives the same text [default: of the clock]
    #[arg(help_heading = SAMPLING, short, long, value_name = "NUMBER")]
    pub seed: Option<u64>,
}

impl SamplingArgs {
    /// The sampler and its seed.
    pub fn sampler(&self) -> Outcome<(Sampler, u64)> {
        let seed = self.seed.unwrap_or_else(clock_seed);
        let sampler = Sampler::new(seed)
            .temperature(self.temp)
            .top_k(self.top_k)
            .top_p(self.top_p)
            .min_p(self.min_p)
            .typical(self.typical)
            .frequency_penalty(self.frequency_penalty)
            .presence_penalty(self.presence_penalty)
            .repetition_penalty(self.repeat_penalty, self.repeat_last);
        sampler.check()?;
        Ok((sampler, seed))
    }
}

/// A seed that is short enough to type again.
fn clock_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanoseconds = now.map_or(0, |now| now.as_nanos() as u64);
    (nanoseconds ^ (nanoseconds >> 20)) % 1_000_000
}
