#!/usr/bin/env python3
"""Makes the bitmaps in kernels/src/formats/grids.rs: the codebooks of the IQ formats.

A codebook is a set of points of a small lattice: eight digits of base 3, or four of base 8. The
formats number the points in the order of the lattice, the last weight being the most significant
digit, so that one bit per lattice point tells both which points are in the book and their
indices.

Needs Python with the packages `numpy` and `gguf`, whose decoders define the codebooks. Prints the
Rust constants:

    python3 scripts/grids.py
"""

from gguf import quants

BOOKS = ["IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S"]

for name in BOOKS:
    book = getattr(quants, name)
    book.init_grid()
    points = book.grid.reshape(book.grid_shape)
    levels = list(book.grid_map)
    ranks = [
        sum(levels.index(value) * len(levels) ** digit for digit, value in enumerate(point))
        for point in points
    ]
    assert ranks == sorted(set(ranks)), "indices follow the order of the lattice"
    lattice = len(levels) ** book.grid_shape[1]
    words = [0] * -(-lattice // 64)
    for rank in ranks:
        words[rank // 64] |= 1 << (rank % 64)
    print("#[rustfmt::skip]")
    print(f"const {name}_POINTS: [u64; {len(words)}] = [")
    for start in range(0, len(words), 4):
        print("    " + " ".join(f"0x{word:016x}," for word in words[start : start + 4]))
    print("];\n")
