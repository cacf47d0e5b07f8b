//! Lines from a person, with editing, completion and a history that outlives the program, or from a
//! pipe.

use std::fs;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::command::{NAMES, takes_file};
use crate::failure::{Failure, Outcome};

/// The longest line in bytes: more than any context holds.
const LONGEST: u64 = 16 << 20;

/// What was read.
pub enum Line {
    /// A line, without its end.
    Text(String),
    /// Ctrl-C.
    Interrupted,
    /// There is nothing more.
    End,
}

/// Where lines come from.
pub enum Input {
    /// A person at a terminal.
    Editor {
        editor: Box<Editor<Assistant, FileHistory>>,
        /// The file of the history; `None` where there can be none.
        history: Option<PathBuf>,
    },
    /// Anything else.
    Plain,
}

impl Input {
    /// The standard input. What is wrong with the history or the editing is not worth a failure.
    pub fn new(terminal: bool) -> Input {
        if !terminal {
            return Input::Plain;
        }
        // As shells have it: what is common to all candidates, then a list of them.
        let list = Config::builder().completion_type(CompletionType::List);
        let Ok(mut editor) = Editor::with_config(list.build()) else {
            return Input::Plain;
        };
        editor.set_helper(Some(Assistant {
            files: FilenameCompleter::new(),
        }));
        let history = history_file();
        if let Some(path) = &history {
            let _ = editor.load_history(path); // there is none at first
        }
        let editor = Box::new(editor);
        Input::Editor { editor, history }
    }

    /// The next line.
    pub fn read(&mut self) -> Outcome<Line> {
        match self {
            Input::Editor { editor, history } => match editor.readline("> ") {
                Ok(line) => {
                    let added = editor.add_history_entry(&line).unwrap_or(false);
                    if let (true, Some(path)) = (added, history) {
                        let _ = editor.append_history(path); // as above
                    }
                    Ok(Line::Text(joined(&line)))
                }
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(error) => Err(unreadable(error)),
            },
            Input::Plain => {
                let mut line = String::new();
                let mut stdin = io::stdin().lock().take(LONGEST);
                match stdin.read_line(&mut line).map_err(unreadable)? {
                    0 => Ok(Line::End),
                    _ => Ok(Line::Text(line)),
                }
            }
        }
    }
}

/// Completes commands and their files, and lets a line go on in the next after a backslash.
pub struct Assistant {
    files: FilenameCompleter,
}

impl Helper for Assistant {}
impl Hinter for Assistant {
    type Hint = String;
}
impl Highlighter for Assistant {}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = line.get(..position).unwrap_or(line);
        match before.split_once(' ') {
            Some((name, _)) if takes_file(name) => self.files.complete_path(line, position),
            Some(_) => Ok((position, Vec::new())),
            None => Ok((0, commands(before))),
        }
    }
}

/// The commands that begin so.
fn commands(beginning: &str) -> Vec<Pair> {
    let names = NAMES.iter().filter(|name| name.starts_with(beginning));
    let pairs = names.map(|name| Pair {
        display: (*name).into(),
        replacement: format!("{name} "),
    });
    match beginning.starts_with('/') {
        true => pairs.collect(),
        false => Vec::new(),
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match context.input().ends_with('\\') {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}

/// Lines that were divided by a backslash and a line break, without the backslash.
fn joined(line: &str) -> String {
    line.replace("\\\n", "\n")
}

fn unreadable(error: impl std::fmt::Display) -> Failure {
    Failure::Error(format!("cannot read the input: {error}"))
}

/// Where the XDG base directories have the state of programs.
fn history_file() -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let variable = |name: &str| absolute(std::env::var_os(name)?.into());
    let state = variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
        .or_else(|| variable("LOCALAPPDATA"))?;
    let directory = state.join("yareta");
    fs::create_dir_all(&directory).ok()?;
    Some(directory.join("history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_completed() {
        let found = |beginning: &str| -> Vec<String> {
            commands(beginning)
                .into_iter()
                .map(|pair| pair.replacement)
                .collect()
        };
        assert_eq!(found("/s"), ["/system ", "/save "]);
        assert_eq!(found("/").len(), NAMES.len());
        assert_eq!(found(""), Vec::<String>::new());
        assert_eq!(found("s"), Vec::<String>::new());
    }

    #[test]
    fn a_backslash_joins_lines() {
        assert_eq!(joined("a\\\nb"), "a\nb");
        assert_eq!(joined("a\\b"), "a\\b");
    }
}
