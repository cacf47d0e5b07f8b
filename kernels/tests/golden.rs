//! Every format decodes to the floats that its reference decoder gives, bit for bit.
//!
//! `scripts/golden_blocks.py` makes the data in `tests/data/golden`.

use std::fs;
use std::path::PathBuf;

use yareta_kernels::Format;

/// Blocks whose digest is taken of each format.
const DIGEST_BLOCKS: usize = 512;

#[test]
fn edge_blocks_decode_to_the_reference_bits() {
    for format in Format::ALL {
        let file = read(&format!("{format}.bin"));
        let count = file.len() / (format.block_bytes() + 4 * format.block_len());
        assert!(count >= 9, "{format}: {count} blocks");
        let (blocks, floats) = file.split_at(count * format.block_bytes());
        let (expected, rest) = floats.as_chunks::<4>();
        assert!(rest.is_empty());
        let mut found = vec![0.0; expected.len()];
        format.decode(blocks, &mut found);
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            let expected = f32::from_le_bytes(*expected);
            assert_eq!(
                found.to_bits(),
                expected.to_bits(),
                "{format}, weight {i}: {found:e}, expected {expected:e}"
            );
        }
    }
}

#[test]
fn random_blocks_decode_to_the_reference_digest() {
    let digests = String::from_utf8(read("digests.txt")).unwrap();
    for format in Format::ALL {
        let expected = digests
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{format} ")))
            .unwrap_or_else(|| panic!("no digest of {format}"));
        let mut blocks = splitmix_bytes(format.id(), DIGEST_BLOCKS * format.block_bytes());
        for block in blocks.chunks_exact_mut(format.block_bytes()) {
            for &top in exponent_bytes(format) {
                block[top] &= 0xbf;
            }
        }
        let mut floats = vec![0.0f32; DIGEST_BLOCKS * format.block_len()];
        format.decode(&blocks, &mut floats);
        let digest = floats.iter().enumerate().fold(0u64, |sum, (i, float)| {
            let place = 2 * i as u64 + 1;
            sum.wrapping_add(place.wrapping_mul(u64::from(float.to_bits())))
        });
        assert_eq!(format!("{digest:016x}"), expected, "{format}");
    }
}

/// The bytes that hold the top of an exponent, whose highest bit is cleared to keep scales finite.
fn exponent_bytes(format: Format) -> &'static [usize] {
    match format {
        Format::F16 | Format::BF16 => &[1],
        Format::F32 | Format::Q8_K => &[3],
        Format::Q4_0 | Format::Q5_0 | Format::Q8_0 | Format::IQ4_NL => &[1],
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[1, 3],
        Format::Q2_K => &[81, 83],
        Format::Q3_K => &[109],
        Format::Q6_K => &[209],
        Format::IQ1_M => &[55],
        Format::TQ1_0 => &[53],
        Format::TQ2_0 => &[65],
        Format::MXFP4 => &[],
        // The remaining codebook formats begin with their scale.
        _ => &[1],
    }
}

/// SplitMix64, little-endian.
fn splitmix_bytes(seed: u32, count: usize) -> Vec<u8> {
    let mut state = u64::from(seed);
    let mut bytes = Vec::with_capacity(count + 7);
    while bytes.len() < count {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

fn read(name: &str) -> Vec<u8> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/golden")).join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
