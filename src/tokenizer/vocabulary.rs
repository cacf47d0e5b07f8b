//! A vocabulary as the metadata of a file has it: texts and types of tokens, tokens with a part
//! to play, switches. The one place that knows the metadata keys of tokenizers.

use std::collections::HashMap;

use super::added::Strip;
use super::pre::{self, Pre, Trait};
use super::sentence::{SPACE, hexadecimal_byte};
use super::special::{ALWAYS_SHOWN, ENDS, PARTS, SpecialTokens};
use super::table::{MAX_SYMBOLS, Texts};
use super::{Token, bytelevel, rwkv};
use crate::gguf::{Array, Metadata};
use crate::{Error, Gguf, Result};

/// How a vocabulary makes tokens of text: `tokenizer.ggml.model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenizerKind {
    /// `llama`: SentencePiece byte-pair encoding by scores, with byte fallback.
    SentencePiece,
    /// `gpt2`, `gemma4` and `whitespace`: byte-pair encoding by a list of merges.
    BytePair,
    /// `bert`: WordPiece.
    WordPiece,
    /// `t5`: SentencePiece Unigram.
    Unigram,
    /// `rwkv`: the longest token that fits.
    Rwkv,
    /// `plamo2`: the best-scored cover of the text.
    Plamo2,
    /// `none`, `no_vocab`: tokens have no text.
    None,
}

/// What a token is: `tokenizer.ggml.token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenType {
    /// Text.
    Normal,
    /// Stands for what the vocabulary cannot express.
    Unknown,
    /// Directs the model and has no text.
    Control,
    /// Text that is always one token.
    UserDefined,
    /// Reserved.
    Unused,
    /// One byte.
    Byte,
}

/// What is read from the metadata when a tokenizer is made; the rest waits for its first use.
pub(super) struct Header {
    pub kind: TokenizerKind,
    pub pre: &'static Pre,
    pub add_bos: bool,
    pub add_eos: bool,
    pub add_separator: bool,
    pub space_prefix: bool,
    pub merge_spaces: bool,
    pub lowercase: bool,
    pub strip_accents: bool,
    pub tokens: usize,
    pub special: SpecialTokens,
    pub warnings: Vec<String>,
}

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";

impl Header {
    /// Reads what is small and checks that what is large is there.
    pub fn read(gguf: &Gguf, strict: bool) -> Result<Header> {
        let metadata = gguf.metadata();
        let model = metadata.require_string(MODEL)?;
        let kind = match model {
            "llama" => TokenizerKind::SentencePiece,
            "gpt2" | "gemma4" | "whitespace" => TokenizerKind::BytePair,
            "bert" => TokenizerKind::WordPiece,
            "t5" => TokenizerKind::Unigram,
            "rwkv" => TokenizerKind::Rwkv,
            "plamo2" => TokenizerKind::Plamo2,
            "none" | "no_vocab" => TokenizerKind::None,
            other => {
                return Err(bad_value(
                    MODEL,
                    format!("`{other}` is no known vocabulary kind"),
                ));
            }
        };
        let mut warnings = Vec::new();
        let pre = match kind {
            TokenizerKind::BytePair if matches!(model, "gemma4" | "whitespace") => pre::find(model),
            TokenizerKind::BytePair => find_pre(metadata, strict, &mut warnings)?,
            _ => None,
        };
        let pre = pre.unwrap_or_else(pre::fallback);
        let tokens = count_tokens(metadata, kind)?;
        let boolean =
            |key: &str, default: bool| Ok::<bool, Error>(metadata.boolean(key)?.unwrap_or(default));
        let is = |wanted: TokenizerKind| kind == wanted;
        let lowercase = boolean(
            "tokenizer.ggml.normalizer.lowercase",
            !pre.traits.contains(&Trait::DropsSpace),
        )?;
        let mut header = Header {
            kind,
            pre,
            add_bos: boolean(
                "tokenizer.ggml.add_bos_token",
                is(TokenizerKind::SentencePiece)
                    || is(TokenizerKind::WordPiece)
                    || pre.traits.contains(&Trait::BeginsSequence),
            )? || pre.traits.contains(&Trait::AlwaysBegins),
            add_eos: boolean("tokenizer.ggml.add_eos_token", is(TokenizerKind::Unigram))?,
            add_separator: boolean(
                "tokenizer.ggml.add_sep_token",
                is(TokenizerKind::WordPiece) || pre.traits.contains(&Trait::EndsWithSeparator),
            )?,
            space_prefix: boolean(
                "tokenizer.ggml.add_space_prefix",
                is(TokenizerKind::SentencePiece),
            )?,
            merge_spaces: boolean("tokenizer.ggml.remove_extra_whitespaces", false)?,
            lowercase,
            strip_accents: boolean("tokenizer.ggml.normalizer.strip_accents", lowercase)?,
            tokens,
            special: default_special(kind, tokens),
            warnings,
        };
        header.read_special(metadata)?;
        Ok(header)
    }

    fn read_special(&mut self, metadata: &Metadata) -> Result<()> {
        if self.kind == TokenizerKind::WordPiece {
            // The class token begins every text.
            if let Some(class) = metadata.u32("tokenizer.ggml.cls_token_id")? {
                self.special.bos = Some(class).filter(|&token| (token as usize) < self.tokens);
            }
        }
        for part in PARTS {
            for key in part.keys.iter().rev() {
                // Some files write "none" as -1.
                let value = metadata.get(key).and_then(|value| value.as_integer());
                if value == Some(-1) {
                    continue;
                }
                let Some(token) = metadata.u32(key)? else {
                    continue;
                };
                if (token as usize) < self.tokens {
                    *(part.field)(&mut self.special) = Some(token);
                } else {
                    self.warnings.push(format!(
                        "`{key}` is {token}, outside the vocabulary of {}: ignored",
                        self.tokens
                    ));
                }
            }
        }
        let needs = [
            (self.add_bos, self.special.bos, "beginning-of-sequence"),
            (self.add_eos, self.special.eos, "end-of-sequence"),
            (self.add_separator, self.special.separator, "separator"),
        ];
        for (wanted, token, name) in needs {
            if wanted && token.is_none() && self.kind != TokenizerKind::None {
                return Err(Error::Tokenizer {
                    reason: format!("texts get a {name} token, but the vocabulary names none"),
                });
            }
        }
        Ok(())
    }
}

/// The row of the pre-tokenizer table that the file names, or a warning and none.
fn find_pre(
    metadata: &Metadata,
    strict: bool,
    warnings: &mut Vec<String>,
) -> Result<Option<&'static Pre>> {
    let reason = match metadata.string(PRE)? {
        None | Some("") => "the file names no pre-tokenizer".to_owned(),
        Some(name) => match pre::find(name) {
            Some(row) => return Ok(Some(row)),
            None => format!("`{name}` is no known pre-tokenizer"),
        },
    };
    if strict {
        return Err(bad_value(PRE, reason));
    }
    warnings.push(format!(
        "{reason}: text is split as `default` does, which may cost quality"
    ));
    Ok(None)
}

fn count_tokens(metadata: &Metadata, kind: TokenizerKind) -> Result<usize> {
    if kind == TokenizerKind::None {
        let architecture = metadata.string("general.architecture")?.unwrap_or_default();
        let size = metadata.u32(&format!("{architecture}.vocab_size"))?;
        return Ok(size.unwrap_or(0) as usize);
    }
    let tokens =
        strings(metadata, TOKENS)?.ok_or_else(|| Error::MissingKey { key: TOKENS.into() })?;
    if tokens.is_empty() || tokens.len() > MAX_SYMBOLS {
        let reason = format!("a vocabulary cannot have {} tokens", tokens.len());
        return Err(bad_value(TOKENS, reason));
    }
    for key in [TYPES, SCORES] {
        if let Some(array) = metadata.array(key)?
            && array.len() < tokens.len()
        {
            let reason = format!("has {} values for {} tokens", array.len(), tokens.len());
            return Err(bad_value(key, reason));
        }
    }
    if kind == TokenizerKind::BytePair && strings(metadata, MERGES)?.is_none() {
        return Err(Error::MissingKey { key: MERGES.into() });
    }
    Ok(tokens.len())
}

/// The array of strings under a key.
fn strings<'a>(metadata: &'a Metadata, key: &str) -> Result<Option<&'a Array>> {
    let Some(array) = metadata.array(key)? else {
        return Ok(None);
    };
    match array.byte_strings() {
        Some(_) => Ok(Some(array)),
        None => Err(Error::KeyType {
            key: key.into(),
            expected: "an array of strings",
            found: "an array of another type",
        }),
    }
}

fn bad_value(key: &str, reason: String) -> Error {
    Error::KeyValue {
        key: key.into(),
        reason,
    }
}

/// Tokens that a kind has where the file names none.
fn default_special(kind: TokenizerKind, tokens: usize) -> SpecialTokens {
    let mut special = SpecialTokens::default();
    match kind {
        TokenizerKind::SentencePiece => {
            (special.bos, special.eos, special.unknown) = (Some(1), Some(2), Some(0));
        }
        TokenizerKind::WordPiece => {
            (special.bos, special.unknown, special.separator) = (Some(101), Some(100), Some(102));
            (special.padding, special.mask) = (Some(0), Some(103));
        }
        TokenizerKind::Unigram => {
            (special.eos, special.unknown, special.padding) = (Some(1), Some(2), Some(0));
        }
        TokenizerKind::Plamo2 => {
            (special.bos, special.eos) = (Some(1), Some(2));
            (special.unknown, special.padding) = (Some(0), Some(3));
        }
        TokenizerKind::BytePair | TokenizerKind::Rwkv | TokenizerKind::None => {}
    }
    for part in PARTS {
        let field = (part.field)(&mut special);
        *field = field.filter(|&token| (token as usize) < tokens);
    }
    special
}

/// The tokens themselves.
pub(super) struct Vocabulary {
    pub kind: TokenizerKind,
    pub special: SpecialTokens,
    // As in the file.
    texts: Texts,
    types: Vec<TokenType>,
    // Symbols are characters, with `▁` for the space.
    characters: bool,
}

impl Vocabulary {
    /// Reads the tokens.
    pub fn read(header: &Header, metadata: &Metadata) -> Result<Vocabulary> {
        let mut texts = Texts::default();
        if let Some(array) = strings(metadata, TOKENS)?
            && header.kind != TokenizerKind::None
        {
            for text in array
                .byte_strings()
                .into_iter()
                .flatten()
                .take(header.tokens)
            {
                texts
                    .push(text)
                    .map_err(|reason| Error::Tokenizer { reason })?;
            }
        }
        let types = match metadata.i32s(TYPES)? {
            Some(types) => types.into_iter().map(token_type).collect(),
            None => Vec::new(),
        };
        let mut vocabulary = Vocabulary {
            kind: header.kind,
            special: header.special.clone(),
            texts,
            types,
            characters: header.pre.traits.contains(&Trait::Characters),
        };
        vocabulary.types.resize(header.tokens, TokenType::Normal);
        vocabulary.name_parts();
        Ok(vocabulary)
    }

    /// The scores, if the file has any.
    pub fn scores(metadata: &Metadata) -> Result<Vec<f32>> {
        match metadata.array(SCORES)? {
            None => Ok(Vec::new()),
            Some(_) => match metadata.f32s(SCORES) {
                Ok(scores) => Ok(scores.unwrap_or_default()),
                Err(_) => {
                    let scores = metadata.i32s(SCORES)?.unwrap_or_default();
                    Ok(scores.into_iter().map(|score| score as f32).collect())
                }
            },
        }
    }

    /// The merges as written.
    pub fn merges(metadata: &Metadata) -> Result<crate::gguf::ByteStrings<'_>> {
        let array = strings(metadata, MERGES)?;
        array
            .and_then(Array::byte_strings)
            .ok_or_else(|| Error::MissingKey { key: MERGES.into() })
    }

    /// The precompiled character map; empty if there is none.
    pub fn charsmap(metadata: &Metadata) -> Result<Vec<u8>> {
        let Some(array) = metadata.array(CHARSMAP)? else {
            return Ok(Vec::new());
        };
        let bytes = array.iter().map(|value| match value {
            crate::gguf::Value::U8(byte) => Some(byte),
            crate::gguf::Value::I8(byte) => Some(byte as u8),
            _ => None,
        });
        bytes
            .collect::<Option<Vec<u8>>>()
            .ok_or_else(|| bad_value(CHARSMAP, "must be an array of bytes".into()))
    }

    /// The white space that an added token takes with it. Files do not say; it goes by the names
    /// of the models that need it.
    pub fn strips(&self, metadata: &Metadata) -> Result<impl Fn(Token) -> Strip> {
        let text = |key| Ok::<&str, Error>(metadata.string(key)?.unwrap_or_default());
        let name = text("general.name")?.to_ascii_lowercase();
        let (pre, architecture) = (text(PRE)?, text("general.architecture")?);
        let mask = if pre.starts_with("jina-v2-")
            || matches!(architecture, "nomic-bert-moe" | "jina-bert-v3")
        {
            "<mask>"
        } else if name.contains("modern-bert") {
            "[MASK]"
        } else {
            ""
        };
        let phi = mask.is_empty() && (name.contains("phi-3") || name.contains("phi3"));
        Ok(move |token| {
            let text = self.text(token);
            let kept: [&[u8]; 3] = [b"<unk>", b"<s>", b"<|endoftext|>"];
            Strip {
                before: !mask.is_empty() && text == mask.as_bytes(),
                after: phi && !kept.contains(&text),
            }
        })
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// The texts of all tokens, as in the file.
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// A token's text as in the file; empty outside the vocabulary.
    pub fn text(&self, token: Token) -> &[u8] {
        self.texts.get(token)
    }

    /// A token's type.
    pub fn token_type(&self, token: Token) -> TokenType {
        let found = self.types.get(token as usize);
        found.copied().unwrap_or(TokenType::Normal)
    }

    /// That a token is in the vocabulary.
    pub fn check(&self, token: Token) -> Result<()> {
        if (token as usize) < self.len() {
            return Ok(());
        }
        Err(Error::Token {
            token,
            vocabulary: self.len(),
        })
    }

    /// Whether a token has no place in text for readers.
    pub fn is_hidden(&self, token: Token) -> bool {
        matches!(
            self.token_type(token),
            TokenType::Control | TokenType::Unknown
        )
    }

    /// Appends the bytes that a token stands for; for control tokens, their text as in the file.
    pub fn append_bytes(&self, token: Token, out: &mut Vec<u8>) {
        let text = self.text(token);
        match self.token_type(token) {
            TokenType::Control | TokenType::UserDefined | TokenType::Unknown => {
                return out.extend_from_slice(text);
            }
            TokenType::Byte => {
                if let Some(byte) = hexadecimal_byte(text) {
                    return out.push(byte);
                }
            }
            TokenType::Normal | TokenType::Unused => {}
        }
        match self.kind {
            TokenizerKind::BytePair if !self.characters => {
                if !bytelevel::decode(text, out) {
                    out.extend_from_slice(text);
                }
            }
            TokenizerKind::Rwkv => rwkv::unescape(text, out),
            TokenizerKind::Plamo2 | TokenizerKind::None => out.extend_from_slice(text),
            _ => {
                let mut rest = text;
                while let Some((&first, after)) = rest.split_first() {
                    if let Some(after) = rest.strip_prefix(SPACE.as_bytes()) {
                        out.push(b' ');
                        rest = after;
                    } else {
                        out.push(first);
                        rest = after;
                    }
                }
            }
        }
    }

    /// Finds the tokens that their texts tell: of turns, of gaps, of the end.
    fn name_parts(&mut self) {
        let mut known: HashMap<&'static [u8], Option<Token>> = HashMap::new();
        let texts = PARTS
            .iter()
            .flat_map(|part| part.texts)
            .chain(ENDS)
            .chain(ALWAYS_SHOWN);
        known.extend(texts.map(|text| (text.as_bytes(), None)));
        let longest = known.keys().map(|text| text.len()).max().unwrap_or(0);
        for token in 0..self.texts.len() as Token {
            let text = self.texts.get(token);
            if text.len() <= longest
                && let Some(entry @ None) = known.get_mut(text)
            {
                *entry = Some(token);
            }
        }
        let find = |text: &str| known.get(text.as_bytes()).copied().flatten();

        for part in PARTS {
            let field = (part.field)(&mut self.special);
            if field.is_none()
                && let Some(token) = part.texts.iter().copied().find_map(find)
            {
                *field = Some(token);
                self.types[token as usize] = TokenType::Control;
            }
        }
        let special = &self.special;
        let mut ends: Vec<Token> = [
            special.eos,
            special.eot,
            special.eom,
            special.fim_padding,
            special.fim_repository,
            special.fim_separator,
        ]
        .into_iter()
        .flatten()
        .collect();
        for token in ENDS.iter().copied().filter_map(find) {
            self.types[token as usize] = TokenType::Control;
            ends.push(token);
        }
        for token in ALWAYS_SHOWN.iter().copied().filter_map(find) {
            self.types[token as usize] = TokenType::UserDefined;
        }
        // In formats of channels, `<|end|>` ends a message and not the answer.
        let calls = find("<|call|>").or(find("<|calls|>"));
        let channels = calls.and(find("<|return|>").or(find("<|flush|>")));
        if let (Some(end), Some(_)) = (find("<|end|>"), channels) {
            ends.retain(|&token| token != end);
            self.types[end as usize] = TokenType::UserDefined;
        }
        // Where tool responses end generation, `</s>` is a mark of HTML.
        if let (Some(strike), Some(_)) = (find("</s>"), find("<|tool_response>")) {
            ends.retain(|&token| token != strike);
            self.types[strike as usize] = TokenType::Normal;
        }
        ends.sort_unstable();
        ends.dedup();
        self.special.end_of_generation = ends;
    }
}

fn token_type(number: i32) -> TokenType {
    match number {
        2 => TokenType::Unknown,
        3 => TokenType::Control,
        4 => TokenType::UserDefined,
        5 => TokenType::Unused,
        6 => TokenType::Byte,
        // 0 is "undefined", which writers of files used for ordinary text.
        _ => TokenType::Normal,
    }
}
