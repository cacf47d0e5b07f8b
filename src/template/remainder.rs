//! The operator `%`, which in Python also formats text: `a % b` becomes `a|yareta_percent(b)`.
//!
//! A filter binds to the operand before it, tighter than any operator. Products are therefore put
//! in brackets first, powers too: `a * b % c` becomes `(a * b)|yareta_percent(c)`. The right operand goes up to
//! the next operator of the same or a weaker kind.

use super::rewrite::{Token, Tokens, raw_len};
use std::borrow::Cow;

/// Name of the filter that the engine must have in place of the operator.
pub(super) const PERCENT: &str = "yareta_percent";

/// The source with the operator replaced; everything else stays as it is.
pub(super) fn replace(source: &str) -> Cow<'_, str> {
    let mut edits: Vec<(usize, usize, String)> = Vec::new();
    let mut position = 0;
    while let Some(start) = source[position..].find('{') {
        let start = position + start;
        let rest = &source[start..];
        position = start
            + match rest.as_bytes().get(1) {
                Some(b'#') => rest.find("#}").map_or(rest.len(), |end| end + 2),
                Some(b'{') => expression(rest, start, "}}", &mut edits),
                Some(b'%') => expression(rest, start, "%}", &mut edits),
                _ => 1,
            };
    }
    if edits.is_empty() {
        return Cow::Borrowed(source);
    }
    // Of edits at one place, those found first come first.
    edits.sort_by_key(|edit| edit.0);
    let mut out = String::with_capacity(source.len() + edits.len() * 24);
    let mut copied = 0;
    for (from, to, text) in edits {
        out.push_str(&source[copied..from]);
        out.push_str(&text);
        copied = to;
    }
    out.push_str(&source[copied..]);
    Cow::Owned(out)
}

/// Operands and operators between one pair of brackets.
#[derive(Default)]
struct Level {
    // Where the product begins that is being read, and whether it has an operator.
    product: Option<usize>,
    multiplied: bool,
    // The right operand of a `%` is being read.
    open: bool,
}

/// Finds the operators of one tag or printed expression; its length, with the text of a `raw`
/// block.
fn expression(
    text: &str,
    start: usize,
    close: &'static str,
    edits: &mut Vec<(usize, usize, String)>,
) -> usize {
    let mut tokens = Tokens::new(text, 2, close);
    let mut levels = vec![Level::default()];
    let mut first = true;
    let mut raw = false;
    // The token before: its end, and whether an operand can end with it.
    let mut before = (start + 2, false);
    let mut after_is = false;
    let mut tokens_of = tokens.by_ref().peekable();
    while let Some(Token { text, offset, last }) = tokens_of.next() {
        let (from, to) = (start + offset, start + offset + text.len());
        if std::mem::take(&mut first) && close == "%}" {
            first = matches!(text, "-" | "+");
            raw |= text == "raw";
            // The tag's name is no operand.
            before = (to, false);
            continue;
        }
        if last && matches!(text, "-" | "+") {
            continue;
        }
        let level = match levels.last_mut() {
            Some(level) => level,
            None => break,
        };
        let (before_end, operand) = before;
        // `**` binds tighter than what is looked for
        let power = text == "*" && {
            let next = tokens_of.peek();
            let twice = next.is_some_and(|next| next.text == "*" && start + next.offset == to);
            if twice {
                tokens_of.next();
            }
            twice
        };
        let test = after_is;
        after_is = text == "is" || (test && text == "not");
        let ends_operand = match text {
            _ if power => {
                level.multiplied = true;
                false
            }
            "%" if operand => {
                let product = level.product.unwrap_or(before_end);
                if level.open {
                    edits.push((before_end, before_end, ")".to_owned()));
                }
                if level.multiplied {
                    edits.push((product, product, "(".to_owned()));
                    edits.push((before_end, before_end, ")".to_owned()));
                }
                edits.push((from, to, format!("|{PERCENT}(")));
                level.open = true;
                level.multiplied = true;
                before = (to, false);
                continue;
            }
            "*" | "/" if operand => {
                level.close(before_end, edits);
                level.multiplied = true;
                false
            }
            "/" => false, // the second of `//`
            "-" | "+" if !operand => {
                level.product.get_or_insert(from);
                false
            }
            "+" | "-" | "~" | "=" | "!" | "<" | ">" | "," | ":" => {
                level.finish(before_end, edits);
                false
            }
            "in" | "and" | "or" | "not" | "if" | "else" | "recursive" if !test => {
                level.finish(before_end, edits);
                false
            }
            "(" | "[" | "{" => {
                level.product.get_or_insert(from);
                levels.push(Level::default());
                false
            }
            ")" | "]" | "}" => {
                level.finish(before_end, edits);
                if levels.len() > 1 {
                    levels.pop();
                }
                true
            }
            "|" | "." | "is" => false,
            _ => {
                level.product.get_or_insert(from);
                true
            }
        };
        let end = if power { to + 1 } else { to };
        before = (end, ends_operand);
    }
    drop(tokens_of);
    for mut level in levels.into_iter().rev() {
        level.finish(before.0, edits);
    }
    tokens.by_ref().for_each(drop);
    let end = tokens.end();
    match raw {
        true => end + raw_len(text.get(end..).unwrap_or("")),
        false => end,
    }
}

impl Level {
    /// Ends the right operand of a `%` at `end`.
    fn close(&mut self, end: usize, edits: &mut Vec<(usize, usize, String)>) {
        if std::mem::take(&mut self.open) {
            edits.push((end, end, ")".to_owned()));
        }
    }

    /// Ends a product at `end`.
    fn finish(&mut self, end: usize, edits: &mut Vec<(usize, usize, String)>) {
        self.close(end, edits);
        *self = Level::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_become_filters() {
        for (source, expected) in [
            ("{{ a % b }}", "{{ a |yareta_percent( b) }}"),
            ("{{ a%b }}", "{{ a|yareta_percent(b) }}"),
            (
                "{{- '%s' % x.y[0]|f(1) -}}",
                "{{- '%s' |yareta_percent( x.y[0]|f(1)) -}}",
            ),
            (
                "{% if i % 2 == 0 and j %}{% endif %}",
                "{% if i |yareta_percent( 2) == 0 and j %}{% endif %}",
            ),
            (
                "{%- if (a == 'u') != (i % 2 == 0) -%}",
                "{%- if (a == 'u') != (i |yareta_percent( 2) == 0) -%}",
            ),
            ("{{ a + b % c - d }}", "{{ a + b |yareta_percent( c) - d }}"),
            ("{{ a * b % c }}", "{{ (a * b) |yareta_percent( c) }}"),
            (
                "{{ a // b % c * d }}",
                "{{ (a // b) |yareta_percent( c) * d }}",
            ),
            (
                "{{ a % b % c }}",
                "{{ (a |yareta_percent( b)) |yareta_percent( c) }}",
            ),
            ("{{ -a % -b ** 2 }}", "{{ -a |yareta_percent( -b ** 2) }}"),
            (
                "{{ '%d-%s' % (a, b % c) }}",
                "{{ '%d-%s' |yareta_percent( (a, b |yareta_percent( c))) }}",
            ),
            ("{{ x[a % b : c] }}", "{{ x[a |yareta_percent( b) : c] }}"),
            ("{{ a % b is odd }}", "{{ a |yareta_percent( b is odd) }}"),
            (
                "{{ 'a' if b % c else d }}",
                "{{ 'a' if b |yareta_percent( c) else d }}",
            ),
            (
                "{% set x = 'a%' % b %}c",
                "{% set x = 'a%' |yareta_percent( b) %}c",
            ),
            (
                "{% for i in a % b if c %}",
                "{% for i in a |yareta_percent( b) if c %}",
            ),
            (
                "{# a % b #}{% raw %}{{ a % b }}{% endraw %}%",
                "{# a % b #}{% raw %}{{ a % b }}{% endraw %}%",
            ),
            (
                "100 % {{ '%' }}{% if a -%}{%+ else %}",
                "100 % {{ '%' }}{% if a -%}{%+ else %}",
            ),
            ("{{ a ** 2 % 3 }}", "{{ (a ** 2) |yareta_percent( 3) }}"),
            ("{{ %", "{{ %"),
        ] {
            assert_eq!(replace(source), expected, "{source}");
        }
    }
}
