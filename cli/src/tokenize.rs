//! `yareta tokenize`: the tokens of a text.

use std::io::{self, BufWriter, IsTerminal, Read, Write};

use serde_json::json;
use yareta::{EncodeOptions, Token};

use crate::failure::{Failure, Outcome};
use crate::source::Source;
use crate::text::{Side, Table};

/// What `tokenize` is told.
#[derive(clap::Args)]
pub struct TokenizeArgs {
    /// The text; standard input where it is left out and that is no terminal
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    #[command(flatten)]
    source: Source,
    /// Print the numbers of the tokens only, on one line
    #[arg(long)]
    ids: bool,
    /// Leave out the tokens that the model wants before and after a text
    #[arg(long)]
    no_special: bool,
    /// Take control tokens that are written in the text, such as <|im_end|>, as such
    #[arg(long)]
    parse_special: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "ids")]
    json: bool,
}

/// Shows the tokens.
pub fn run(args: TokenizeArgs) -> Outcome {
    let text = match args.text {
        Some(text) => text.into_bytes(),
        None if io::stdin().is_terminal() => {
            let reason = "give a text, such as: yareta tokenize \"Once upon a time\"";
            return Err(Failure::Usage(reason.into()));
        }
        None => {
            let mut text = Vec::new();
            io::stdin()
                .lock()
                .read_to_end(&mut text)
                .map_err(|error| Failure::Error(format!("cannot read the input: {error}")))?;
            text
        }
    };
    let tokenizer = args.source.tokenizer()?;
    let options = EncodeOptions {
        add_special: !args.no_special,
        parse_special: args.parse_special,
    };
    let tokens = tokenizer.encode_bytes(&text, options)?;

    let mut out = BufWriter::new(io::stdout().lock());
    if args.ids {
        let ids: Vec<String> = tokens.iter().map(Token::to_string).collect();
        writeln!(out, "{}", ids.join(" "))?;
    } else if args.json {
        let pieces = tokens
            .iter()
            .map(|&token| {
                let bytes = tokenizer.token_bytes(token)?;
                // A piece of a character has no text; its bytes tell.
                let piece = String::from_utf8(bytes.clone()).ok();
                Ok(json!({"id": token, "piece": piece, "bytes": bytes}))
            })
            .collect::<yareta::Result<Vec<_>>>()?;
        let all = json!({"count": tokens.len(), "tokens": pieces});
        serde_json::to_writer(&mut out, &all).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        let mut table = Table::new(&[Side::Right, Side::Left]);
        for &token in &tokens {
            let bytes = tokenizer.token_bytes(token)?;
            table.row([token.to_string(), quoted(&bytes)]);
        }
        table.write(&mut out, 0)?;
    }
    Ok(out.flush()?)
}

/// A piece between quotes, with escapes for what has no sign and for bytes that are no text.
fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        text.extend(chunk.valid().chars().flat_map(char::escape_debug));
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn pieces_are_quoted_byte_for_byte() {
        assert_eq!(quoted(b" a\n"), "\" a\\n\"");
        assert_eq!(quoted("é\"".as_bytes()), "\"é\\\"\"");
        assert_eq!(quoted(b"a\xf0\x9fb"), "\"a\\xf0\\x9fb\"");
        assert_eq!(quoted(b"\x1b"), "\"\\u{1b}\"");
    }
}
