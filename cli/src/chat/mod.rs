//! `yareta chat`: a conversation in the terminal, or with whatever writes lines to the program.

mod command;
mod input;
mod talk;

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use yareta::Chat;
use yareta::template::ChatTemplate;

use crate::failure::{Failure, Outcome};
use crate::files;
use crate::generate::{Stop, note};
use crate::interrupt::Interrupt;
use crate::options::{ComputeArgs, SamplingArgs, SessionArgs, parse_limit};
use crate::source::Source;
use crate::text::Plain;
use command::{Command, HELP};
use input::{Input, Line};
use talk::{Conversation, Stories, Talk, Turn};

/// What `chat` is told.
#[derive(clap::Args)]
pub struct ChatArgs {
    /// Say this, print the answer, and leave
    #[arg(value_name = "MESSAGE")]
    message: Option<String>,
    #[command(flatten)]
    source: Source,
    /// Instructions to the model
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Use the chat template in a file instead of the model's
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// The most tokens of an answer; -1 for as many as fit the context [default: -1; 256 for
    /// stories]
    #[arg(
        short = 'n',
        long,
        value_name = "TOKENS",
        allow_negative_numbers = true,
        value_parser = parse_limit
    )]
    max_tokens: Option<usize>,
    #[command(flatten)]
    session: SessionArgs,
    #[command(flatten)]
    compute: ComputeArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Print figures after each answer
    #[arg(long)]
    figures: bool,
}

/// The most tokens of a story unless stated.
const STORY_TOKENS: usize = 256;

/// Talks until there is nothing more to read.
pub fn run(args: ChatArgs) -> Outcome {
    let (mut sampler, _) = args.sampling.sampler()?;
    let interrupt = Interrupt::install()?;
    let mut talk = args.talk()?;
    if let Some(message) = &args.message {
        return interrupt.during(|cancel| {
            let turn = Turn {
                sampler: &mut sampler,
                cancel,
                figures: args.figures,
            };
            match talk.say(message, turn)? {
                Stop::Interrupted => Err(Failure::Interrupted),
                _ => Ok(()),
            }
        });
    }
    let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let mut input = Input::new(terminal);
    let mut figures = args.figures;
    if terminal {
        note(&talk.greeting(&args.source.name()));
    }
    // Ctrl-C ends the program only where it does not end an answer.
    interrupt.during(|_| ());
    loop {
        let line = match input.read()? {
            Line::Text(line) => line,
            Line::Interrupted => {
                note("(Ctrl-D or /quit leaves)");
                continue;
            }
            Line::End => return Ok(()),
        };
        let line = line.trim();
        let done = match Command::parse(line) {
            Ok(None) if line.is_empty() => Ok(()),
            Ok(None) => interrupt.during(|cancel| {
                let turn = Turn {
                    sampler: &mut sampler,
                    cancel,
                    figures,
                };
                talk.say(line, turn).map(|_| ())
            }),
            Ok(Some(Command::Help)) => {
                note(HELP);
                Ok(())
            }
            Ok(Some(Command::Quit)) => return Ok(()),
            Ok(Some(Command::Figures(choice))) => {
                figures = choice.unwrap_or(!figures);
                note(if figures { "figures on" } else { "figures off" });
                Ok(())
            }
            Ok(Some(Command::Reset)) => talk.reset(),
            Ok(Some(Command::System(text))) => talk.system(&text),
            Ok(Some(Command::Save(path))) => talk.save(&path),
            Ok(Some(Command::Load(path))) => interrupt.during(|cancel| {
                let turn = Turn {
                    sampler: &mut sampler,
                    cancel,
                    figures,
                };
                talk.load(&path, turn)
            }),
            Err(reason) => Err(Failure::Error(reason)),
        };
        match done {
            // A person reads what is wrong and goes on; a script has to be told by the exit code.
            Err(Failure::Error(reason) | Failure::Usage(reason)) if terminal => {
                note(&Plain(&reason).to_string());
            }
            other => other?,
        }
    }
}

impl ChatArgs {
    /// A conversation by the model's template, or stories where it has none.
    fn talk(&self) -> Outcome<Box<dyn Talk>> {
        let model = self.source.model(self.compute.options()?)?;
        let template = match &self.template {
            Some(path) => {
                let source = files::read_text(path)?;
                Some(ChatTemplate::new(path.display().to_string(), source)?)
            }
            None => ChatTemplate::from_gguf(model.gguf())?,
        };
        let session = self.session.session(&model)?;
        let Some(template) = template else {
            if self.system.is_some() {
                let reason = "the model has no chat template, so it takes no --system";
                return Err(Failure::Usage(reason.into()));
            }
            let limit = self.max_tokens.unwrap_or(STORY_TOKENS);
            return Ok(Box::new(Stories::new(session, limit)));
        };
        let mut chat = Chat::with_template(session, template);
        if let Some(text) = &self.system {
            chat.system(text.as_str());
        }
        let limit = self.max_tokens.unwrap_or(usize::MAX);
        Ok(Box::new(Conversation::new(chat, limit)))
    }
}
