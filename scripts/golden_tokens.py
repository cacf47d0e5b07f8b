#!/usr/bin/env python3
"""Records what another engine makes of many lines of text, as golden data for tests/tokenizer.rs.

Needs llama-cpp-python and a folder of vocabulary files (GGUF without tensors). Nothing that is
built, tested or run needs this script.

    golden_tokens.py lines OUT.json             writes the generated lines (seeded, repeatable)
    golden_tokens.py hashes VOCAB LINES OUT     writes one 32-bit hash a line for one vocabulary
    golden_tokens.py tokens VOCAB LINES OUT     writes the token ids themselves, to look at

Lines are a JSON array of strings. A hash is FNV-1a over the little-endian 32-bit token ids of the
line encoded with special tokens as text, then 2^32 - 1, then those with special tokens parsed;
no token is added before or after. Hashes are little-endian 32-bit integers.
"""

import json
import random
import struct
import sys

SCRIPTS = {
    "latin": (0x41, 0x24F), "greek": (0x370, 0x3FF), "cyrillic": (0x400, 0x4FF),
    "armenian": (0x531, 0x58F), "hebrew": (0x591, 0x5F4), "arabic": (0x600, 0x6FF),
    "syriac": (0x700, 0x74F), "devanagari": (0x900, 0x97F), "bengali": (0x980, 0x9FE),
    "tamil": (0xB82, 0xBFA), "thai": (0xE01, 0xE5B), "lao": (0xE81, 0xEDF),
    "tibetan": (0xF00, 0xFDA), "georgian": (0x10A0, 0x10FF), "hangul jamo": (0x1100, 0x11FF),
    "ethiopic": (0x1200, 0x137C), "cherokee": (0x13A0, 0x13FD), "khmer": (0x1780, 0x17F9),
    "mongolian": (0x1800, 0x18AA), "greek extended": (0x1F00, 0x1FFE),
    "hiragana": (0x3041, 0x309F), "katakana": (0x30A0, 0x30FF), "bopomofo": (0x3105, 0x312F),
    "han": (0x4E00, 0x9FA5), "han a": (0x3400, 0x4DB5), "yi": (0xA000, 0xA48C),
    "hangul": (0xAC00, 0xD7A3), "full width": (0xFF01, 0xFFEE), "gothic": (0x10330, 0x1034A),
    "mathematical": (0x1D400, 0x1D7FF), "han b": (0x20000, 0x2A6D6),
}
WORDS = """the quick brown fox jumps over lazy dog once upon a time there was little girl who
loved to play outside in park and she said that it's we're they've I'm he'll you'd can't WON'T
Don'T function return value while for if else import struct self.tokens println! printf HTTP JSON
Straße naïve café garçon über señor façade résumé coöperate Москва Здравствуй привет καλημέρα
東京 日本語 中文分词 안녕하세요 שלום مرحبا नमस्ते สวัสดี tokenization antidisestablishmentarianism
internationalization iPhone eBay getUserName parseHTTPResponse snake_case_name SCREAMING_CASE
3.14159 1,000,000 0x7fff 2024-01-31 12:34:56 50% $99.99 #hashtag @user user@example.com
https://example.com/path?query=1&other=two#frag C++ C# .NET node.js e.g. i.e. etc. Mr. Dr.""".split()
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "❤️", "☃", "🧑‍💻", "1️⃣", "🤦🏼‍♂️", "✅", "→", "…", "™", "½", "²", "Ⅷ", "①"]
SPACES = [" ", "  ", "   ", "    ", "\t", "\n", "\r\n", "\n\n", " \n", "\n ", "\t\t", "\u00a0", "\u3000",
          "\u2003", "\u2009", "\u2028", "\u0085", "\x0b", "\x0c", "\u200b", "\ufeff", "        "]
CONTROL = ["\x00", "\x01", "\x07", "\x1b[0m", "\x7f", "\u0080", "\u200d", "\u202e", "\ufffd", "\ue000", "\U000f0000",
           "\u0378", "\U0001ffff"]
CODE = ["fn main() {", "    let x: Vec<u32> = vec![1, 2, 3];", "}", "if (a && b || !c) { return 0; }",
        "for (int i = 0; i < n; ++i)", "def f(self, *args, **kwargs) -> None:", "\tprint(f\"{x!r:>10}\")",
        "SELECT * FROM t WHERE a >= 'b' -- note", "<div class=\"a\">&nbsp;</div>", "a[i]->b.c |= 0xFF << 3;",
        "#include <stdio.h>", "// comment ---- ====", "/* *** */", "x = y ** 2 // 3 % 4", "$ ls -la | grep '^d'",
        "```rust", "\\begin{align} \\frac{1}{2} \\end{align}", "{\"key\": [null, true, 1e-9]}", "!!!???...,,,;;;:::"]
SPECIAL = ["<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<0x0A>", "[CLS]", "[SEP]", "[MASK]",
           "[UNK]", "<|padding|>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<|EOT|>", "<SEP>", "▁", "▁▁the", "Ġ",
           "Ċ", "##ing", "<pad>", "<｜fim▁hole｜>", "User:", "<reserved_0>"]
MARKS = "".join(chr(c) for c in range(0x300, 0x370)) + "\u093c\u094d\u0e31\u20e3\ufe0f"


def piece(r):
    kind = r.randrange(15)
    if kind < 4:
        return " ".join(r.choice(WORDS) for _ in range(r.randrange(1, 8)))
    if kind == 4:
        low, high = SCRIPTS[r.choice(sorted(SCRIPTS))]
        return "".join(chr(r.randint(low, high)) for _ in range(r.randrange(1, 14)))
    if kind == 5:
        return "".join(r.choice(EMOJI) for _ in range(r.randrange(1, 4)))
    if kind == 6:
        return "".join(r.choice(SPACES) for _ in range(r.randrange(1, 6)))
    if kind == 7:
        return r.choice(CONTROL)
    if kind == 8:
        return r.choice(CODE)
    if kind == 9:
        return "".join(r.choice("0123456789") for _ in range(r.randrange(1, 30)))
    if kind == 10:
        return "".join(c + "".join(r.choice(MARKS) for _ in range(r.randrange(3))) for c in r.choice(WORDS))
    if kind == 11:
        return r.choice(SPECIAL)
    if kind == 12:
        return "".join(r.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") for _ in range(r.randrange(1, 9)))
    if kind == 13:
        return r.choice("abcxyzAZ =-_*#.\n 0é中") * r.randrange(2, 80)
    word = r.choice(WORDS)
    return "".join(r.choice([c.upper(), c.lower()]) for c in word)


def lines(count=6000, seed=20240229):
    r = random.Random(seed)
    result = []
    while len(result) < count:
        glue = r.choice(["", "", " ", "\n", None])
        parts = [piece(r) for _ in range(r.randrange(1, 6))]
        text = "".join(p + (r.choice(SPACES) if glue is None else glue) for p in parts)
        if "\x00" not in text or r.random() < 0.3:
            result.append(text)
    return result


def load(path):
    from llama_cpp import Llama
    return Llama(model_path=path, vocab_only=True, verbose=False)


def encode(model, text, special):
    return model.tokenize(text.encode("utf-8"), add_bos=False, special=special)


def fnv(ids):
    value = 0x811C9DC5
    for byte in struct.pack(f"<{len(ids)}I", *ids):
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def main():
    command = sys.argv[1]
    if command == "lines":
        with open(sys.argv[2], "w") as out:
            texts = (json.dumps(line, ensure_ascii=False) for line in lines())
            out.write("[\n" + ",\n".join(texts) + "\n]\n")
        return
    vocabulary, source, target = sys.argv[2:5]
    model = load(vocabulary)
    with open(source) as file:
        texts = json.load(file)
    if command == "hashes":
        values = [fnv(encode(model, t, False) + [0xFFFFFFFF] + encode(model, t, True)) for t in texts]
        with open(target, "wb") as out:
            out.write(struct.pack(f"<{len(values)}I", *values))
    elif command == "tokens":
        with open(target, "w") as out:
            json.dump([[encode(model, t, False), encode(model, t, True)] for t in texts], out)


main()
