"""Trains a small model of the llama architecture on the arrays that prepare.py made.

    python train.py [--minutes 30] [--layers 4] [--width 256] [--hidden 768] [--compile] …

Writes checkpoint.pt now and then and at the end. Batches move from books to stories as training
goes on: books give grammar and words, stories the manner. Matrices of layers are updated with Muon
(orthogonalized momentum, https://kellerjordan.github.io/posts/muon/), everything else with AdamW.
Two CPU cores do about 5,000 tokens a second with the default sizes and --compile; a GPU does
thousands of times that, and then more layers and far more steps are cheap.

Needs numpy and torch.
"""

import argparse
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

VOCABULARY, HEADS, KV_HEADS, POSITIONS = 4096, 8, 4, 1024
HELD_OUT = 20_000  # tokens at the end of each array
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--sequence", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--rate", type=float, default=0.02, help="learning rate of the matrices")
    parser.add_argument("--warm-up", type=int, default=60, help="steps")
    parser.add_argument("--stories", type=float, nargs=2, default=(0.3, 0.7),
                        help="share of stories at the beginning and at the end")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--resume", action="store_true", help="go on from checkpoint.pt")
    return parser.parse_args()


def rotate(x, cosines, sines):
    """Rotary positions: x is (batch, time, heads, head), its pairs are adjacent elements."""
    a, b = x[..., 0::2], x[..., 1::2]
    turned = torch.stack([a * cosines - b * sines, a * sines + b * cosines], -1)
    return turned.flatten(-2).to(x.dtype)


class Layer(nn.Module):
    """Attention with grouped keys, then a gated network; names are those that export.py reads."""

    def __init__(self, width, hidden, layers):
        super().__init__()
        self.head = width // HEADS
        into_residual = 0.5 / math.sqrt(layers)

        def matrix(rows, cols, scale=1.0):
            return nn.Parameter(torch.randn(rows, cols) * scale / math.sqrt(cols))

        self.an = nn.Parameter(torch.ones(width))
        self.fn = nn.Parameter(torch.ones(width))
        self.wq = matrix(width, width)
        self.wk = matrix(KV_HEADS * self.head, width)
        self.wv = matrix(KV_HEADS * self.head, width)
        self.wo = matrix(width, width, into_residual)
        self.w1 = matrix(hidden, width)
        self.w3 = matrix(hidden, width)
        self.w2 = matrix(width, hidden, into_residual)

    def forward(self, x, cosines, sines):
        batch, length, width = x.shape
        a = F.rms_norm(x, (width,), self.an, 1e-5)
        q = F.linear(a, self.wq).view(batch, length, HEADS, self.head)
        k = F.linear(a, self.wk).view(batch, length, KV_HEADS, self.head)
        v = F.linear(a, self.wv).view(batch, length, KV_HEADS, self.head)
        q, k = rotate(q, cosines, sines), rotate(k, cosines, sines)
        k = k.repeat_interleave(HEADS // KV_HEADS, 2)
        v = v.repeat_interleave(HEADS // KV_HEADS, 2)
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + F.linear(y.transpose(1, 2).reshape(batch, length, width), self.wo)
        f = F.rms_norm(x, (width,), self.fn, 1e-5)
        return x + F.linear(F.silu(F.linear(f, self.w1)) * F.linear(f, self.w3), self.w2)


class Model(nn.Module):
    """Tokens in, loss per token out. The embeddings are the output matrix too."""

    def __init__(self, width, hidden, layers):
        super().__init__()
        self.emb = nn.Parameter(torch.randn(VOCABULARY, width) * 0.02)
        self.norm = nn.Parameter(torch.ones(width))
        self.layers = nn.ModuleList(Layer(width, hidden, layers) for _ in range(layers))
        head = width // HEADS
        frequencies = 1 / (10_000 ** (torch.arange(0, head, 2) / head))
        angles = torch.outer(torch.arange(POSITIONS), frequencies)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def logits(self, tokens):
        length = tokens.shape[1]
        x = F.embedding(tokens, self.emb)
        cosines, sines = self.cosines[None, :length, None], self.sines[None, :length, None]
        for layer in self.layers:
            x = layer(x, cosines, sines)
        return F.linear(F.rms_norm(x, self.norm.shape, self.norm, 1e-5), self.emb)

    def forward(self, tokens, targets):
        logits = self.logits(tokens).view(-1, VOCABULARY)
        return F.cross_entropy(logits.float(), targets.reshape(-1))


def orthogonalized(gradients):
    """The nearest orthogonal matrices, roughly: five Newton-Schulz steps in bfloat16."""
    x = gradients.bfloat16()
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if tall else x).float()


class Muon:
    """Momentum 0.95 with weight decay 0.1; matrices of one shape are updated together."""

    def __init__(self, matrices):
        self.matrices = matrices
        self.momenta = [torch.zeros_like(matrix) for matrix in matrices]
        self.groups = {}
        for index, matrix in enumerate(matrices):
            self.groups.setdefault(tuple(matrix.shape), []).append(index)

    @torch.no_grad()
    def step(self, rate):
        for (rows, cols), indices in self.groups.items():
            looked_ahead = []
            for index in indices:
                gradient, momentum = self.matrices[index].grad, self.momenta[index]
                momentum.lerp_(gradient, 0.05)
                looked_ahead.append(gradient.lerp(momentum, 0.95))
            updates = orthogonalized(torch.stack(looked_ahead))
            scale = max(1, rows / cols) ** 0.5
            for update, index in zip(updates, indices):
                self.matrices[index].mul_(1 - rate * 0.1).add_(update, alpha=-rate * scale)


class Data:
    """Batches of both kinds of text, and what is held out of them."""

    def __init__(self, batch, sequence):
        self.batch, self.sequence = batch, sequence
        stories = np.load("stories.npy").astype(np.int64)
        books = np.load("books.npy").astype(np.int64)
        self.stories, self.books = stories[:-HELD_OUT], books[:-HELD_OUT]
        self.held_out = {"stories": stories[-HELD_OUT:], "books": books[-HELD_OUT:]}
        self.starts = np.flatnonzero(self.stories[: -sequence - 2] == 1)
        self.random = np.random.default_rng(0)

    def draw(self, share_of_stories):
        rows = np.empty((self.batch, self.sequence + 1), np.int64)
        for row in rows:
            if self.random.random() < share_of_stories:
                text = self.stories
                at_start = self.random.random() < 0.7
                start = self.random.choice(self.starts) if at_start else None
            else:
                text, start = self.books, None
            if start is None:
                start = self.random.integers(0, len(text) - self.sequence - 2)
            row[:] = text[start : start + self.sequence + 1]
        return torch.from_numpy(rows).to(DEVICE)

    @torch.no_grad()
    def losses(self, model):
        results = {}
        for name, tokens in self.held_out.items():
            count = len(tokens) // (self.sequence + 1)
            rows = tokens[: count * (self.sequence + 1)].reshape(count, -1)
            rows = torch.from_numpy(rows).to(DEVICE)
            batches = range(0, count - self.batch + 1, self.batch)
            parts = [rows[at : at + self.batch] for at in batches]
            results[name] = float(np.mean([model(p[:, :-1], p[:, 1:]).item() for p in parts]))
        return results


def save(model):
    torch.save(model.state_dict(), "checkpoint.pt.new")
    os.replace("checkpoint.pt.new", "checkpoint.pt")


def main():
    args = arguments()
    if DEVICE == "cpu":
        torch.set_num_threads(os.cpu_count())
    torch.manual_seed(0)
    model = Model(args.width, args.hidden, args.layers).to(DEVICE)
    if args.resume:
        model.load_state_dict(torch.load("checkpoint.pt", map_location=DEVICE))
    forward = torch.compile(model) if args.compile else model
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and name != "emb"]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or name == "emb"]
    muon = Muon(matrices)
    adam = torch.optim.AdamW(others, lr=1, betas=(0.9, 0.95), weight_decay=0.0)
    data = Data(args.batch, args.sequence)

    began, step, average = time.time(), 0, None
    while (done := (time.time() - began) / (args.minutes * 60)) < 1:
        # Warm up, stay, and from 40 % on go down in a line.
        cooling = 1 if done < 0.4 else max(0.02, (1 - done) / 0.6)
        rate = args.rate * min(1, (step + 1) / args.warm_up) * cooling
        first, last = args.stories
        share = first + (last - first) * max(0, done - 0.3) / 0.7
        rows = data.draw(share)
        with torch.autocast(DEVICE, torch.bfloat16):
            loss = forward(rows[:, :-1], rows[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for group in adam.param_groups:
            group["lr"] = rate * 0.15
        adam.step()
        muon.step(rate)
        model.zero_grad(set_to_none=True)
        step += 1
        loss = loss.item()
        average = loss if average is None else 0.98 * average + 0.02 * loss
        if step % 200 == 0:
            print(f"step {step}, {done:.0%}: loss {average:.3f}", flush=True)
        if step % 1000 == 0:
            print("held out:", data.losses(model), flush=True)
            save(model)
    save(model)
    print(f"{step} steps, held out:", data.losses(model))


if __name__ == "__main__":
    main()
