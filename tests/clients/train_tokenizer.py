#!/usr/bin/env python3
"""Trains a byte-level BPE with tokenizers, and compares its file with one that Wyvern trained.

  train_tokenizer.py TOKENIZER.JSON DOCUMENTS.JSONL

DOCUMENTS.JSONL is what the first was trained on, by `wyvern data tokenizer --byte-level`. The pattern, the
special tokens and the size of the vocabulary are those of the file. Both files must be equal to the byte.
"""

import json
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers


def train(description, texts):
    tokenizer = Tokenizer(models.BPE())
    division = description["pre_tokenizer"]
    if division["type"] == "ByteLevel":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        regex = division["pretokenizers"][0]["pattern"]["Regex"]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(regex), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=len(description["model"]["vocab"]), show_progress=False,
        special_tokens=[AddedToken(token["content"], special=True) for token in description["added_tokens"]],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        made = file.read()
    with open(sys.argv[2], encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file]
    description = json.loads(made)
    expected = train(description, texts).to_str(pretty=True)
    if made != expected:
        merges, others = description["model"]["merges"], json.loads(expected)["model"]["merges"]
        first = next((i for i, (a, b) in enumerate(zip(merges, others)) if a != b), min(len(merges), len(others)))
        raise ValueError(f"tokenizers makes another file; merge {first} of {len(others)} is "
                         f"{others[first:first + 1]}, not {merges[first:first + 1]}")
    print(f"OK: {len(description['model']['merges'])} merges")


if __name__ == "__main__":
    main()
