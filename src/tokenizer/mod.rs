//! Text to tokens and back, from the metadata of a GGUF file alone.
//!
//! Responsible for every vocabulary kind that files carry, for the pre-tokenizers they name, for
//! added tokens and for decoding in pieces. Not for chat formats (see the chat template), nor for
//! deciding when to stop: it only knows which tokens mean the end.
//!
//! Control tokens come out of a text only where the caller asks for it, in every kind: llama.cpp
//! finds them in plain text too for the kinds `rwkv`, `plamo2` and, where a file calls them
//! user-defined, `t5`. In 6,000 lines nothing else differs from it in these kinds.
//!
//! A [`Tokenizer`] is made in an instant; its tables are built when it is first used.

mod added;
mod bpe;
mod bytelevel;
mod charsmap;
mod merge;
mod plamo;
mod pre;
mod rwkv;
mod sentence;
mod special;
mod split;
mod stop;
mod stream;
mod table;
mod trie;
mod unicode;
mod unigram;
mod vocabulary;
mod wordpiece;
mod words;

use std::fmt;
use std::sync::{Arc, OnceLock};

pub use special::SpecialTokens;
pub use stop::StopStrings;
pub use stream::StreamDecoder;
pub use vocabulary::{TokenType, TokenizerKind};

use crate::{Error, Gguf, Result};
use added::{Added, Fragment};
use bpe::Bpe;
use charsmap::CharacterMap;
use merge::Scratch;
use plamo::Plamo;
use rwkv::Rwkv;
use sentence::SentencePiece;
use table::TextTable;
use unigram::{Spaces, Unigram};
use vocabulary::{Header, Vocabulary};
use wordpiece::{Normalizer, WordPiece};

/// A token: its position in the vocabulary.
pub type Token = u32;

/// Longest text in bytes that is encoded at once.
const MAX_TEXT: usize = 1 << 30;

/// Turns text into tokens and tokens into text. Cheap to clone, and shared between threads.
#[derive(Clone)]
pub struct Tokenizer(Arc<Inner>);

struct Inner {
    gguf: Gguf,
    header: Header,
    tables: OnceLock<Result<Tables, String>>,
    // Token of each text, for lookups by text only.
    by_text: OnceLock<TextTable>,
}

struct Tables {
    vocabulary: Vocabulary,
    added: Added,
    encoder: Encoder,
}

enum Encoder {
    Sentence(Box<SentencePiece>),
    BytePair(Box<Bpe>),
    WordPiece(Box<WordPiece>),
    Unigram(Box<Unigram>),
    Rwkv(Box<Rwkv>),
    Plamo(Box<Plamo>),
    None,
}

/// What becomes of a text besides its own tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Add the tokens that the file wants before and after a text, such as the
    /// beginning-of-sequence token.
    pub add_special: bool,
    /// Take the text of control tokens, such as `<|im_start|>`, as those tokens. Text from
    /// strangers should be encoded without.
    pub parse_special: bool,
}

/// What is asked of a file's tokenizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenizerOptions {
    /// Make an unknown or missing pre-tokenizer an error instead of a warning.
    pub strict: bool,
}

impl Tokenizer {
    /// The tokenizer that a file describes. Reads only what is small.
    ///
    /// # Errors
    /// A missing or wrong key, named; [`Error::Tokenizer`] if keys contradict each other.
    pub fn from_gguf(gguf: &Gguf) -> Result<Tokenizer> {
        Tokenizer::with_options(gguf, TokenizerOptions::default())
    }

    /// As [`from_gguf`](Tokenizer::from_gguf), with options.
    ///
    /// # Errors
    /// As there, and as the options say.
    pub fn with_options(gguf: &Gguf, options: TokenizerOptions) -> Result<Tokenizer> {
        Ok(Tokenizer(Arc::new(Inner {
            header: Header::read(gguf, options.strict)?,
            gguf: gguf.clone(),
            tables: OnceLock::new(),
            by_text: OnceLock::new(),
        })))
    }

    /// Encodes a text with the tokens that the file adds before and after it. Control tokens
    /// written in the text are text.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the vocabulary is unusable or the text longer than 1 GiB.
    pub fn encode(&self, text: &str) -> Result<Vec<Token>> {
        self.encode_with(
            text,
            EncodeOptions {
                add_special: true,
                parse_special: false,
            },
        )
    }

    /// Encodes a text.
    ///
    /// # Errors
    /// As [`encode`](Tokenizer::encode).
    pub fn encode_with(&self, text: &str, options: EncodeOptions) -> Result<Vec<Token>> {
        self.encode_chunks([(text, &[][..])].into_iter(), text.len(), options)
    }

    /// Encodes bytes that need not be UTF-8: what is not becomes byte tokens where the vocabulary
    /// has them.
    ///
    /// # Errors
    /// As [`encode`](Tokenizer::encode).
    pub fn encode_bytes(&self, bytes: &[u8], options: EncodeOptions) -> Result<Vec<Token>> {
        let chunks = bytes.utf8_chunks();
        let chunks = chunks.map(|chunk| (chunk.valid(), chunk.invalid()));
        self.encode_chunks(chunks, bytes.len(), options)
    }

    /// The text of tokens, the inverse of [`encode`](Tokenizer::encode): control tokens have no
    /// text, and the space that encoding puts before text is taken off again. Bytes that are not
    /// UTF-8 become U+FFFD. To continue a text, use [`decoder`](Tokenizer::decoder).
    ///
    /// # Errors
    /// [`Error::Token`] for a token outside the vocabulary; [`Error::Tokenizer`] if the
    /// vocabulary is unusable.
    pub fn decode(&self, tokens: &[Token]) -> Result<String> {
        let bytes = self.decode_bytes(tokens)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// As [`decode`](Tokenizer::decode), exactly.
    ///
    /// # Errors
    /// As there.
    pub fn decode_bytes(&self, tokens: &[Token]) -> Result<Vec<u8>> {
        let vocabulary = &self.tables()?.vocabulary;
        let mut out = Vec::with_capacity(tokens.len() * 4);
        let mut after_added = true;
        for &token in tokens {
            vocabulary.check(token)?;
            let start = out.len();
            if !vocabulary.is_hidden(token) {
                vocabulary.append_bytes(token, &mut out);
            }
            let added = !vocabulary.token_type(token).is_in_text();
            if after_added && !added && self.0.header.space_prefix && out.get(start) == Some(&b' ')
            {
                out.remove(start);
            }
            after_added = added;
        }
        Ok(out)
    }

    /// A decoder for tokens that continue a text.
    pub fn decoder(&self) -> StreamDecoder {
        StreamDecoder::new(self.clone())
    }

    /// The bytes that a token stands for; of a control token, its text.
    ///
    /// # Errors
    /// As [`decode`](Tokenizer::decode).
    pub fn token_bytes(&self, token: Token) -> Result<Vec<u8>> {
        let vocabulary = &self.tables()?.vocabulary;
        vocabulary.check(token)?;
        let mut out = Vec::new();
        vocabulary.append_bytes(token, &mut out);
        Ok(out)
    }

    /// A token's entry in the file, which writes spaces and bytes in its own way; not always
    /// UTF-8.
    ///
    /// # Errors
    /// As [`decode`](Tokenizer::decode).
    pub fn token_text(&self, token: Token) -> Result<&[u8]> {
        let vocabulary = &self.tables()?.vocabulary;
        vocabulary.check(token)?;
        Ok(vocabulary.text(token))
    }

    /// What a token is.
    ///
    /// # Errors
    /// As [`decode`](Tokenizer::decode).
    pub fn token_type(&self, token: Token) -> Result<TokenType> {
        let vocabulary = &self.tables()?.vocabulary;
        vocabulary.check(token)?;
        Ok(vocabulary.token_type(token))
    }

    /// The token whose entry in the file is `text`.
    pub fn token_to_id(&self, text: &str) -> Option<Token> {
        let vocabulary = &self.tables().ok()?.vocabulary;
        let table = self.0.by_text.get_or_init(|| {
            let mut table = TextTable::with_capacity(vocabulary.len());
            for token in 0..vocabulary.len() as Token {
                table.insert(vocabulary.texts(), token);
            }
            table
        });
        table.find(vocabulary.texts(), text.as_bytes())
    }

    /// How it makes tokens of text.
    pub fn kind(&self) -> TokenizerKind {
        self.0.header.kind
    }

    /// Number of tokens.
    pub fn vocabulary_size(&self) -> usize {
        self.0.header.tokens
    }

    /// The tokens with a part to play.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the vocabulary is unusable.
    pub fn special_tokens(&self) -> Result<&SpecialTokens> {
        Ok(&self.tables()?.vocabulary.special)
    }

    /// The token that begins a sequence.
    pub fn bos(&self) -> Option<Token> {
        self.0.header.special.bos
    }

    /// The token that ends a sequence.
    pub fn eos(&self) -> Option<Token> {
        self.0.header.special.eos
    }

    /// The token that ends a turn, by the metadata or by a well-known text.
    pub fn eot(&self) -> Option<Token> {
        self.special_tokens().ok()?.eot
    }

    /// The token for what the vocabulary cannot express.
    pub fn unknown(&self) -> Option<Token> {
        self.0.header.special.unknown
    }

    /// The token that fills up batches.
    pub fn padding(&self) -> Option<Token> {
        self.0.header.special.padding
    }

    /// Whether [`EncodeOptions::add_special`] puts the beginning-of-sequence token before texts.
    pub fn adds_bos(&self) -> bool {
        self.0.header.add_bos
    }

    /// Whether [`EncodeOptions::add_special`] puts the end-of-sequence token after texts.
    pub fn adds_eos(&self) -> bool {
        self.0.header.add_eos
    }

    /// Whether generation stops at a token: at the end of the sequence, of a turn, of a message,
    /// and at what well-known texts tell to be such.
    pub fn is_end_of_generation(&self, token: Token) -> bool {
        self.special_tokens()
            .is_ok_and(|special| special.end_of_generation.binary_search(&token).is_ok())
    }

    /// Whether a token directs the model and has no text.
    pub fn is_control(&self, token: Token) -> bool {
        self.token_type(token)
            .is_ok_and(|kind| matches!(kind, TokenType::Control | TokenType::Unknown))
    }

    /// What is doubtful about the file's tokenizer, in sentences; empty where all is well.
    pub fn warnings(&self) -> &[String] {
        &self.0.header.warnings
    }

    fn tables(&self) -> Result<&Tables> {
        let Inner {
            gguf,
            header,
            tables,
            ..
        } = &*self.0;
        tables
            .get_or_init(|| Tables::build(gguf, header))
            .as_ref()
            .map_err(|reason| Error::Tokenizer {
                reason: reason.clone(),
            })
    }

    /// Encodes chunks of text, each followed by bytes that are no text.
    fn encode_chunks<'a>(
        &self,
        chunks: impl Iterator<Item = (&'a str, &'a [u8])>,
        length: usize,
        options: EncodeOptions,
    ) -> Result<Vec<Token>> {
        if length > MAX_TEXT {
            return Err(Error::Tokenizer {
                reason: format!("a text of {length} bytes is longer than {MAX_TEXT}"),
            });
        }
        let tables = self.tables()?;
        if let Encoder::None = tables.encoder {
            return Err(Error::Tokenizer {
                reason: "the file has no vocabulary, only token numbers".into(),
            });
        }
        let header = &self.0.header;
        let special = &header.special;
        // English has three to five bytes a token.
        let mut out = Vec::with_capacity(length / 3 + 2);
        if options.add_special && header.add_bos {
            out.extend(special.bos);
        }
        let mut state = State {
            scratch: Scratch::default(),
            after_added: true,
            space_prefix: header.space_prefix,
        };
        for (text, bytes) in chunks {
            tables
                .added
                .each(text, options.parse_special, |fragment| match fragment {
                    Fragment::Token(token) => {
                        out.push(token);
                        state.after_added = true;
                    }
                    Fragment::Text(text) => {
                        tables.encoder.encode(text, &mut state, &mut out);
                        state.after_added = false;
                    }
                });
            if !bytes.is_empty() {
                tables.encoder.encode_bytes(bytes, &mut state, &mut out);
                state.after_added = false;
            }
        }
        if options.add_special && header.add_separator {
            out.extend(special.separator);
        }
        if options.add_special && header.add_eos {
            out.extend(special.eos);
        }
        Ok(out)
    }
}

/// What encoding carries from one stretch of text to the next.
struct State {
    scratch: Scratch,
    // At the beginning or after an added token.
    after_added: bool,
    space_prefix: bool,
}

impl Encoder {
    /// Appends the tokens of a text that is not empty.
    fn encode(&self, text: &str, state: &mut State, out: &mut Vec<Token>) {
        match self {
            Encoder::Sentence(encoder) => {
                let mut escaped = String::with_capacity(text.len() * 3 / 2);
                if state.space_prefix && state.after_added {
                    escaped.push_str(sentence::SPACE);
                }
                for (index, part) in text.split(' ').enumerate() {
                    if index > 0 {
                        escaped.push_str(sentence::SPACE);
                    }
                    escaped.push_str(part);
                }
                encoder.encode(&escaped, &mut state.scratch, out);
            }
            Encoder::BytePair(encoder) => encoder.encode(text, &mut state.scratch, out),
            Encoder::WordPiece(encoder) => encoder.encode(text, out),
            Encoder::Unigram(encoder) => encoder.encode(text, out),
            Encoder::Rwkv(encoder) => encoder.encode(text.as_bytes(), out),
            Encoder::Plamo(encoder) => encoder.encode(text, out),
            Encoder::None => {}
        }
    }

    /// Appends the tokens of bytes that are no text.
    fn encode_bytes(&self, bytes: &[u8], state: &mut State, out: &mut Vec<Token>) {
        match self {
            Encoder::Sentence(encoder) => encoder.encode_bytes(bytes, out),
            Encoder::BytePair(encoder) => encoder.encode_bytes(bytes, &mut state.scratch, out),
            Encoder::Rwkv(encoder) => encoder.encode(bytes, out),
            Encoder::Plamo(encoder) => encoder.encode_bytes(bytes, out),
            // These have no bytes: the text is what a reader would see.
            Encoder::WordPiece(encoder) => encoder.encode("\u{fffd}", out),
            Encoder::Unigram(encoder) => encoder.encode("\u{fffd}", out),
            Encoder::None => {}
        }
    }
}

impl Tables {
    fn build(gguf: &Gguf, header: &Header) -> Result<Tables, String> {
        let metadata = gguf.metadata();
        let text = |error: Error| error.to_string();
        let vocabulary = Vocabulary::read(header, metadata).map_err(text)?;
        let encoder = match header.kind {
            TokenizerKind::SentencePiece => {
                let scores = Vocabulary::scores(metadata).map_err(text)?;
                Encoder::Sentence(Box::new(SentencePiece::new(&vocabulary, &scores)?))
            }
            TokenizerKind::BytePair => {
                let merges = Vocabulary::merges(metadata).map_err(text)?;
                Encoder::BytePair(Box::new(Bpe::new(&vocabulary, merges, header)?))
            }
            TokenizerKind::WordPiece => {
                let normalizer = Normalizer {
                    lowercase: header.lowercase,
                    strip_accents: header.strip_accents,
                };
                Encoder::WordPiece(Box::new(WordPiece::new(&vocabulary, normalizer)))
            }
            TokenizerKind::Unigram => {
                let scores = Vocabulary::scores(metadata).map_err(text)?;
                let map = Vocabulary::charsmap(metadata).map_err(text)?;
                let map = CharacterMap::new(&map)?;
                let spaces = Spaces {
                    prefix: header.space_prefix,
                    merge: header.merge_spaces,
                };
                Encoder::Unigram(Box::new(Unigram::new(&vocabulary, &scores, map, spaces)?))
            }
            TokenizerKind::Rwkv => Encoder::Rwkv(Box::new(Rwkv::new(&vocabulary))),
            TokenizerKind::Plamo2 => {
                let scores = Vocabulary::scores(metadata).map_err(text)?;
                Encoder::Plamo(Box::new(Plamo::new(&vocabulary, &scores)?))
            }
            TokenizerKind::None => Encoder::None,
        };
        let added = Added::new(&vocabulary, vocabulary.strips(metadata).map_err(text)?)?;
        Ok(Tables {
            added,
            vocabulary,
            encoder,
        })
    }
}

impl TokenType {
    /// Whether it comes out of encoding text, rather than being found in it first.
    fn is_in_text(self) -> bool {
        matches!(
            self,
            TokenType::Normal | TokenType::Unused | TokenType::Byte
        )
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("kind", &self.kind())
            .field("vocabulary_size", &self.vocabulary_size())
            .finish_non_exhaustive()
    }
}
