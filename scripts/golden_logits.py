"""Makes tests/data/logits/FORMAT.bin: what llama.cpp computes for the test model in each format.

    cargo build --release
    python scripts/golden_logits.py MODEL.gguf TEXT target/release/yareta

MODEL.gguf is a model of the llama architecture in F32 with widths that are multiples of 256, TEXT a
text file. Needs numpy and llama-cpp-python; the files say with which version they were made. The
test that reads them is tests/logits.rs; neither build nor tests need this script.

A file, all numbers little endian:

    u64  FNV-1a of the quantized file
    u32  prompts, then for each: u32 tokens, then as many u32
    for every token of every prompt, in order:
        f32  natural logarithm of the sum of the exponentials of its logits
        64 x (u16 token, f32 logit), the largest logits first
"""

import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from llama_cpp import Llama, __version__

FORMATS = """F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS
IQ3_S IQ3_XXS IQ2_S IQ2_XS IQ2_XXS IQ1_S IQ1_M TQ1_0 TQ2_0 MXFP4""".split()
PROMPTS = 2
TOKENS = 32
LARGEST = 64


def fnv(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value


def golden(path, text):
    model = Llama(str(path), n_ctx=512, logits_all=True, verbose=False, n_threads=2)
    tokens = model.tokenize(text.encode(), add_bos=False)
    out = [struct.pack("<QI", fnv(path.read_bytes()), PROMPTS)]
    rows = []
    for prompt in range(PROMPTS):
        prompt = [model.token_bos()] + tokens[prompt * 200 :][: TOKENS - 1]
        out.append(struct.pack(f"<I{TOKENS}I", TOKENS, *prompt))
        model.reset()
        model.eval(prompt)
        rows.append(np.array(model.scores[:TOKENS], dtype=np.float64))
    for row in np.concatenate(rows):
        most = row.max()
        out.append(struct.pack("<f", most + np.log(np.exp(row - most).sum())))
        for token in np.argsort(-row, kind="stable")[:LARGEST]:
            out.append(struct.pack("<Hf", token, row[token]))
    return b"".join(out)


def main():
    model, text, program = sys.argv[1:4]
    text = Path(text).read_text()
    print("llama-cpp-python", __version__)
    target = Path(__file__).parent.parent / "tests" / "data" / "logits"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[4:] or FORMATS:
            path = Path(folder) / f"{name}.gguf"
            subprocess.run([program, "quantize", model, path, name], check=True)
            try:
                data = golden(path, text)
            except ValueError as error:
                print(name, "cannot be loaded:", error)
                continue
            (target / f"{name}.bin").write_bytes(data)
            print(name, len(data))
            path.unlink()


main()
