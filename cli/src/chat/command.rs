//! Lines that are for the program and not for the model: those that begin with a slash.

use std::path::PathBuf;

/// What such a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// List the commands.
    Help,
    /// Forget the conversation.
    Reset,
    /// Set the instructions to the model; none if empty.
    System(String),
    /// Write the conversation to a file.
    Save(PathBuf),
    /// Go on from a file.
    Load(PathBuf),
    /// Print figures or not; the other way than now if not said.
    Figures(Option<bool>),
    /// Leave.
    Quit,
}

/// The commands, for people.
pub const HELP: &str = "\
/help            this list
/reset           forget the conversation, keep the instructions
/system TEXT     give the model instructions; without TEXT, take them away
/save FILE       write the conversation to a file
/load FILE       go on from a file
/figures on|off  print speed after each answer, or do not
/quit            leave, as Ctrl-D does
Ctrl-C stops an answer. A line that ends in \\ goes on in the next. Tab completes commands and files.";

/// Their names.
pub const NAMES: [&str; 7] = [
    "/help", "/reset", "/system", "/save", "/load", "/figures", "/quit",
];

/// Whether a file is what comes after the command of this name.
pub fn takes_file(name: &str) -> bool {
    matches!(name, "/save" | "/load")
}

impl Command {
    /// The command of a line; `None` if it is for the model.
    ///
    /// # Errors
    /// A sentence if it is no command that there is.
    pub fn parse(line: &str) -> Result<Option<Command>, String> {
        if !line.starts_with('/') {
            return Ok(None);
        }
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let path = || match rest {
            "" => Err(format!("{name} needs a file")),
            path => Ok(PathBuf::from(path)),
        };
        let command = match name {
            "/help" | "/?" => Command::Help,
            "/reset" => Command::Reset,
            "/system" => Command::System(rest.to_owned()),
            "/save" => Command::Save(path()?),
            "/load" => Command::Load(path()?),
            "/figures" => Command::Figures(match rest {
                "" => None,
                "on" => Some(true),
                "off" => Some(false),
                _ => return Err("/figures is on or off".into()),
            }),
            "/quit" | "/exit" => Command::Quit,
            _ => {
                return Err(format!(
                    "there is no command {name}; /help lists those there are"
                ));
            }
        };
        Ok(Some(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_lines_for_the_model() {
        let parse = |line: &str| Command::parse(line).unwrap();
        assert_eq!(parse("Hello /help"), None);
        assert_eq!(parse(""), None);
        assert_eq!(parse("/help"), Some(Command::Help));
        assert_eq!(
            parse("/system  Be brief. "),
            Some(Command::System("Be brief.".into()))
        );
        assert_eq!(parse("/system"), Some(Command::System(String::new())));
        assert_eq!(
            parse("/save my file.json"),
            Some(Command::Save("my file.json".into()))
        );
        assert_eq!(parse("/figures on"), Some(Command::Figures(Some(true))));
        assert_eq!(parse("/figures"), Some(Command::Figures(None)));
        assert_eq!(parse("/quit"), Some(Command::Quit));
        for line in ["/save", "/load ", "/figures maybe", "/dance", "/"] {
            assert!(Command::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn help_lists_every_command() {
        for name in NAMES {
            assert!(HELP.contains(name), "{name}");
            let line = format!("{name} {}", if takes_file(name) { "a" } else { "" });
            assert!(Command::parse(&line).unwrap().is_some(), "{name}");
        }
    }
}
