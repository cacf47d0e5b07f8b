//! The two ways to talk: a conversation by a chat template, and stories by a model without one.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use yareta::template::{Message, Piece, Role, Timestamp};
use yareta::{CancelToken, Chat, FeedOptions, Sampler, Session};

use crate::failure::{Failure, Outcome};
use crate::files::read_text;
use crate::generate::{Figures, Generator, Stop, note};
use crate::screen::{PromptBar, Stream};

/// What is needed to answer.
pub struct Turn<'a> {
    /// Chooses tokens.
    pub sampler: &'a mut Sampler,
    /// Stops the answer.
    pub cancel: &'a CancelToken,
    /// Whether to print figures after it.
    pub figures: bool,
}

/// Something to talk with.
pub trait Talk {
    /// What to tell a person at the beginning.
    fn greeting(&self, model: &str) -> String;
    /// Answers a line, and tells why the answer ended.
    fn say(&mut self, line: &str, turn: Turn<'_>) -> Outcome<Stop>;
    /// Forgets what was said.
    fn reset(&mut self) -> Outcome;
    /// Sets the instructions to the model.
    fn system(&mut self, text: &str) -> Outcome;
    /// Writes what was said to a file.
    fn save(&mut self, path: &Path) -> Outcome;
    /// Goes on from a file.
    fn load(&mut self, path: &Path, turn: Turn<'_>) -> Outcome;
}

/// The present by the clock and in the time zone of the machine, as templates print it.
fn local_time() -> Timestamp {
    let now = jiff::Timestamp::now();
    let offset = jiff::tz::TimeZone::system().to_offset(now);
    Timestamp::from_unix(now.as_second() + i64::from(offset.seconds()))
}

/// A conversation by the model's chat template.
pub struct Conversation {
    chat: Chat,
    limit: usize,
}

impl Conversation {
    /// Talks in `chat`, in answers of at most `limit` tokens.
    pub fn new(mut chat: Chat, limit: usize) -> Conversation {
        chat.max_tokens(limit);
        Conversation { chat, limit }
    }

    /// Answers; the failure where the context ends says how much was said.
    fn answer(&mut self, line: &str, turn: Turn<'_>, stream: &mut Stream) -> Outcome<Figures> {
        self.chat.options_mut().now = Some(local_time());
        let mut figures = Figures {
            prompt: 0,
            prompt_time: Duration::ZERO,
            generated: 0,
            generation_time: Duration::ZERO,
            stop: Stop::End,
        };
        let start = Instant::now();
        let bar = PromptBar::new();
        let mut progress = |done: usize, total: usize| {
            figures.prompt = total;
            bar.show(done, total);
        };
        let options = FeedOptions::new()
            .cancel(turn.cancel)
            .progress(&mut progress);
        let reply = self.chat.send_with(line, turn.sampler, options);
        bar.clear();
        let mut reply = match reply {
            Err(yareta::Error::Cancelled) => {
                figures.stop = Stop::Interrupted;
                return Ok(figures);
            }
            other => other?,
        };
        figures.prompt_time = start.elapsed();

        let start = Instant::now();
        for piece in reply.by_ref() {
            match piece? {
                Piece::Reasoning(text) => stream.aside(&text)?,
                other => stream.write(other.text())?,
            }
            if turn.cancel.is_cancelled() {
                figures.stop = Stop::Interrupted;
                break;
            }
        }
        figures.generated = reply.generated();
        if figures.stop == Stop::End && figures.generated >= self.limit {
            figures.stop = Stop::Length;
        }
        figures.generation_time = start.elapsed();
        Ok(figures)
    }
}

impl Talk for Conversation {
    fn greeting(&self, model: &str) -> String {
        format!("Chatting with {model}. /help lists commands, Ctrl-D leaves.")
    }

    fn say(&mut self, line: &str, turn: Turn<'_>) -> Outcome<Stop> {
        let mut stream = Stream::stdout();
        let show_figures = turn.figures;
        let answered = self.answer(line, turn, &mut stream);
        stream.end_line()?;
        let figures = answered.map_err(|failure| match failure {
            Failure::Error(reason) if reason.contains("do not fit a context") => {
                Failure::Error(format!("{reason}, /reset begins a new conversation"))
            }
            other => other,
        })?;
        finish(&figures, show_figures);
        Ok(figures.stop)
    }

    fn reset(&mut self) -> Outcome {
        self.chat.reset();
        note("a new conversation");
        Ok(())
    }

    fn system(&mut self, text: &str) -> Outcome {
        if text.is_empty() {
            let messages = self.chat.messages().iter();
            let others = messages.filter(|message| message.role != Role::System);
            let others = others.cloned().collect();
            self.chat.set_messages(others);
            note("no instructions from now on");
        } else {
            self.chat.system(text);
            note("these instructions hold from now on");
        }
        Ok(())
    }

    fn save(&mut self, path: &Path) -> Outcome {
        // What else a file of that name has in it is not to be lost by a slip of the fingers.
        if path.exists() && read_messages(path).is_err() {
            let reason = "exists and is no saved conversation";
            return Err(Failure::file(path, reason));
        }
        let messages: Vec<Value> = self.chat.messages().iter().map(Message::to_json).collect();
        let count = messages.len();
        let text = format!("{:#}\n", json!({"messages": messages}));
        fs::write(path, text).map_err(|error| Failure::file(path, error))?;
        note(&format!("{}: {count} messages", path.display()));
        Ok(())
    }

    fn load(&mut self, path: &Path, _: Turn<'_>) -> Outcome {
        let messages = read_messages(path)?;
        note(&format!("{}: {} messages", path.display(), messages.len()));
        self.chat.set_messages(messages);
        Ok(())
    }
}

/// The messages that `save` wrote.
fn read_messages(path: &Path) -> Outcome<Vec<Message>> {
    let invalid = |reason: String| Failure::file(path, format!("no saved conversation: {reason}"));
    let value: Value =
        serde_json::from_str(&read_text(path)?).map_err(|error| invalid(error.to_string()))?;
    let Some(messages) = value["messages"].as_array() else {
        return Err(invalid("there are no `messages`".into()));
    };
    let messages = messages.iter().map(Message::from_json);
    messages
        .collect::<yareta::Result<_>>()
        .map_err(|error| invalid(error.to_string()))
}

/// What a model without a chat template does: each line is the beginning of a story.
pub struct Stories {
    session: Session,
    limit: usize,
    /// What was written.
    told: String,
}

impl Stories {
    /// Stories of at most `limit` tokens.
    pub fn new(session: Session, limit: usize) -> Stories {
        Stories {
            session,
            limit,
            told: String::new(),
        }
    }
}

impl Talk for Stories {
    fn greeting(&self, model: &str) -> String {
        format!(
            "{model} has no chat template: it answers no questions, but goes on from each line as \
             the beginning of a story.\nTry: Once upon a time. /help lists commands, Ctrl-D leaves."
        )
    }

    fn say(&mut self, line: &str, turn: Turn<'_>) -> Outcome<Stop> {
        let tokenizer = self.session.model().tokenizer().clone();
        let prompt = tokenizer.encode(line)?;
        self.session.truncate(0);
        // Penalties for the words of one story are not meant for the next.
        let draws = turn.sampler.state();
        turn.sampler.reset();
        turn.sampler.restore_state(draws);
        let generator = Generator {
            session: &mut self.session,
            tokenizer: &tokenizer,
            sampler: turn.sampler,
            cancel: turn.cancel,
            limit: self.limit,
        };
        let mut stream = Stream::stdout();
        let mut story = line.to_owned();
        let mut echo = Some(line);
        let figures = generator.run(&prompt, |piece| {
            if let Some(line) = echo.take() {
                stream.write(line)?;
            }
            story.push_str(piece);
            Ok(stream.write(piece)?)
        })?;
        stream.end_line()?;
        self.told.push_str(story.trim_end());
        self.told.push_str("\n\n");
        finish(&figures, turn.figures);
        Ok(figures.stop)
    }

    fn reset(&mut self) -> Outcome {
        self.told.clear();
        note("each line begins a new story anyway; those for /save are forgotten");
        Ok(())
    }

    fn system(&mut self, _: &str) -> Outcome {
        note("this model has no chat template and takes no instructions");
        Ok(())
    }

    fn save(&mut self, path: &Path) -> Outcome {
        if path.exists() {
            return Err(Failure::file(path, "already exists"));
        }
        fs::write(path, &self.told).map_err(|error| Failure::file(path, error))?;
        note(&format!("{}: the stories so far", path.display()));
        Ok(())
    }

    fn load(&mut self, path: &Path, turn: Turn<'_>) -> Outcome {
        let text = read_text(path)?;
        self.say(text.trim_end(), turn).map(|_| ())
    }
}

/// What comes after an answer.
fn finish(figures: &Figures, show: bool) {
    match figures.stop {
        Stop::Interrupted => note("[stopped]"),
        Stop::Context => note("[the context is full: -c gives more]"),
        Stop::Length => note("[stopped at the limit of tokens: -n gives more]"),
        Stop::End => {}
    }
    if show {
        note(&format!("[{}]", figures.sentence()));
    }
}
