#!/usr/bin/env python3
"""Makes the golden blocks in kernels/tests/data/golden that pin the meaning of every weight format.

For each format `NAME.bin` holds a few blocks of random bytes, with scales that are ordinary,
negative, zero, subnormal and large, and codes that are all zeros and all ones; behind the blocks,
the floats that the reference decoder gives for them, little-endian. `digests.txt` holds for each
format one number over the floats of 512 more blocks, whose bytes the test makes again: it covers
every codebook entry without a large file.

Needs Python with the packages `numpy` and `gguf` (whose NumPy decoders are the reference; Q8_K is
not among them and defined here). To run:

    python3 scripts/golden_blocks.py
"""

from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

OUT = Path(__file__).parent.parent / "kernels" / "tests" / "data" / "golden"

# Where each block has 16-bit floats. IQ1_M spreads one over the tops of four words.
HALVES = {
    "F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "IQ1_S": [0], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0],
    "IQ4_NL": [0], "IQ4_XS": [0], "TQ1_0": [52], "TQ2_0": [64],
}
NAMES = [
    "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K",
    "Q6_K", "Q8_K", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_NL",
    "IQ4_XS", "TQ1_0", "TQ2_0", "MXFP4",
]
# Ordinary, negative, plus and minus zero, subnormal, large.
SCALES = [0.0123, -0.0456, 0.0, -0.0, 3e-6, -6e-8, 60000.0]


def decode(name: str, blocks: np.ndarray) -> np.ndarray:
    if name == "Q8_K":
        scales = blocks[:, :4].copy().view(np.float32)
        return scales * blocks[:, 4:260].view(np.int8).astype(np.float32)
    if name == "F32":
        return blocks.view(np.float32)
    with np.errstate(over="ignore"):  # the largest MXFP4 scale
        return quants.dequantize(blocks, GGMLQuantizationType[name])


def set_half(block: np.ndarray, at: int, value: float) -> None:
    block[at : at + 2] = np.frombuffer(np.float16(value).tobytes(), np.uint8)


def set_scales(name: str, block: np.ndarray, value: float) -> None:
    for i, at in enumerate(HALVES.get(name, [])):
        set_half(block, at, value / (i + 1))
    if name == "Q8_K":
        block[:4] = np.frombuffer(np.float32(value).tobytes(), np.uint8)
    if name == "IQ1_M":
        bits = int(np.float16(value).view(np.uint16))
        for word in range(4):
            high = 48 + 2 * word + 1
            block[high] = (block[high] & 0x0F) | (bits >> (4 * word) & 0xF) << 4


def edge_blocks(name: str, length: int, size: int) -> np.ndarray:
    random = np.random.default_rng(1)
    if length == 1:
        blocks = random.integers(0, 256, (256, size), np.uint8)
        if name == "F16":
            # Widening a signalling NaN quiets it on some machines.
            halves = blocks.view(np.float16)
            halves[np.isnan(halves)] = np.nan
        return blocks
    blocks = random.integers(0, 256, (len(SCALES) + 2, size), np.uint8)
    blocks[-2], blocks[-1] = 0, 255
    for block, scale in zip(blocks, SCALES + [0.25, -0.25]):
        set_scales(name, block, scale)
    if name == "MXFP4":
        blocks[:, 0] = [0, 1, 2, 3, 100, 127, 128, 254, 255]
    return blocks


def splitmix_bytes(seed: int, count: int) -> np.ndarray:
    """The bytes that the test makes too: SplitMix64, little-endian."""
    words = -(-count // 8)
    with np.errstate(over="ignore"):
        state = np.uint64(seed) + np.arange(1, words + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return z.view(np.uint8)[:count]


def digest_blocks(name: str, size: int) -> np.ndarray:
    blocks = splitmix_bytes(int(GGMLQuantizationType[name]), 512 * size).reshape(512, size).copy()
    # Clearing the top bit of the exponent keeps scales finite.
    tops = [at + 1 for at in HALVES.get(name, [])]
    tops += {"Q8_K": [3], "IQ1_M": [55], "F32": [3], "BF16": [1]}.get(name, [])
    blocks[:, tops] &= 0xBF
    return blocks


def digest(floats: np.ndarray) -> int:
    """The bits of each float times an odd number that tells its place, summed modulo 2^64."""
    bits = np.ascontiguousarray(floats).reshape(-1).view(np.uint32).astype(np.uint64)
    places = 2 * np.arange(bits.size, dtype=np.uint64) + np.uint64(1)
    with np.errstate(over="ignore"):
        return int((bits * places).sum())


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    digests = []
    for name in NAMES:
        length, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
        blocks = edge_blocks(name, length, size)
        (OUT / f"{name}.bin").write_bytes(
            blocks.tobytes() + decode(name, blocks).astype("<f4").tobytes()
        )
        digests.append(f"{name} {digest(decode(name, digest_blocks(name, size))):016x}\n")
    (OUT / "digests.txt").write_text("".join(digests))


if __name__ == "__main__":
    main()
