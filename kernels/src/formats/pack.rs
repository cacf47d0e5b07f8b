//! How codes of few bits share bytes, where several formats do it alike.

/// Byte i: high nibble = code i + `BYTES` | low nibble = bits 0–3 of code i. There are
/// 2 × `BYTES` codes.
pub(super) fn nibbles<const BYTES: usize>(codes: &[u8]) -> [u8; BYTES] {
    std::array::from_fn(|i| codes[i] & 15 | (codes[i + BYTES] & 15) << 4)
}

/// Nibbles of 256 codes: each 2 × `RUN` codes are packed as [`nibbles`] does.
pub(super) fn nibble_runs<const RUN: usize>(codes: &[u8; 256]) -> [u8; 128] {
    std::array::from_fn(|i| {
        let first = i / RUN * 2 * RUN + i % RUN;
        codes[first] & 15 | (codes[first + RUN] & 15) << 4
    })
}

/// Byte 32 h + i: bits 2 k and 2 k + 1 = bits `from` and `from` + 1 of code 128 h + 32 k + i.
pub(super) fn quarters(codes: &[u8; 256], from: u32) -> [u8; 64] {
    std::array::from_fn(|i| {
        let first = i / 32 * 128 + i % 32;
        (0..4).fold(0, |byte, k| {
            byte | (codes[first + 32 * k] >> from & 3) << (2 * k)
        })
    })
}

/// Byte i: bit b = bit `bit` of code 32 b + i.
pub(super) fn planes(codes: &[u8; 256], bit: u32) -> [u8; 32] {
    std::array::from_fn(|i| (0..8).fold(0, |byte, b| byte | (codes[32 * b + i] >> bit & 1) << b))
}

/// Bit i = bit 4 of code i.
pub(super) fn fifth_bits(codes: &[u8; 32]) -> u32 {
    codes
        .iter()
        .rev()
        .fold(0, |bits, &code| bits << 1 | u32::from(code >> 4 & 1))
}

/// Byte i: high nibble = step 2 i + 1 | low nibble = step 2 i.
pub(super) fn neighbours<const BYTES: usize>(steps: &[i16]) -> [u8; BYTES] {
    std::array::from_fn(|i| steps[2 * i] as u8 & 15 | (steps[2 * i + 1] as u8 & 15) << 4)
}
