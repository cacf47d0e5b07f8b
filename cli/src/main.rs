//! The program `yareta`: thin commands over the public interface of the library.
//!
//! Responsible for the command line, for what people and scripts read, and for exit codes: 0 when
//! all went well, 1 when something failed, 2 when the command line asks for what cannot be, 130
//! when interrupted. What a model computes is the library's business.

mod bench;
mod chat;
mod failure;
mod files;
mod generate;
mod inspect;
mod interrupt;
mod options;
mod perplexity;
mod quantize;
mod run;
mod screen;
mod source;
mod synthesize;
mod text;
mod tokenize;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Outcome;

/// What to type first.
const EXAMPLES: &str = "\
Examples:
  yareta run \"Once upon a time\"          a story, by the model in the program
  yareta chat -m MODEL.gguf              a conversation in the terminal
  yareta inspect -m MODEL.gguf           what is in a file, and the memory it takes
  yareta bench -m MODEL.gguf             how fast it runs on this machine";

/// Runs quantized language models from GGUF files on the CPU.
#[derive(Parser)]
#[command(
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = EXAMPLES
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Go on from a text.
    Run(run::RunArgs),
    /// Talk with a model.
    Chat(chat::ChatArgs),
    /// List what is in a GGUF file: metadata, tensors, memory needed.
    Inspect(inspect::InspectArgs),
    /// Show the tokens of a text.
    Tokenize(tokenize::TokenizeArgs),
    /// Measure how well a model predicts a text.
    Perplexity(perplexity::PerplexityArgs),
    /// Write a model with its weights in another format.
    Quantize(quantize::QuantizeArgs),
    /// Write a model of a real one's shape with random weights, for measurements.
    Synthesize(synthesize::SynthesizeArgs),
    /// Measure how fast a model runs, and how near to what the machine can do.
    Bench(bench::BenchArgs),
}

impl Command {
    fn run(self) -> Outcome {
        match self {
            Command::Run(args) => run::run(args),
            Command::Chat(args) => chat::run(args),
            Command::Inspect(args) => inspect::run(args),
            Command::Tokenize(args) => tokenize::run(args),
            Command::Perplexity(args) => perplexity::run(args),
            Command::Quantize(args) => quantize::run(args),
            Command::Synthesize(args) => Ok(synthesize::run(&args)?),
            Command::Bench(args) => bench::run(args),
        }
    }
}

fn main() -> ExitCode {
    match Arguments::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
