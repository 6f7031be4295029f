#!/usr/bin/env python3
"""Encodes and decodes with SentencePiece's own library, and with tokenizers, from a model of Wyvern.

  read_tokenizer.py MODEL TEXT     prints the ids of TEXT as JSON

MODEL is a .model file of type bpe. The BPE of tokenizers is made of its pieces: two of them that join to a
third are a merge, the better the third's score, the sooner.
"""

import json
import sys

import sentencepiece
import tokenizers

SPACE = "\u2581"


def bpe(processor):
    pieces = [processor.id_to_piece(i) for i in range(processor.vocab_size())]
    ids = {piece: i for i, piece in enumerate(pieces)}
    merges = []
    for piece in pieces:
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in ids and right in ids:
                merges.append((-processor.get_score(ids[piece]), ids[left], ids[right], left, right))
    model = tokenizers.models.BPE(vocab=ids, merges=[(left, right) for *_, left, right in sorted(merges)],
                                  unk_token=pieces[processor.unk_id()], byte_fallback=True)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.Replace(" ", SPACE)
    return tokenizer


def main():
    processor = sentencepiece.SentencePieceProcessor(model_file=sys.argv[1])
    with open(sys.argv[2], encoding="utf-8", newline="") as file:
        text = file.read()
    ids = processor.encode(text)
    if processor.decode(ids) != text:
        raise ValueError("SentencePiece decodes another text")
    others = bpe(processor).encode(text, add_special_tokens=False).ids
    if others != ids:
        first = next((i for i, (a, b) in enumerate(zip(ids, others)) if a != b), min(len(ids), len(others)))
        raise ValueError(f"tokenizers has other ids from the {first}th on: "
                         f"{others[first:first + 5]}, SentencePiece {ids[first:first + 5]}")
    print(json.dumps(ids))


if __name__ == "__main__":
    main()
