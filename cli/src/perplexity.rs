//! `yareta perplexity`: how well a model predicts a text.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;
use yareta::{EncodeOptions, PerplexityOptions, Token};

use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::options::{ComputeArgs, SessionArgs};
use crate::screen;
use crate::source::Source;
use crate::text::number;

/// What `perplexity` is told.
#[derive(clap::Args)]
#[command(mut_arg("context", |arg| arg.help("Tokens of a window [default: 512]")))]
pub struct PerplexityArgs {
    /// The text, cut into windows as long as the context, of each of which the second half is
    /// scored
    #[arg(value_name = "TEXT")]
    text: PathBuf,
    #[command(flatten)]
    source: Source,
    /// Use only so many windows, from the beginning
    #[arg(long, value_name = "COUNT")]
    windows: Option<usize>,
    #[command(flatten)]
    session: SessionArgs,
    #[command(flatten)]
    compute: ComputeArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The context unless stated: what perplexities are usually quoted for.
const CONTEXT: usize = 512;

/// Scores the text.
pub fn run(args: PerplexityArgs) -> Outcome {
    let bytes = fs::read(&args.text).map_err(|error| Failure::file(&args.text, error))?;
    let interrupt = Interrupt::install()?;
    let model = args.source.model(args.compute.options()?)?;
    let options = EncodeOptions {
        add_special: true,
        parse_special: false,
    };
    let mut tokens: Vec<Token> = model.tokenizer().encode_bytes(&bytes, options)?;
    let context = args.session.context.unwrap_or(CONTEXT);
    let windows = (tokens.len() / context.max(1)).min(args.windows.unwrap_or(usize::MAX));
    tokens.truncate(windows.max(1).saturating_mul(context));

    let bar = screen::bar(windows as u64, "perplexity");
    let mut progress = |so_far: &yareta::Perplexity, left: usize| {
        bar.set_position((windows - left) as u64);
        bar.set_message(number(so_far.value()));
    };
    let start = Instant::now();
    let result = yareta::perplexity(
        &model,
        &tokens,
        &args.session.options().context(context),
        PerplexityOptions::new()
            .progress(&mut progress)
            .cancel(&interrupt.cancel),
    );
    bar.finish_and_clear();
    let result = result?;
    let seconds = start.elapsed().as_secs_f64();

    let (value, error) = (result.value(), result.value() * result.loss_error());
    let rate = (windows * context) as f64 / seconds;
    let mut out = io::stdout().lock();
    if args.json {
        let all = json!({
            "model": args.source.name(),
            "text": args.text.display().to_string(),
            "context": context,
            "windows": windows,
            "scored_tokens": result.tokens,
            "perplexity": value,
            "perplexity_error": error,
            "loss": result.loss(),
            "loss_error": result.loss_error(),
            "tokens_per_second": rate,
        });
        writeln!(out, "{all}")?;
    } else {
        writeln!(
            out,
            "perplexity {value:.4} ± {error:.4} (loss {:.5} ± {:.5} per token), {} tokens scored \
             in {windows} windows of {context}, {} tokens/s",
            result.loss(),
            result.loss_error(),
            result.tokens,
            number(rate),
        )?;
    }
    Ok(out.flush()?)
}
