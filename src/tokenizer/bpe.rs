//! Byte-pair encoding by a list of merges, over bytes (GPT-2 and nearly every model since) or
//! over characters with `▁` for the space.

use std::sync::atomic::{AtomicU8, Ordering};

use super::merge::{Merges, Scratch, Symbol};
use super::pre::Trait;
use super::sentence::{Cuts, byte_tokens};
use super::split::Splitter;
use super::table::{MAX_SYMBOLS, Merge, PairTable, TextTable, Texts};
use super::unicode::{Characters, SPACE};
use super::vocabulary::{Header, TokenType, Vocabulary};
use super::{Token, bytelevel};

/// An encoder by merges.
pub(super) struct Bpe {
    splitter: Splitter,
    // The text of each symbol: tokens first, then symbols that only merges speak of.
    symbols: Texts,
    table: TextTable,
    pairs: PairTable,
    // The symbol of each single byte.
    bytes: [u32; 256],
    // The token that stands for each byte where no symbol does.
    byte_tokens: [Option<Token>; 256],
    unknown: Option<Token>,
    tokens: u32,
    longest: usize,
    // Per token: whether its own text is encoded as it; found out on first use.
    whole: Box<[AtomicU8]>,
    whole_pieces: bool,
    whole_line_ends: bool,
    // Over characters: where a line can be cut without changing the result.
    cuts: Option<Cuts>,
    // White space has no tokens: what is done with the words between.
    words: Option<Case>,
}

/// What is done with the letters of words.
enum Case {
    Kept,
    Lower,
}

const UNDECIDED: u8 = 0;
const WHOLE: u8 = 1;
const SPLIT: u8 = 2;

impl Bpe {
    /// Builds the tables. Merges are `left right`, separated by the first space that is not at
    /// the beginning, best first.
    pub fn new<'a>(
        vocabulary: &Vocabulary,
        merges: impl ExactSizeIterator<Item = &'a [u8]>,
        header: &Header,
    ) -> Result<Bpe, String> {
        let pre = header.pre;
        let characters = pre.traits.contains(&Trait::Characters);
        let mut symbols = Texts::default();
        let mut table = TextTable::with_capacity(vocabulary.len());
        let mut text = Vec::new();
        let mut longest = 0;
        let spell = |from: &[u8], to: &mut Vec<u8>| {
            if characters {
                to.extend_from_slice(from);
                true
            } else {
                bytelevel::decode(from, to)
            }
        };
        for token in 0..vocabulary.len() as u32 {
            let kind = vocabulary.token_type(token);
            // User-defined tokens are not written in the byte alphabet, and are found in text
            // before anything is merged.
            let spelled = kind.is_matched() && (characters || kind != TokenType::UserDefined);
            text.clear();
            let in_text =
                spelled && { spell(vocabulary.text(token), &mut text) && !text.is_empty() };
            if in_text {
                symbols.push(&text)?;
                if table.insert(&symbols, token).is_some() {
                    // The first of equal tokens is the one that text becomes.
                    symbols.empty_last();
                }
                longest = longest.max(text.len());
            } else {
                symbols.push(&[])?;
            }
        }
        let count = merges.len();
        if vocabulary.len() + 3 * count > MAX_SYMBOLS {
            return Err(format!("{count} merges are more than can be held"));
        }
        let pairs = read_merges(merges, &mut symbols, &mut table, spell)?;
        let mut bytes = [u32::MAX; 256];
        if !characters {
            for byte in 0..=255u8 {
                bytes[usize::from(byte)] = match table.find(&symbols, &[byte]) {
                    Some(symbol) => symbol,
                    None => symbols.push(&[byte])?,
                };
            }
        }
        Ok(Bpe {
            splitter: Splitter::new(pre.stages)?,
            cuts: characters.then(|| Cuts::new(&symbols)),
            byte_tokens: byte_tokens(vocabulary),
            unknown: vocabulary.special.unknown,
            tokens: vocabulary.len() as u32,
            whole: (0..vocabulary.len())
                .map(|_| AtomicU8::new(UNDECIDED))
                .collect(),
            whole_pieces: pre.traits.contains(&Trait::WholePieces),
            whole_line_ends: pre.traits.contains(&Trait::WholeLineEnds),
            words: match (pre.traits.contains(&Trait::DropsSpace), header.lowercase) {
                (false, _) => None,
                (true, false) => Some(Case::Kept),
                (true, true) => Some(Case::Lower),
            },
            symbols,
            table,
            pairs,
            bytes,
            longest,
        })
    }

    /// Appends the tokens of a text.
    pub fn encode(&self, text: &str, scratch: &mut Scratch, out: &mut Vec<Token>) {
        if let Some(case) = &self.words {
            return self.words(text, case, scratch, out);
        }
        match &self.cuts {
            None => self.splitter.split(text, &mut |piece| {
                self.piece(piece.as_bytes(), scratch, out);
            }),
            Some(cuts) => {
                let text = text.replace(' ', "▁");
                self.splitter.split(&text, &mut |piece| {
                    if self.whole_line_ends
                        && piece.starts_with('\n')
                        && let Some(token) = self.token(piece.as_bytes())
                    {
                        return out.push(token);
                    }
                    if self.whole_pieces {
                        self.piece(piece.as_bytes(), scratch, out);
                    } else {
                        cuts.each(piece, |word| self.piece(word.as_bytes(), scratch, out));
                    }
                });
            }
        }
    }

    fn words(&self, text: &str, case: &Case, scratch: &mut Scratch, out: &mut Vec<Token>) {
        let characters = Characters::get();
        for word in text.split(|c| characters.classes(c) & SPACE != 0) {
            match case {
                Case::Kept => self.piece(word.as_bytes(), scratch, out),
                Case::Lower => {
                    let lower = word.chars().filter_map(|c| c.to_lowercase().next());
                    self.piece(lower.collect::<String>().as_bytes(), scratch, out);
                }
            }
        }
    }

    /// Appends tokens for bytes that are no text. Where the vocabulary lacks one of them, they
    /// are U+FFFD, as a reader would see them.
    pub fn encode_bytes(&self, bytes: &[u8], scratch: &mut Scratch, out: &mut Vec<Token>) {
        if bytes.iter().any(|&byte| self.byte(byte).is_none()) {
            self.encode("\u{fffd}", scratch, out);
        } else if self.cuts.is_none() {
            self.merge(bytes, scratch);
            self.emit(bytes, scratch, out);
        } else {
            out.extend(bytes.iter().filter_map(|&byte| self.byte(byte)));
        }
    }

    /// The token whose text is the piece.
    fn token(&self, piece: &[u8]) -> Option<Token> {
        if piece.len() > self.longest {
            return None;
        }
        let token = self.table.find(&self.symbols, piece);
        token.filter(|&token| token < self.tokens)
    }

    fn piece(&self, piece: &[u8], scratch: &mut Scratch, out: &mut Vec<Token>) {
        if let Some(token) = self.token(piece) {
            if self.whole_pieces {
                return out.push(token);
            }
            // Whether merging arrives at this token depends on nothing but its text, so it is
            // found out once. Threads may find it out twice; they agree.
            let whole = &self.whole[token as usize];
            match whole.load(Ordering::Relaxed) {
                WHOLE => return out.push(token),
                UNDECIDED => {
                    self.merge(piece, scratch);
                    let is_whole = matches!(&scratch.symbols[..], [one] if one.number == token);
                    whole.store(if is_whole { WHOLE } else { SPLIT }, Ordering::Relaxed);
                    return self.emit(piece, scratch, out);
                }
                _ => {}
            }
        }
        self.merge(piece, scratch);
        self.emit(piece, scratch, out);
    }

    /// Leaves the merged symbols of a piece in the scratch.
    fn merge(&self, piece: &[u8], scratch: &mut Scratch) {
        scratch.symbols.clear();
        match (&self.cuts, std::str::from_utf8(piece)) {
            (Some(_), Ok(text)) => {
                scratch
                    .symbols
                    .extend(text.char_indices().map(|(start, c)| {
                        let mut buffer = [0; 4];
                        let c = c.encode_utf8(&mut buffer).as_bytes();
                        Symbol {
                            start: start as u32,
                            number: self.table.find(&self.symbols, c).unwrap_or(u32::MAX),
                        }
                    }));
            }
            _ => scratch
                .symbols
                .extend(piece.iter().enumerate().map(|(start, &byte)| Symbol {
                    start: start as u32,
                    number: self.bytes[usize::from(byte)],
                })),
        }
        scratch.merge(piece, self);
    }

    /// Appends the tokens of the symbols in the scratch, which are those of the piece.
    fn emit(&self, piece: &[u8], scratch: &Scratch, out: &mut Vec<Token>) {
        for (index, symbol) in scratch.symbols.iter().enumerate() {
            if symbol.number < self.tokens {
                out.push(symbol.number);
                continue;
            }
            let next = scratch.symbols.get(index + 1);
            let end = next.map_or(piece.len(), |next| next.start as usize);
            // A byte without a token is the unknown token, or nothing where there is neither.
            let bytes = piece[symbol.start as usize..end].iter();
            out.extend(bytes.filter_map(|&byte| self.byte(byte).or(self.unknown)));
        }
    }

    /// The token of a byte.
    fn byte(&self, byte: u8) -> Option<Token> {
        let symbol = self.bytes[usize::from(byte)];
        let own = (symbol < self.tokens).then_some(symbol);
        own.or(self.byte_tokens[usize::from(byte)])
    }
}

/// Merges whose symbols are looked up together.
const BLOCK: usize = 256;

/// The merges as a table of pairs of symbols. `spell` appends the bytes that a symbol of the file
/// stands for, or says that it stands for none.
fn read_merges<'a>(
    merges: impl ExactSizeIterator<Item = &'a [u8]>,
    symbols: &mut Texts,
    table: &mut TextTable,
    spell: impl Fn(&[u8], &mut Vec<u8>) -> bool,
) -> Result<PairTable, String> {
    let mut pairs = PairTable::with_capacity(merges.len());
    let mut merges = merges.enumerate().peekable();
    // Merges mostly make the tokens in their order: looking at the one after the last, and at
    // the last again, saves a search.
    let mut last = 0;
    // Of a block: the bytes of both symbols end to end, where each ends, and the rank.
    let mut bytes = Vec::new();
    let mut spelled: Vec<(usize, usize, u32)> = Vec::with_capacity(BLOCK);
    let mut found = Vec::new();
    let mut block = Vec::with_capacity(BLOCK);
    while merges.peek().is_some() {
        bytes.clear();
        spelled.clear();
        for (rank, merge) in merges.by_ref().take(BLOCK) {
            let Some(space) = merge.iter().skip(1).position(|&byte| byte == b' ') else {
                return Err(format!("merge {rank} is not two symbols"));
            };
            let (left, right) = (&merge[..space + 1], &merge[space + 2..]);
            let start = bytes.len();
            let left = spell(left, &mut bytes);
            let middle = bytes.len();
            if left && spell(right, &mut bytes) {
                spelled.push((middle, bytes.len(), rank as u32));
            } else {
                // Written outside the alphabet: no text can ever contain it.
                bytes.truncate(start);
            }
        }
        found.clear();
        let starts = [0]
            .into_iter()
            .chain(spelled.iter().map(|&(_, end, _)| end));
        let both = starts
            .zip(&spelled)
            .flat_map(|(start, &(middle, end, _))| [&bytes[start..middle], &bytes[middle..end]]);
        table.find_all(symbols, both, &mut found);
        block.clear();
        let mut start = 0;
        for (&(middle, end, rank), found) in spelled.iter().zip(found.as_chunks::<2>().0) {
            let (joined, split) = (&bytes[start..end], middle - start);
            start = end;
            let mut number = |known: Option<u32>, text: &[u8]| match known {
                Some(number) => Ok(number),
                None => intern(symbols, table, text),
            };
            let left = number(found[0], &joined[..split])?;
            let right = number(found[1], &joined[split..])?;
            let guess = [last, last + 1]
                .into_iter()
                .find(|&n| symbols.get(n) == joined);
            let symbol = match guess {
                Some(guess) => guess,
                None => intern(symbols, table, joined)?,
            };
            last = symbol;
            block.push((left, right, Merge { rank, symbol }));
        }
        pairs.insert_all(&block);
    }
    Ok(pairs)
}

/// The number of a text, which is entered if it is new.
fn intern(symbols: &mut Texts, table: &mut TextTable, text: &[u8]) -> Result<u32, String> {
    if let Some(number) = table.find(symbols, text) {
        return Ok(number);
    }
    let number = symbols.push(text)?;
    table.insert(symbols, number);
    Ok(number)
}

impl Merges for Bpe {
    fn merge(&self, _: &[u8], left: u32, right: u32) -> Option<Merge> {
        self.pairs.find(left, right)
    }
}

impl TokenType {
    /// Whether a token of this type can come out of plain text.
    pub(super) fn is_matched(self) -> bool {
        !matches!(
            self,
            TokenType::Control | TokenType::Unknown | TokenType::Byte
        )
    }
}
