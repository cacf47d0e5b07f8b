//! Lines from a person, with editing and a history that outlives the program, or from a pipe.

use std::fs;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

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
        editor: Box<DefaultEditor>,
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
        let Ok(mut editor) = DefaultEditor::new() else {
            return Input::Plain;
        };
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
                    Ok(Line::Text(line))
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
