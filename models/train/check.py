"""Measures checkpoint.pt of the working directory on a text, as `yareta perplexity` does.

    python check.py TEXT [WINDOWS]

If export.py wrote what train.py trained, `yareta perplexity TEXT -m OUT.gguf --windows WINDOWS`
gives the same perplexity: the weights are F32, so that four digits agree.

Needs what train.py needs, and sentencepiece.
"""

import math
import sys
from pathlib import Path

import sentencepiece
import torch
import torch.nn.functional as F

from train import Model

WINDOW, BEGIN = 512, 1


def load():
    state = torch.load("checkpoint.pt", map_location="cpu")
    layers = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("layers."))
    model = Model(state["emb"].shape[1], state["layers.0.w1"].shape[0], layers)
    model.load_state_dict(state)
    return model


@torch.no_grad()
def main():
    text = Path(sys.argv[1]).read_bytes().decode()  # line ends as they are
    vocabulary = sentencepiece.SentencePieceProcessor(model_file="tok.model")
    tokens = torch.tensor([BEGIN, *vocabulary.encode(text)])
    windows = list(tokens.unfold(0, WINDOW, WINDOW))
    if len(sys.argv) > 2:
        windows = windows[: int(sys.argv[2])]
    model = load()
    losses = []
    for window in windows:
        window = window.clone()
        window[0] = BEGIN
        # The second half of each window is scored.
        logits = model.logits(window[None, :-1])[0, WINDOW // 2 :]
        losses.append(F.cross_entropy(logits, window[WINDOW // 2 + 1 :], reduction="none"))
    losses = torch.cat(losses)
    print(f"perplexity {math.exp(losses.mean()):.4f} of {len(losses)} tokens")


if __name__ == "__main__":
    main()
