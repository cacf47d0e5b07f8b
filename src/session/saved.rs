//! Sessions as bytes.
//!
//! ```text
//! "yaretaKV"   8 bytes
//! version      u32, 2
//! fingerprint  u64, of the model
//! type         u32, of the cache: 0 for f16, 1 for q8_0, 2 for q16
//! tokens       u32 count, then as many u32
//! positions    for each token and layer what `KvLayer::save` writes
//! ```
//!
//! All numbers little endian. The length is exact: one byte more or less is an error.

use super::Session;
use crate::{Error, KvType, Result, Token};

const MAGIC: &[u8; 8] = b"yaretaKV";
const VERSION: u32 = 2;
const HEADER: usize = 8 + 4 + 8 + 4 + 4;

/// The bytes of a session.
pub(super) fn write(session: &Session) -> Result<Vec<u8>> {
    let tokens = session.tokens();
    let length = length(session, tokens.len());
    let mut bytes = Vec::new();
    let reserved = length.is_some_and(|length| bytes.try_reserve_exact(length).is_ok());
    if !reserved {
        return Err(Error::Memory {
            what: "a saved session",
            bytes: length.map_or(u64::MAX, |length| length as u64),
        });
    }
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&session.model.fingerprint().to_le_bytes());
    bytes.extend_from_slice(&kind(session).to_le_bytes());
    bytes.extend_from_slice(&(tokens.len() as u32).to_le_bytes());
    for token in tokens {
        bytes.extend_from_slice(&token.to_le_bytes());
    }
    for index in 0..tokens.len() {
        let first = bytes.len();
        bytes.resize(first + session.cache.position_bytes(), 0);
        session.cache.save(index, &mut bytes[first..]);
    }
    Ok(bytes)
}

/// The number of the type of the session's cache.
fn kind(session: &Session) -> u32 {
    match session.cache.kind() {
        KvType::Q8_0 => 1,
        KvType::Q16 => 2,
        _ => 0,
    }
}

/// Checks all of `bytes`, then makes the session what they say.
pub(super) fn read(session: &mut Session, bytes: &[u8]) -> Result<()> {
    let mut rest = bytes;
    if take(&mut rest) != Some(*MAGIC) {
        return Err(bad("these are not the bytes of a session"));
    }
    let version = take(&mut rest).map(u32::from_le_bytes);
    if version != Some(VERSION) {
        return Err(bad("it is of another version"));
    }
    let fingerprint = take(&mut rest).map(u64::from_le_bytes);
    if fingerprint != Some(session.model.fingerprint()) {
        return Err(bad("it is of another model"));
    }
    if take(&mut rest).map(u32::from_le_bytes) != Some(kind(session)) {
        return Err(bad("its keys and values are stored in another way"));
    }
    let count = take(&mut rest).map(u32::from_le_bytes);
    let count = count.ok_or_else(|| bad("it is cut off"))? as usize;
    if length(session, count) != Some(bytes.len()) {
        return Err(bad("its length is not that of its tokens"));
    }
    if count > session.context {
        return Err(Error::ContextFull {
            needed: count,
            limit: session.context,
        });
    }
    let (tokens, positions) = rest.split_at(count * size_of::<Token>());
    let tokens = tokens
        .as_chunks()
        .0
        .iter()
        .map(|bytes| u32::from_le_bytes(*bytes));
    let vocabulary = session.model.vocabulary();
    if tokens.clone().any(|token| token as usize >= vocabulary) {
        return Err(bad("it has a token that is not in the vocabulary"));
    }

    session.truncate(0);
    let per_position = session.cache.position_bytes();
    for (index, bytes) in positions.chunks_exact(per_position).enumerate() {
        session.cache.restore(index, bytes);
    }
    session.tokens.extend(tokens);
    Ok(())
}

/// Bytes of a session of `tokens` tokens.
fn length(session: &Session, tokens: usize) -> Option<usize> {
    let per_token = session
        .cache
        .position_bytes()
        .checked_add(size_of::<Token>())?;
    tokens.checked_mul(per_token)?.checked_add(HEADER)
}

/// The next bytes.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn bad(reason: &str) -> Error {
    Error::SavedState {
        reason: reason.into(),
    }
}
