//! What Hugging Face's dialect has and the engine has not, written in what it has.
//!
//! - `{% generation %} … {% endgeneration %}` marks the part of a training text that the model is
//!   to learn. Rendering ignores the mark, but the tag is still a scope of its own and trims white
//!   space like any other: it becomes `{% with %} … {% endwith %}`, dashes and all.
//! - A loop over `none` is an error in Python and nothing in the engine, and a loop knows its
//!   length whatever it loops over: `{% for x in e %}` becomes `{% for x in (e)|`[`ITERATED`]` %}`.
//! - Lists in lists in lists, built by a loop, would overflow the stack when they are dropped, and
//!   a list that holds another one twice, and so on, would print without end. What is assigned is
//!   therefore measured: `{% set x = e %}` becomes `{% set x = (e)|`[`BOUNDED`]` %}`.
//! - Text appended to text that is marked safe is escaped for HTML, in Python even where nothing
//!   else is: `{{ a|safe + b }}` becomes `{{ (a|safe)|`[`APPENDED`]`(b) }}`.
//!
//! - `%` fills the formats of a text: see [`super::remainder`], which is applied first.
//!
//! Finding the places takes the lexical structure of a template: nothing is a tag inside comments,
//! strings, `raw` blocks and text, and an `if` inside brackets is no filter of the loop.

use std::borrow::Cow;

/// Name of the filter that the engine must have for rewritten loops.
pub(super) const ITERATED: &str = "yareta_iterated";

/// Name of the filter that the engine must have for rewritten assignments.
pub(super) const BOUNDED: &str = "yareta_bounded";

/// Name of the filter that the engine must have for rewritten assignments to a namespace.
pub(super) const HELD: &str = "yareta_held";

/// Name of the filter that the engine must have for rewritten sums with safe text.
pub(super) const APPENDED: &str = "yareta_appended";

/// Most tokens of one tag or expression, and most `elif` of a template: the engine's compiler
/// recurses once for each link of a chain. Known templates have up to 600 and 25.
const TOKENS: usize = 4000;
const ELIFS: usize = 1000;

/// The source with all of these rewritten; everything else stays as it is, line for line.
///
/// Fails with the reason if a tag or a chain of tags is too long.
pub(super) fn rewrite(source: &str) -> Result<Cow<'_, str>, String> {
    let mut rewriter = Rewriter {
        source,
        out: String::new(),
        copied: 0,
        elifs: 0,
        longest: 0,
    };
    let mut position = 0;
    while let Some(start) = source[position..].find('{') {
        let start = position + start;
        let rest = &source[start..];
        position = start
            + match rest.as_bytes().get(1) {
                Some(b'#') => rest.find("#}").map_or(rest.len(), |end| end + 2),
                Some(b'{') => rewriter.printed(start),
                Some(b'%') => rewriter.tag(start),
                _ => 1,
            };
    }
    if rewriter.longest > TOKENS {
        return Err(format!("a tag has more than {TOKENS} tokens"));
    }
    if rewriter.elifs > ELIFS {
        return Err(format!("there are more than {ELIFS} `elif`"));
    }
    Ok(match rewriter.copied {
        0 => Cow::Borrowed(source),
        copied => {
            rewriter.out.push_str(&source[copied..]);
            Cow::Owned(rewriter.out)
        }
    })
}

struct Rewriter<'a> {
    source: &'a str,
    out: String,
    copied: usize, // of `source`, in bytes
    elifs: usize,
    longest: usize, // tokens of the longest tag
}

impl Rewriter<'_> {
    /// Rewrites the tag at `start`; its length in bytes, with the text of a `raw` block.
    fn tag(&mut self, start: usize) -> usize {
        let rest = &self.source[start..];
        let mut tokens = Tokens::new(rest, 2, "%}");
        let mut first = tokens.next();
        if let Some(Token {
            text: "-" | "+", ..
        }) = first
        {
            first = tokens.next();
        }
        let Some(name) = first else {
            return self.end(tokens);
        };
        let name_end = start + name.offset + name.text.len();
        match name.text {
            "generation" => self.replace(start + name.offset, name_end, "with"),
            "endgeneration" => self.replace(start + name.offset, name_end, "endwith"),
            "for" => {
                if let Some((from, to)) = expression(&mut tokens, "in", &["if", "recursive"]) {
                    self.replace(start + from, start + from, "(");
                    self.replace(start + to, start + to, &format!(")|{ITERATED}"));
                }
            }
            "set" => {
                if let Some((from, to)) = expression(&mut tokens, "=", &[]) {
                    let target = &rest[name.offset..from];
                    let filter = if target.contains('.') { HELD } else { BOUNDED };
                    self.replace(start + from, start + from, "(");
                    self.replace(start + to, start + to, &format!(")|{filter}"));
                }
            }
            "elif" => self.elifs += 1,
            "raw" => {
                let tag = self.end(tokens);
                return tag + raw_len(&rest[tag..]);
            }
            _ => {}
        }
        self.end(tokens)
    }

    /// Rewrites the printed expression at `start`, if it is nothing but a sum with safe text; its
    /// length in bytes.
    fn printed(&mut self, start: usize) -> usize {
        let mut tokens = Tokens::new(&self.source[start..], 2, "}}");
        let mut depth = 0;
        let mut safe = false;
        let mut sum = true;
        let mut terms: Vec<(usize, usize)> = Vec::new(); // begin and end in the source
        let mut term: Option<(usize, usize)> = None;
        let mut filter = false; // the token before was a bar
        for token in tokens.by_ref() {
            let from = start + token.offset;
            match token.text {
                "-" | "+" if token.last || (terms.is_empty() && term.is_none()) => continue,
                "+" if depth == 0 => {
                    terms.extend(term.take());
                    continue;
                }
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth -= 1,
                "safe" | "escape" | "e" | "forceescape" if depth == 0 && filter => safe = true,
                "-" | "~" | "*" | "/" | "%" | "<" | ">" | "=" | "!" | "," | "if" | "and" | "or"
                | "not" | "in" | "is"
                    if depth == 0 =>
                {
                    sum = false;
                }
                _ => {}
            }
            filter = token.text == "|";
            let begin = term.map_or(from, |(begin, _)| begin);
            term = Some((begin, from + token.text.len()));
        }
        terms.extend(term);
        if safe && sum && terms.len() > 1 {
            for (index, (from, to)) in terms.into_iter().enumerate() {
                let text = &self.source[from..to];
                match index {
                    0 => self.replace(from, to, &format!("({text})")),
                    _ => {
                        // in place of the plus and the space around it
                        let between = &self.source[self.copied..from];
                        let lines = "\n".repeat(between.matches('\n').count());
                        self.copied = from;
                        self.replace(from, to, &format!("{lines}|{APPENDED}({text})"));
                    }
                }
            }
        }
        self.end(tokens)
    }

    /// Offset after the closing delimiter of `tokens`.
    fn end(&mut self, mut tokens: Tokens) -> usize {
        tokens.by_ref().for_each(drop);
        self.longest = self.longest.max(tokens.count);
        tokens.position
    }

    /// Writes `text` for the bytes `from..to` of the source.
    fn replace(&mut self, from: usize, to: usize, text: &str) {
        self.out.push_str(&self.source[self.copied..from]);
        self.out.push_str(text);
        self.copied = to;
    }
}

/// Where an expression begins and ends: after the token `opening` outside brackets, up to one of
/// `closing` outside brackets or to the end of the tag.
fn expression(tokens: &mut Tokens, opening: &str, closing: &[&str]) -> Option<(usize, usize)> {
    let mut depth = 0;
    let mut range: Option<(usize, usize)> = None;
    let mut inside = false;
    for token in tokens.by_ref() {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            text if text == opening && depth == 0 && !inside => {
                inside = true;
                continue;
            }
            text if closing.contains(&text) && depth == 0 && inside => break,
            // the dash or plus of the tag's end
            "-" | "+" if token.last => break,
            _ => {}
        }
        if inside {
            let end = token.offset + token.text.len();
            range = Some((range.map_or(token.offset, |(from, _)| from), end));
        }
    }
    range
}

pub(super) struct Token<'a> {
    pub text: &'a str, // a name, a number, a string with its quotes, or one other character
    pub offset: usize,
    pub last: bool, // the closing delimiter follows at once
}

/// The tokens of an expression or tag, up to its closing delimiter.
pub(super) struct Tokens<'a> {
    text: &'a str,
    position: usize,
    close: &'static str,
    closed: bool,
    count: usize,
}

impl<'a> Tokens<'a> {
    /// Tokens of `text` from `position` up to `close`.
    pub fn new(text: &'a str, position: usize, close: &'static str) -> Tokens<'a> {
        Tokens {
            text,
            position,
            close,
            closed: false,
            count: 0,
        }
    }

    /// Offset after the closing delimiter, once all tokens are read.
    pub fn end(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let rest = &self.text[self.position..];
        let trimmed = rest.trim_start();
        let offset = self.position + rest.len() - trimmed.len();
        if self.closed {
            return None;
        }
        if trimmed.starts_with(self.close) {
            self.closed = true;
            self.position = offset + self.close.len();
            return None;
        }
        let Some(first) = trimmed.chars().next() else {
            self.closed = true;
            self.position = self.text.len();
            return None;
        };
        let len = match first {
            '"' | '\'' => string_len(trimmed, first),
            letter if is_word(letter) => {
                let end = trimmed.find(|letter| !is_word(letter));
                end.unwrap_or(trimmed.len())
            }
            letter => letter.len_utf8(),
        };
        self.position = offset + len;
        self.count += 1;
        Some(Token {
            text: &trimmed[..len],
            offset,
            last: trimmed[len..].starts_with(self.close),
        })
    }
}

/// Bytes of the string literal at the start of `text`, quotes included.
fn string_len(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            letter if letter == quote => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// Bytes up to the tag that ends a `raw` block.
pub(super) fn raw_len(text: &str) -> usize {
    let mut position = 0;
    while let Some(start) = text[position..].find("{%") {
        let start = position + start;
        let body = text[start + 2..].trim_start_matches(['-', '+']);
        if body.trim_start().starts_with("endraw") {
            return start;
        }
        position = start + 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_replaced_where_they_are_tags() {
        for (source, expected) in [
            (
                "{% generation %}a{% endgeneration %}",
                "{% with %}a{% endwith %}",
            ),
            (
                "{%- generation -%} a {%+endgeneration-%}",
                "{%- with -%} a {%+endwith-%}",
            ),
            ("é{%\ngeneration%}", "é{%\nwith%}"),
            ("{% generations %}", "{% generations %}"),
            ("generation {{ generation }}", "generation {{ generation }}"),
            ("{{ '}} {% generation %}' }}", "{{ '}} {% generation %}' }}"),
            (
                "{% set x = '%}{% generation %}' %}{% set x.y=a==b, c-%}{% set x %}",
                "{% set x = ('%}{% generation %}')|yareta_bounded %}{% set x.y=(a==b, c)|yareta_held-%}{% set x %}",
            ),
            ("{# {% generation %} #}", "{# {% generation %} #}"),
            (
                "{% raw %}{% generation %}{%- endraw %}{% generation %}",
                "{% raw %}{% generation %}{%- endraw %}{% with %}",
            ),
            ("{% generation", "{% with"),
            (
                "{% for a in b %}{% for a, (b, c) in d.e(f if g else h) if i -%}",
                "{% for a in (b)|yareta_iterated %}{% for a, (b, c) in (d.e(f if g else h))|yareta_iterated if i -%}",
            ),
            (
                "{%- for a in b['in %}'][::-1] + c recursive-%}{%for a in b-%}",
                "{%- for a in (b['in %}'][::-1] + c)|yareta_iterated recursive-%}{%for a in (b)|yareta_iterated-%}",
            ),
            (
                "{% for a %}{% forest in b %}",
                "{% for a %}{% forest in b %}",
            ),
            ("{% for a in b", "{% for a in (b)|yareta_iterated"),
            ("{% for a in %}{% for", "{% for a in %}{% for"),
            (
                "{{- 'a'|safe +\n b['+'] + c(d + e)|f -}}{{ a|safe + b if c }}{{ a + b }}",
                "{{- ('a'|safe)\n|yareta_appended(b['+'])|yareta_appended(c(d + e)|f) -}}{{ a|safe + b if c }}{{ a + b }}",
            ),
            ("{", "{"),
            ("{{ 'open", "{{ 'open"),
            ("{% raw %} {%", "{% raw %} {%"),
        ] {
            assert_eq!(rewrite(source).unwrap(), expected);
        }
    }

    #[test]
    fn long_chains_are_refused() {
        for source in [
            format!("{{{{ x{} }}}}", ".a".repeat(TOKENS)),
            format!("{{% if x{} %}}", "+1".repeat(TOKENS)),
            "{% elif x %}".repeat(ELIFS + 1),
        ] {
            assert!(rewrite(&source).is_err());
        }
    }
}
