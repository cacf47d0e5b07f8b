//! Where a model comes from: a file that the user names, or the one inside the program.

use std::path::{Path, PathBuf};

use yareta::{Gguf, Model, ModelOptions, Tokenizer};

use crate::failure::{Failure, Outcome};
use crate::generate::note;
use crate::text::Plain;

/// A small model that writes stories, so that the program does something without any download.
/// Its card is `models/README.md`.
static EMBEDDED: &[u8] = include_bytes!("../../models/yareta-stories.gguf");

/// What to call it.
const EMBEDDED_NAME: &str = "yareta-stories (embedded)";

/// The model to work on.
#[derive(clap::Args, Clone, Debug)]
pub struct Source {
    /// GGUF file of the model; of a split model, its first part [default: a small model that is
    /// part of the program and writes stories]
    #[arg(short, long, value_name = "FILE")]
    pub model: Option<PathBuf>,
}

impl Source {
    /// What to call it.
    pub fn name(&self) -> String {
        match &self.model {
            Some(path) => path.display().to_string(),
            None => EMBEDDED_NAME.into(),
        }
    }

    /// Opens the file.
    pub fn open(&self) -> Outcome<Gguf> {
        match &self.model {
            Some(path) => open(path),
            None => Ok(Gguf::from_static(EMBEDDED)?),
        }
    }

    /// Opens the file and makes a model of it. What is doubtful about it is told.
    pub fn model(&self, options: ModelOptions<'_>) -> Outcome<Model> {
        let gguf = self.open()?;
        let opened = Model::from_gguf_with(gguf, options);
        let model = opened.map_err(|error| self.about(error))?;
        warn(model.tokenizer());
        Ok(model)
    }

    /// The tokenizer in the file, which need not have a model that can be run.
    pub fn tokenizer(&self) -> Outcome<Tokenizer> {
        let opened = Tokenizer::from_gguf(&self.open()?);
        let tokenizer = opened.map_err(|error| self.about(error))?;
        warn(&tokenizer);
        Ok(tokenizer)
    }

    /// A failure that names the file.
    fn about(&self, error: yareta::Error) -> Failure {
        match &self.model {
            Some(path) => Failure::from(error).about(path),
            None => error.into(),
        }
    }
}

/// Tells what may make tokens other than those that the model was trained on.
fn warn(tokenizer: &Tokenizer) {
    for warning in tokenizer.warnings() {
        note(&format!("yareta: {}", Plain(warning)));
    }
}

/// Opens a file; whatever is wrong with it, the failure names it.
pub fn open(path: &Path) -> Outcome<Gguf> {
    Gguf::open(path).map_err(|error| match error {
        // Names the file itself, which may be another part of the same model.
        yareta::Error::Io { .. } => Failure::from(error),
        other => Failure::from(other).about(path),
    })
}
