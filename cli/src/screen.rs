//! Where generated text goes, and bars that show how far long work is.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Text that comes in pieces, each shown at once. A model says anything, so what a terminal would
/// obey is left out where the output is one.
pub struct Stream<W> {
    out: W,
    terminal: bool,
    at_line_start: bool,
}

impl Stream<io::Stdout> {
    /// The standard output.
    pub fn stdout() -> Stream<io::Stdout> {
        let out = io::stdout();
        Stream::new(out.is_terminal(), out)
    }
}

impl<W: Write> Stream<W> {
    /// Writes to `out`, which may be a terminal.
    pub fn new(terminal: bool, out: W) -> Stream<W> {
        Stream {
            out,
            terminal,
            at_line_start: true,
        }
    }

    /// Shows a piece.
    pub fn write(&mut self, piece: &str) -> io::Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        match self.terminal {
            true => {
                let obeyed = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
                let shown: String = piece.chars().filter(obeyed).collect();
                self.out.write_all(shown.as_bytes())?;
            }
            false => self.out.write_all(piece.as_bytes())?,
        }
        self.at_line_start = piece.ends_with('\n');
        self.out.flush()
    }

    /// Ends the line if there is one.
    pub fn end_line(&mut self) -> io::Result<()> {
        match self.at_line_start {
            true => Ok(()),
            false => self.write("\n"),
        }
    }
}

/// A bar on standard error where that is a terminal, and nothing elsewhere.
pub fn bar(total: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{prefix} {bar:40} {pos}/{len} {msg} {eta}");
    match style {
        Ok(style) => bar.with_style(style).with_prefix(what),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_get_no_commands_and_pipes_get_everything() {
        let text = "a\u{1b}[2Jé\n\tb";
        for (terminal, expected) in [(true, "a[2Jé\n\tb\n"), (false, "a\u{1b}[2Jé\n\tb\n")] {
            let mut stream = Stream::new(terminal, Vec::new());
            stream.end_line().unwrap();
            stream.write(text).unwrap();
            stream.end_line().unwrap();
            stream.end_line().unwrap();
            assert_eq!(String::from_utf8(stream.out).unwrap(), expected);
        }
    }
}
