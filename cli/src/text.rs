//! Text for people: numbers with units, tables, and strangers' texts made harmless.

use std::fmt;
use std::io::{self, Write};

/// A text of unknown origin, shown on one line and without what a terminal would obey.
pub struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character.is_control() || is_invisible(character) {
                true => write!(f, "{}", character.escape_unicode())?,
                false => write!(f, "{character}")?,
            }
        }
        Ok(())
    }
}

/// Characters that reorder or hide others.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A number of bytes with a unit of powers of a thousand, in three or four digits.
pub fn bytes(count: u64) -> String {
    scaled(count as f64, "B")
}

/// A number of things in three or four digits: `7.24 G`, `512`.
pub fn count(count: u64) -> String {
    scaled(count as f64, "")
}

fn scaled(value: f64, unit: &str) -> String {
    const PREFIXES: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    let mut value = value;
    let mut prefix = 0;
    while value >= 999.5 && prefix + 1 < PREFIXES.len() {
        value /= 1000.0;
        prefix += 1;
    }
    let digits = match prefix {
        0 => 0,
        _ => three_digits(value),
    };
    let text = format!("{value:.digits$} {}{unit}", PREFIXES[prefix]);
    text.trim_end().to_owned()
}

/// A number in three digits: `1234`, `123`, `12.3`, `1.23`, `0.12`.
pub fn number(value: f64) -> String {
    format!("{value:.*}", three_digits(value))
}

fn three_digits(value: f64) -> usize {
    match value.abs() {
        99.95.. => 0,
        9.995.. => 1,
        _ => 2,
    }
}

/// At most `limit` characters of `text`, with a mark where some are left out.
pub fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
            format!("{kept}…")
        }
    }
}

/// Which side of its column a cell is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells that are as wide as the widest of their column.
pub struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(sides: &[Side]) -> Table {
        Table {
            sides: sides.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row at the bottom.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Writes the rows, each after `indent` spaces.
    pub fn write(&self, out: &mut impl Write, indent: usize) -> io::Result<()> {
        /// A cell that is wider, which only a strange file has, moves the rest of its row.
        const WIDEST: usize = 64;
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widths = cells.map(|cell| cell.chars().count());
            widths.filter(|width| *width <= WIDEST).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.sides.len()).map(width).collect();
        for row in &self.rows {
            let mut line = " ".repeat(indent);
            for ((cell, side), width) in row.iter().zip(&self.sides).zip(&widths) {
                let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
                match side {
                    Side::Left => line.extend([cell, padding.as_str(), "  "]),
                    Side::Right => line.extend([padding.as_str(), cell, "  "]),
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1000), "1.00 kB");
        assert_eq!(bytes(999_999), "1.00 MB");
        assert_eq!(bytes(16_880_800), "16.9 MB");
        assert_eq!(bytes(3_825_000_000), "3.83 GB");
        assert_eq!(bytes(u64::MAX), "18447 PB");
        assert_eq!(count(512), "512");
        assert_eq!(count(6_738_415_616), "6.74 G");
        assert_eq!(number(0.123), "0.12");
        assert_eq!(number(1234.5), "1234");
    }

    #[test]
    fn strangers_texts_cannot_direct_the_terminal() {
        assert_eq!(Plain("a\u{1b}[2Jb\n").to_string(), "a\\u{1b}[2Jb\\u{a}");
        assert_eq!(Plain("été 😀").to_string(), "été 😀");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(shortened("été", 3), "été");
        assert_eq!(shortened("étés", 3), "ét…");
        assert_eq!(shortened("", 0), "");
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&[Side::Left, Side::Right]);
        table.row(["a", "10"]);
        table.row(["ééé", "9"]);
        let mut out = Vec::new();
        table.write(&mut out, 1).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), " a    10\n ééé   9\n");

        table.row([&"b".repeat(100_000), "8"]);
        let mut out = Vec::new();
        table.write(&mut out, 0).unwrap();
        assert!(out.starts_with("a    10\nééé   9\nbbb".as_bytes()));
    }
}
