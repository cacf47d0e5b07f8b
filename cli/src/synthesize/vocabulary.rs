//! A vocabulary of any size that tokenizes any text: what SentencePiece would have learnt from a
//! language in which every word is as likely as any other.

use yareta::gguf::{Array, Writer};

/// Token types of GGUF files.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// Sets the keys of a vocabulary of `size` tokens: `<unk>`, `<s>`, `</s>`, the 256 bytes, then
/// characters, then words, each made of two pieces that come before it.
pub fn set(writer: &mut Writer, size: usize) -> yareta::Result<()> {
    let special = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)];
    let special = special.map(|(text, kind)| (text.to_string(), kind));
    let bytes = (0..=255u8).map(|byte| (format!("<0x{byte:02X}>"), BYTE));
    let pieces = pieces().map(|piece| (piece, NORMAL));
    let tokens = special.into_iter().chain(bytes).chain(pieces).take(size);
    let (texts, types): (Vec<String>, Vec<i32>) = tokens.unzip();
    // Pieces with a higher score are merged first: here, those that come first.
    let ordinary = |position: usize| position.saturating_sub(special_count()) as f32;
    let scores: Vec<f32> = (0..size).map(|position| -ordinary(position)).collect();
    writer
        .set("tokenizer.ggml.model", "llama")?
        .set("tokenizer.ggml.pre", "default")?
        .set("tokenizer.ggml.tokens", Array::of_strings(&texts))?
        .set("tokenizer.ggml.scores", scores)?
        .set("tokenizer.ggml.token_type", types)?
        .set("tokenizer.ggml.bos_token_id", 1u32)?
        .set("tokenizer.ggml.eos_token_id", 2u32)?
        .set("tokenizer.ggml.unknown_token_id", 0u32)?
        .set("tokenizer.ggml.add_bos_token", true)?
        .set("tokenizer.ggml.add_eos_token", false)?;
    Ok(())
}

/// Tokens that are no pieces: three special ones and the bytes.
fn special_count() -> usize {
    3 + 256
}

/// Distinct pieces without end, the short ones first.
fn pieces() -> impl Iterator<Item = String> {
    let characters = "▁etaoinsrhldcumfpgwybvkxjqz0123456789ETAOINSRHLDCUMFPGWYBVKXJQZ.,;:!?'\"-()";
    let characters = characters.chars().map(String::from);
    let words = (1..).flat_map(|length| {
        let inside = words(length + 1);
        let starting = words(length).map(|word| format!("▁{word}"));
        starting.chain(inside)
    });
    characters.chain(words)
}

/// Every word of `length` lower-case letters.
fn words(length: u32) -> impl Iterator<Item = String> {
    const LETTERS: &[u8; 26] = b"etaoinsrhldcumfpgwybvkxjqz";
    let count = 26u64.saturating_pow(length);
    (0..count).map(move |number| {
        let letter = |place: u32| LETTERS[(number / 26u64.pow(place) % 26) as usize];
        (0..length)
            .rev()
            .map(|place| char::from(letter(place)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn pieces_are_distinct_and_made_of_earlier_ones() {
        let mut seen = HashSet::new();
        for piece in pieces().take(300_000) {
            let borders = piece.char_indices().skip(1).map(|(at, _)| at);
            let mut parts = borders.map(|at| piece.split_at(at));
            let made = |(left, right)| seen.contains(left) && seen.contains(right);
            assert!(piece.chars().count() == 1 || parts.any(made), "{piece}");
            assert!(seen.insert(piece));
        }
    }
}
