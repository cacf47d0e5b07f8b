//! `yareta run`: a text goes on.

use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use yareta::{EncodeOptions, Model, Token};

use crate::failure::{Failure, Outcome};
use crate::files::read_text;
use crate::generate::{Figures, Generator, Stop, note};
use crate::interrupt::Interrupt;
use crate::options::{ComputeArgs, SamplingArgs, SessionArgs, parse_limit};
use crate::screen::Stream;
use crate::source::Source;

/// What `run` is told.
#[derive(clap::Args)]
pub struct RunArgs {
    /// The text to go on from; standard input where it is left out and that is no terminal
    #[arg(value_name = "PROMPT", conflicts_with = "file")]
    prompt: Option<String>,
    /// Read the prompt from a file
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// The most tokens to write; -1 for as many as fit the context
    #[arg(
        short = 'n',
        long,
        value_name = "TOKENS",
        default_value = "256",
        allow_negative_numbers = true,
        value_parser = parse_limit
    )]
    max_tokens: usize,
    #[command(flatten)]
    session: SessionArgs,
    #[command(flatten)]
    compute: ComputeArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Take control tokens that are written in the prompt, such as <|im_end|>, as such
    #[arg(long)]
    parse_special: bool,
    /// Do not print the prompt before what follows it
    #[arg(long)]
    no_echo: bool,
    /// Do not print figures
    #[arg(short, long)]
    quiet: bool,
    /// Print JSON, at the end
    #[arg(long)]
    json: bool,
}

/// Streams the text.
pub fn run(args: RunArgs) -> Outcome {
    let (mut sampler, seed) = args.sampling.sampler()?;
    let prompt = args.prompt()?;
    let interrupt = Interrupt::install()?;

    let start = Instant::now();
    let model = args.source.model(args.compute.options()?)?;
    let tokenizer = model.tokenizer().clone();
    let mut session = args.session.session(&model)?;
    let load_time = start.elapsed();

    let tokens = args.tokens(&model, &prompt)?;
    let generator = Generator {
        session: &mut session,
        tokenizer: &tokenizer,
        sampler: &mut sampler,
        cancel: &interrupt.cancel,
        limit: args.max_tokens,
    };

    let figures = if args.json {
        let mut text = String::new();
        let figures = generator.run(&tokens, |piece| {
            text.push_str(piece);
            Ok(())
        })?;
        let mut all = json!({
            "prompt": prompt,
            "text": text,
            "seed": seed,
            "load_seconds": load_time.as_secs_f64(),
        });
        if let (Some(all), Some(figures)) = (all.as_object_mut(), figures.json().as_object_mut()) {
            all.append(figures);
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{all}")?;
        out.flush()?;
        figures
    } else {
        let mut stream = Stream::stdout();
        let mut echo = (!args.no_echo).then_some(prompt.as_str());
        let figures = generator.run(&tokens, |piece| {
            // After the prompt was processed, so that a progress bar does not come between.
            if let Some(prompt) = echo.take() {
                stream.write(prompt)?;
            }
            Ok(stream.write(piece)?)
        })?;
        stream.end_line()?;
        figures
    };
    if !args.quiet && !args.json {
        note(&sentence(&figures, load_time, seed));
    }
    match figures.stop {
        Stop::Interrupted => Err(Failure::Interrupted),
        _ => Ok(()),
    }
}

fn sentence(figures: &Figures, load_time: Duration, seed: u64) -> String {
    let end = match figures.stop {
        Stop::Context => " · the context is full (-c)",
        Stop::Length => " · stopped at the limit (-n)",
        Stop::End | Stop::Interrupted => "",
    };
    let load = load_time.as_secs_f64() * 1000.0;
    format!(
        "[{} · load {} ms · seed {seed}{end}]",
        figures.sentence(),
        crate::text::number(load),
    )
}

impl RunArgs {
    /// What to feed.
    fn tokens(&self, model: &Model, prompt: &str) -> Outcome<Vec<Token>> {
        let options = EncodeOptions {
            add_special: true,
            parse_special: self.parse_special,
        };
        let tokenizer = model.tokenizer();
        let mut tokens = tokenizer.encode_with(prompt, options)?;
        if tokens.is_empty() {
            // A model begins a text of its own after the token that begins all texts.
            let bos = tokenizer.bos();
            tokens.push(bos.ok_or_else(|| Failure::Error("the prompt is empty".into()))?);
        }
        Ok(tokens)
    }

    fn prompt(&self) -> Outcome<String> {
        if let Some(prompt) = &self.prompt {
            return Ok(prompt.clone());
        }
        if let Some(path) = &self.file {
            return read_text(path);
        }
        if io::stdin().is_terminal() {
            let text = "give a prompt, such as: yareta run \"Once upon a time\"";
            return Err(Failure::Usage(text.into()));
        }
        let mut prompt = String::new();
        io::stdin()
            .lock()
            .read_to_string(&mut prompt)
            .map_err(|error| Failure::Error(format!("cannot read the prompt: {error}")))?;
        // The line break that `echo` adds is not meant to be gone on from.
        let end = prompt.trim_end_matches(['\r', '\n']).len();
        prompt.truncate(end);
        Ok(prompt)
    }
}
