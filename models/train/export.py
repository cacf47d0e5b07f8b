"""Writes checkpoint.pt and tok.model of the working directory as a GGUF of F32 weights.

    python export.py OUT.gguf

Rotary pairs are adjacent, as the llama architecture of GGUF files has them, so matrices are
written as they are. `yareta quantize OUT.gguf yareta-stories.gguf Q8_0` makes the embedded file.

Needs gguf, sentencepiece and torch.
"""

import sys

import gguf
import sentencepiece
import torch

HEADS = 8
NAMES = {
    "an": "attn_norm",
    "wq": "attn_q",
    "wk": "attn_k",
    "wv": "attn_v",
    "wo": "attn_output",
    "fn": "ffn_norm",
    "w1": "ffn_gate",
    "w3": "ffn_up",
    "w2": "ffn_down",
}


def add_numbers(writer, state, layers):
    vocabulary, width = state["emb"].shape
    head = width // HEADS
    writer.add_name("yareta stories")
    writer.add_file_type(0)
    writer.add_vocab_size(vocabulary)
    writer.add_context_length(1024)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(state["layers.0.w1"].shape[0])
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(state["layers.0.wk"].shape[0] // head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(10_000.0)


def token_type(vocabulary, token):
    if vocabulary.is_unknown(token):
        return gguf.TokenType.UNKNOWN
    if vocabulary.is_control(token):
        return gguf.TokenType.CONTROL
    if vocabulary.is_byte(token):
        return gguf.TokenType.BYTE
    # The line break, a user-defined symbol of SentencePiece, is a normal token in the file: no
    # piece contains it, so that it is never merged; and readers of GGUF begin the text after a
    # user-defined token with a space, which SentencePiece did not when it made the training data.
    return gguf.TokenType.NORMAL


def add_vocabulary(writer):
    vocabulary = sentencepiece.SentencePieceProcessor(model_file="tok.model")
    tokens = range(vocabulary.vocab_size())
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([vocabulary.id_to_piece(token).encode() for token in tokens])
    writer.add_token_scores([vocabulary.get_score(token) for token in tokens])
    writer.add_token_types([token_type(vocabulary, token) for token in tokens])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)


def add_tensors(writer, state, layers):
    writer.add_tensor("token_embd.weight", state["emb"])
    writer.add_tensor("output_norm.weight", state["norm"])
    for layer in range(layers):
        for key, name in NAMES.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", state[f"layers.{layer}.{key}"])


def main():
    checkpoint = torch.load("checkpoint.pt", map_location="cpu")
    state = {key: value.float().numpy() for key, value in checkpoint.items()}
    layers = 1 + max(int(key.split(".")[1]) for key in state if key.startswith("layers."))
    writer = gguf.GGUFWriter(sys.argv[1], "llama")
    add_numbers(writer, state, layers)
    add_vocabulary(writer)
    add_tensors(writer, state, layers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    weights = sum(value.size for value in state.values())
    print(f"{layers} layers, {weights} weights")


if __name__ == "__main__":
    main()
