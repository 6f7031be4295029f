#!/usr/bin/env python3
"""Token files of Megatron-LM as its IndexedDatasetBuilder writes and its IndexedDataset reads them.

  megatron_tokens.py write PREFIX DTYPE DOCUMENT...   a document is sequences with '/' between, each
                                                      of ids with ',' between
  megatron_tokens.py read PREFIX                      prints the type, then a document a line
"""

import struct
import sys

import numpy as np

CODES = {"uint8": 1, "int8": 2, "int16": 3, "int32": 4, "int64": 5, "float64": 6, "float32": 7,
         "uint16": 8}


def write(prefix, dtype, documents):
    kind = np.dtype(dtype)
    lengths, indices = [], [0]
    with open(prefix + ".bin", "wb") as tokens:
        for document in documents:
            for sequence in filter(None, document.split("/")):
                ids = np.array([int(x) for x in sequence.split(",")], dtype=kind)
                tokens.write(ids.tobytes(order="C"))
                lengths.append(ids.size)
            indices.append(len(lengths))
    pointers = np.concatenate([[0], np.cumsum(lengths)[:-1]]) * kind.itemsize if lengths else []
    with open(prefix + ".idx", "wb") as index:
        index.write(b"MMIDIDX\x00\x00")
        index.write(struct.pack("<Q", 1))
        index.write(struct.pack("<B", CODES[dtype]))
        index.write(struct.pack("<Q", len(lengths)))
        index.write(struct.pack("<Q", len(indices)))
        index.write(np.array(lengths, dtype=np.int32).tobytes(order="C"))
        index.write(np.array(pointers, dtype=np.int64).tobytes(order="C"))
        index.write(np.array(indices, dtype=np.int64).tobytes(order="C"))


def read(prefix):
    with open(prefix + ".idx", "rb") as index:
        assert index.read(9) == b"MMIDIDX\x00\x00"
        assert struct.unpack("<Q", index.read(8)) == (1,)
        (code,) = struct.unpack("<B", index.read(1))
        dtype = {number: name for name, number in CODES.items()}[code]
        (sequences,) = struct.unpack("<Q", index.read(8))
        (documents,) = struct.unpack("<Q", index.read(8))
        offset = index.tell()
    index = memoryview(np.memmap(prefix + ".idx", mode="r", order="C"))
    lengths = np.frombuffer(index, dtype=np.int32, count=sequences, offset=offset)
    offset += lengths.nbytes
    pointers = np.frombuffer(index, dtype=np.int64, count=sequences, offset=offset)
    offset += pointers.nbytes
    indices = np.frombuffer(index, dtype=np.int64, count=documents, offset=offset)
    assert offset + indices.nbytes == len(index)
    assert lengths.shape[0] == indices[-1]
    tokens = memoryview(np.memmap(prefix + ".bin", mode="r", order="C"))
    print(dtype)
    for begin, end in zip(indices[:-1], indices[1:]):
        print("/".join(
            ",".join(map(str, np.frombuffer(tokens, dtype, lengths[i], pointers[i]).tolist()))
            for i in range(begin, end)))


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        read(sys.argv[2])
