//! How a command ends when it does not end well, as one sentence and an exit code.

use std::fmt::Display;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use crate::text::Plain;

/// What every command returns.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// The command line asks for what cannot be.
    Usage(String),
    /// Something went wrong.
    Error(String),
    /// The user pressed Ctrl-C.
    Interrupted,
    /// Whoever read the output has stopped reading, such as `head`: nobody is left to tell.
    Closed,
}

impl Failure {
    /// The same, saying which file it is about.
    pub fn about(self, path: &Path) -> Failure {
        match self {
            Failure::Error(reason) => Failure::Error(format!("{}: {reason}", path.display())),
            other => other,
        }
    }

    /// What the system said about a file.
    pub fn file(path: &Path, error: impl Display) -> Failure {
        Failure::Error(format!("{}: {error}", path.display()))
    }

    /// Tells the user and gives the exit code.
    pub fn report(self) -> ExitCode {
        let (reason, code) = match self {
            Failure::Usage(reason) => (reason, 2),
            Failure::Error(reason) => (reason, 1),
            Failure::Interrupted => return ExitCode::from(130),
            Failure::Closed => return ExitCode::SUCCESS,
        };
        // Reasons quote files, whose texts are anything. Nothing can be done where standard error
        // cannot be written.
        use io::Write;
        let _ = writeln!(io::stderr(), "yareta: {}", Plain(without_code(&reason)));
        ExitCode::from(code)
    }
}

impl From<yareta::Error> for Failure {
    fn from(error: yareta::Error) -> Failure {
        match error {
            yareta::Error::Cancelled => Failure::Interrupted,
            yareta::Error::InvalidOption { option, reason } => {
                Failure::Usage(format!("{}: {reason}", flag(option)))
            }
            yareta::Error::ContextFull { .. } => {
                Failure::Error(format!("{error}; --context sets how many do"))
            }
            yareta::Error::Write { source } => source.into(),
            other => Failure::Error(other.to_string()),
        }
    }
}

/// What an option of the library is called on the command line.
fn flag(option: &str) -> String {
    match option {
        "temperature" => "--temp".into(),
        "repetition_penalty" => "--repeat-penalty".into(),
        other => format!("--{}", other.replace('_', "-")),
    }
}

/// A reason without the number that the system has for it and people do not.
fn without_code(reason: &str) -> &str {
    match reason.rsplit_once(" (os error ") {
        Some((words, number)) if number.ends_with(')') => words,
        _ => reason,
    }
}

/// Errors of the standard output, the only place that is written without a name.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Error(format!("cannot write the output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_named_as_they_are_typed() {
        let option = |option, reason: &str| yareta::Error::InvalidOption {
            option,
            reason: reason.into(),
        };
        for (error, expected) in [
            (option("temperature", "too hot"), "--temp: too hot"),
            (option("top_p", "too much"), "--top-p: too much"),
            (option("repetition_penalty", "no"), "--repeat-penalty: no"),
        ] {
            let Failure::Usage(sentence) = Failure::from(error) else {
                panic!("{expected}");
            };
            assert_eq!(sentence, expected);
        }
    }

    #[test]
    fn numbers_of_errors_are_not_for_people() {
        let error = io::Error::from_raw_os_error(2).to_string();
        assert!(error.ends_with("(os error 2)"), "{error}");
        assert!(!without_code(&error).contains("os error"), "{error}");
        assert_eq!(without_code("a (b)"), "a (b)");
    }
}
