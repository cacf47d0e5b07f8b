//! Sessions as bytes.
//!
//! ```text
//! "yaretaKV"   8 bytes
//! version      u32, 1
//! fingerprint  u64, of the model
//! tokens       u32 count, then as many u32
//! positions    for each token (layers, kv_heads, key_dim) and (.., value_dim), 16-bit floats
//! ```
//!
//! All numbers little endian. The length is exact: one byte more or less is an error.

use half::f16;

use super::Session;
use crate::{Error, Result, Token};

const MAGIC: &[u8; 8] = b"yaretaKV";
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 8 + 4;

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
    bytes.extend_from_slice(&(tokens.len() as u32).to_le_bytes());
    for token in tokens {
        bytes.extend_from_slice(&token.to_le_bytes());
    }
    let mut position = vec![0.0; session.cache.position_len()];
    for index in 0..tokens.len() {
        session.cache.load(index, &mut position);
        // Exact: the cache holds nothing but 16-bit floats.
        let halves = position.iter().map(|value| f16::from_f32(*value));
        bytes.extend(halves.flat_map(f16::to_le_bytes));
    }
    Ok(bytes)
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
    let cpu = session.model.parts().cpu;
    let per_position = session.cache.position_len();
    let mut position = vec![0.0; per_position];
    for (index, bytes) in positions.chunks_exact(per_position * 2).enumerate() {
        for (value, half) in position.iter_mut().zip(bytes.as_chunks().0) {
            *value = f16::from_le_bytes(*half).to_f32();
        }
        session.cache.store(cpu, index, &position);
    }
    session.tokens.extend(tokens);
    Ok(())
}

/// Bytes of a session of `tokens` tokens.
fn length(session: &Session, tokens: usize) -> Option<usize> {
    let positions = session.cache.position_len().checked_mul(2)?;
    let per_token = positions.checked_add(size_of::<Token>())?;
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
