"""Makes the vocabulary and the token arrays that train.py reads.

    python prepare.py DATA

DATA is a folder with stories.txt, stories separated by <|endoftext|>, and books.txt. Writes into
the working directory: tok.model, a SentencePiece BPE vocabulary of 4096 pieces with byte fallback;
stories.npy and books.npy, token ids as 16-bit integers, each text between the tokens 1 and 2.

Needs numpy and sentencepiece.
"""

import random
import re
import sys
from pathlib import Path

import numpy as np
import sentencepiece

BEGIN, END = 1, 2

# Books are cut into pieces of whole paragraphs that are about as long as a few stories.
PIECE_CHARACTERS = 1800

# The vocabulary should know stories best: they are fewer than books, so they count three times.
STORY_WEIGHT = 3
BOOK_CHARACTERS = 12_000_000


def read_stories(path):
    """The stories, without those that are empty."""
    stories = path.read_text(encoding="utf-8").split("<|endoftext|>")
    return [story.strip() for story in stories if story.strip()]


def read_books(path):
    """The text of all books, and pieces of it: one paragraph per line."""
    text = path.read_text(encoding="utf-8")
    pieces, current = [], ""
    for paragraph in re.split(r"\n\s*\n", text):
        paragraph = re.sub(r"\s*\n\s*", " ", paragraph.strip())
        if len(paragraph) > 1:
            current += paragraph + "\n"
        if len(current) > PIECE_CHARACTERS:
            pieces.append(current.strip())
            current = ""
    return text, pieces


def train_vocabulary(stories, book_text):
    """Trains and loads tok.model. Line breaks are tokens of their own, digits are split, spaces
    are kept as they are."""
    corpus = Path("vocabulary.txt")
    corpus.write_text(
        "\n".join(stories) * STORY_WEIGHT + "\n" + book_text[:BOOK_CHARACTERS], encoding="utf-8"
    )
    random.seed(1)
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix="tok",
        model_type="bpe",
        vocab_size=4096,
        byte_fallback=True,
        character_coverage=0.9995,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        allow_whitespace_only_pieces=True,
        user_defined_symbols=["\n"],
        unk_id=0,
        bos_id=BEGIN,
        eos_id=END,
        pad_id=-1,
        max_sentence_length=100_000,
        input_sentence_size=300_000,
        shuffle_input_sentence=True,
    )
    return sentencepiece.SentencePieceProcessor(model_file="tok.model")


def save(name, texts, vocabulary):
    """Writes the tokens of all texts, one after the other."""
    ids = [np.array([BEGIN, *vocabulary.encode(text), END], dtype=np.uint16) for text in texts]
    ids = np.concatenate(ids)
    np.save(f"{name}.npy", ids)
    print(f"{name}: {len(texts)} texts, {len(ids)} tokens")


def main():
    data = Path(sys.argv[1])
    stories = read_stories(data / "stories.txt")
    book_text, pieces = read_books(data / "books.txt")
    vocabulary = train_vocabulary(stories, book_text)
    save("stories", stories, vocabulary)
    save("books", pieces, vocabulary)


if __name__ == "__main__":
    main()
