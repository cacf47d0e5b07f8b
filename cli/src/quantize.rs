//! `yareta quantize`: a model with its weights in another format.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use yareta::gguf::TensorType;
use yareta::{Format, Gguf, QuantizeOptions, Threads};

use crate::failure::{Failure, Outcome};
use crate::generate::note;
use crate::interrupt::Interrupt;
use crate::screen;
use crate::text::bytes;

/// What `quantize` is told.
#[derive(clap::Args)]
pub struct QuantizeArgs {
    /// The model to read
    #[arg(value_name = "IN.gguf")]
    input: PathBuf,
    /// The file to write
    #[arg(value_name = "OUT.gguf")]
    output: PathBuf,
    /// The format of the matrices, such as Q4_0 or Q6_K
    #[arg(value_name = "TYPE", value_parser = parse_format)]
    format: Format,
    /// Another format for the embeddings, which are the output matrix too in many small models
    #[arg(long, value_name = "TYPE", value_parser = parse_format)]
    embedding: Option<Format>,
    /// Another format for the output matrix
    #[arg(long, value_name = "TYPE", value_parser = parse_format)]
    output_matrix: Option<Format>,
    /// Threads to compute with [default: one for each physical performance core]
    #[arg(short, long, value_name = "COUNT")]
    threads: Option<usize>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

fn parse_format(name: &str) -> Result<Format, String> {
    let found = TensorType::from_name(name).and_then(TensorType::format);
    found.ok_or_else(|| {
        let names: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
        format!("one of {}", names.join(" "))
    })
}

/// Writes the file. Until it is complete it has another name, so that no half a model is taken
/// for a whole one.
pub fn run(args: QuantizeArgs) -> Outcome {
    let (input, output) = (&args.input, &args.output);
    if output.exists() && !args.force {
        let reason = "already exists; --force replaces it";
        return Err(Failure::file(output, reason));
    }
    let gguf = crate::source::open(input)?;
    let mut name = output.clone().into_os_string();
    name.push(".part");
    let part = PathBuf::from(name);
    let written = write(&args, &gguf, &part)
        .and_then(|()| fs::rename(&part, output).map_err(|error| Failure::file(output, error)));
    if written.is_err() {
        // What the failure is about matters more than a file that cannot be removed.
        let _ = fs::remove_file(&part);
    }
    written?;
    let length = fs::metadata(output).map_or(0, |metadata| metadata.len());
    note(&format!(
        "{}: {}, from {}",
        output.display(),
        bytes(length),
        bytes(gguf.file_len()),
    ));
    Ok(())
}

fn write(args: &QuantizeArgs, gguf: &Gguf, path: &Path) -> Outcome {
    let fail = |error| Failure::file(path, error);
    let bar = screen::bar(gguf.tensors().len() as u64, "quantize");
    let mut progress = |done: usize, _| bar.set_position(done as u64);
    let interrupt = Interrupt::install()?;
    let mut options = QuantizeOptions::new(args.format)
        .progress(&mut progress)
        .cancel(&interrupt.cancel);
    if let Some(format) = args.embedding {
        options = options.embedding(format);
    }
    if let Some(format) = args.output_matrix {
        options = options.output(format);
    }
    if let Some(count) = args.threads {
        options = options.threads(Threads::new(count)?);
    }
    let file = BufWriter::new(File::create(path).map_err(fail)?);
    let written = yareta::quantize(gguf, options, file);
    bar.finish_and_clear();
    let mut file = written.map_err(|error| match error {
        yareta::Error::Write { source } => fail(source),
        other => Failure::from(other).about(&args.input),
    })?;
    file.flush().map_err(fail)
}
