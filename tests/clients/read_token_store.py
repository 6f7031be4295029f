#!/usr/bin/env python3
"""Reads a Wyvern token store with h5py alone (data/README.md) and checks every checksum.

  read_token_store.py STORE [DOCUMENT]      describes it; with a number, prints a document's tokens
"""

import sys
import zlib

import h5py
import numpy as np

DATASETS = {"tokens": ("<u2", "<u4"), "document_offsets": ("<i8",), "document_sources": ("<i4",),
            "source_files": ("|u1",), "tokenizer_model": ("|u1",)}


def text(value):
    return value.decode() if isinstance(value, bytes) else str(value)


def check_column(store, name, kinds, block):
    column = store[name]
    if column.dtype not in [np.dtype(k) for k in kinds]:
        raise ValueError(f"{name}: of type {column.dtype}")
    sums = store[name + "_crc32"][:]
    if len(sums) != -(-len(column) // block):
        raise ValueError(f"{name}: {len(sums)} checksums for {len(column)} values")
    for i, expected in enumerate(sums):
        if zlib.crc32(column[i * block:(i + 1) * block].tobytes()) != expected:
            raise ValueError(f"{name}: block {i} has a wrong checksum")


def main():
    with h5py.File(sys.argv[1], "r") as store:
        if (text(store.attrs["format"]), int(store.attrs["format_version"])) != (
                "wyvern token store", 1):
            raise ValueError("another format")
        for name, kinds in DATASETS.items():
            check_column(store, name, kinds, int(store.attrs["block_size"]))
        tokens, offsets = store["tokens"], store["document_offsets"][:]
        sources = store["document_sources"][:]
        names = store["source_files"][:].tobytes().decode(
            errors="surrogateescape").split("\n")[:-1]
        if offsets[0] != 0 or offsets[-1] != len(tokens) or (np.diff(offsets) < 0).any():
            raise ValueError("the document boundaries do not cover the tokens")
        if len(sources) + 1 != len(offsets) or not ((0 <= sources) & (sources < len(names))).all():
            raise ValueError("the provenance does not match the documents")
        if len(tokens) and int(tokens[:].max()) >= int(store.attrs["vocab_size"]):
            raise ValueError("a token is beyond the vocabulary")
        if len(sys.argv) > 2:
            document = int(sys.argv[2])
            print(*tokens[offsets[document]:offsets[document + 1]])
        print(f"OK: {len(tokens)} tokens, {len(sources)} documents of {len(names)} files, "
              f"{text(store.attrs['tokenizer_kind'])} tokenizer, every checksum right")


if __name__ == "__main__":
    main()
