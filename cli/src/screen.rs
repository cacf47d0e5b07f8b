//! Where generated text goes, and bars that show how far long work is.

use std::cell::OnceCell;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Prompts of more tokens than this are shown a bar.
const LONG_PROMPT: usize = 256;

/// Text that comes in pieces, each shown at once. A model says anything, so what a terminal would
/// obey is left out where the output is one.
pub struct Stream<W = io::Stdout> {
    out: W,
    terminal: bool,
    at_line_start: bool,
    /// Whether the last piece was an aside.
    aside: bool,
}

impl Stream {
    /// The standard output.
    pub fn stdout() -> Stream {
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
            aside: false,
        }
    }

    /// Shows a piece.
    pub fn write(&mut self, piece: &str) -> io::Result<()> {
        if std::mem::take(&mut self.aside) {
            self.end_line()?;
        }
        self.show(piece)
    }

    /// Shows a piece that does not belong to the text, such as the reasoning before an answer:
    /// dimmed on a terminal, and nowhere else.
    pub fn aside(&mut self, piece: &str) -> io::Result<()> {
        if !self.terminal || piece.is_empty() {
            return Ok(());
        }
        self.aside = true;
        self.out.write_all(b"\x1b[2m")?;
        self.show(piece)?;
        self.out.write_all(b"\x1b[0m")?;
        self.out.flush()
    }

    /// Ends the line if there is one.
    pub fn end_line(&mut self) -> io::Result<()> {
        match self.at_line_start {
            true => Ok(()),
            false => self.show("\n"),
        }
    }

    fn show(&mut self, piece: &str) -> io::Result<()> {
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
}

/// A bar that shows how far a prompt is, if it is a long one.
pub struct PromptBar(OnceCell<ProgressBar>);

impl PromptBar {
    /// No bar yet.
    pub fn new() -> PromptBar {
        PromptBar(OnceCell::new())
    }

    /// Shows that `done` of `total` tokens are processed.
    pub fn show(&self, done: usize, total: usize) {
        if total > LONG_PROMPT && done < total {
            let bar = self.0.get_or_init(|| bar(total as u64, "prompt"));
            bar.set_position(done as u64);
        }
    }

    /// Takes it away, so that other text can come.
    pub fn clear(&self) {
        if let Some(bar) = self.0.get() {
            bar.finish_and_clear();
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

    #[test]
    fn asides_are_for_terminals_and_on_lines_of_their_own() {
        for (terminal, expected) in [(true, "\u{1b}[2mhm\u{1b}[0m\nyes\n"), (false, "yes\n")] {
            let mut stream = Stream::new(terminal, Vec::new());
            stream.aside("hm").unwrap();
            stream.write("yes").unwrap();
            stream.end_line().unwrap();
            assert_eq!(String::from_utf8(stream.out).unwrap(), expected);
        }
    }
}
