#!/usr/bin/env python3
"""Token files as other programs write them, and what is in them, for Wyvern to read.

  write_token_files.py FOLDER

NumPy writes .npy, datatrove's own TokenizedFile .ds. llm.c's .bin is written by the steps of its
dev/data/data_common.py. FOLDER/expected.json says the documents of each file, those of a file
without boundaries as one.
"""

import json
import os
import sys

import numpy as np
from datatrove.pipeline.tokens.tokenizer import TokenizedFile

EOS = 9


def write_llm_c(path, ids, version):
    magic, number, dtype = {"gpt-2": (20240520, 1, np.uint16), "llama-3": (20240801, 7, np.uint32)}[version]
    header = np.zeros(256, dtype=np.int32)
    header[0], header[1], header[2] = magic, number, len(ids)
    with open(path, "wb") as file:
        file.write(header.tobytes())
        file.write(np.array(ids, dtype=dtype).tobytes())


def write_datatrove(folder, name, documents, token_size, with_metadata):
    file = TokenizedFile(folder, name, token_size=token_size, save_final_metadata=with_metadata,
                         tokenizer_name_or_path="some/tokenizer")
    for document in documents:
        file.write(document, None)
    file.close()


def main(folder):
    os.makedirs(folder, exist_ok=True)
    expected = {}
    documents = [[1, 2, 3, EOS], [EOS], [70, 4, 99, 5, EOS]]
    flat = sum(documents, [])
    for version in ("gpt-2", "llama-3"):
        write_llm_c(os.path.join(folder, version + ".bin"), flat, version)
        expected[version + ".bin"] = [flat]
    for token_size in (2, 4):
        for with_metadata in (False, True):
            name = f"{token_size}_{'with' if with_metadata else 'without'}_metadata.ds"
            write_datatrove(folder, name, documents, token_size, with_metadata)
            expected[name] = documents
    for dtype in ("uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"):
        array = np.array(flat, dtype=dtype)
        np.save(os.path.join(folder, f"flat_{dtype}.npy"), array)
        expected[f"flat_{dtype}.npy"] = [flat]
        np.save(os.path.join(folder, f"rows_{dtype}.npy"), array.reshape(2, 5))
        expected[f"rows_{dtype}.npy"] = [flat[:5], flat[5:]]
    for version in ((1, 0), (2, 0), (3, 0)):
        name = f"version_{version[0]}.npy"
        with open(os.path.join(folder, name), "wb") as file:
            np.lib.format.write_array(file, np.array(flat, dtype=np.int32), version=version)
        expected[name] = [flat]
    with open(os.path.join(folder, "expected.json"), "w", encoding="utf-8") as file:
        json.dump(expected, file)
    print(f"OK: {len(expected)} files")


if __name__ == "__main__":
    main(sys.argv[1])
