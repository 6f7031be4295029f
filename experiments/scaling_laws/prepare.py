#!/usr/bin/env python3
"""Gathers the source code of this machine, each content once, as the text of real runs.

    experiments/scaling_laws/prepare.py [--output runs/data/source.jsonl] [--bytes 400000000]

Run from the repository root, whose own files are left out: what is gathered changes with the machine
alone. C, C++, CUDA and Python files of 1 to 300 kB that are UTF-8, a document a line, in an order that
does not depend on where they lie.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import time

SUFFIXES = (".py", ".pyi", ".h", ".hpp", ".cuh", ".cu", ".c", ".cc", ".cpp")
LEAST, MOST = 1_000, 300_000


def source_files(root):
    device = os.stat(root).st_dev
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if wanted(os.path.join(folder, name), device)]
        for name in files:
            if name.endswith(SUFFIXES):
                yield os.path.join(folder, name)


def wanted(path, device):
    try:
        return not os.path.islink(path) and os.stat(path).st_dev == device and not os.path.samefile(
            path, ".")
    except OSError:
        return False


def read(path):
    """A key for the content without its layout, and the text; None if it is not wanted."""
    try:
        if os.path.islink(path) or not LEAST <= os.path.getsize(path) <= MOST:
            return None
        with open(path, "rb") as file:
            text = file.read().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    if "\0" in text:
        return None
    # Packages are installed many times over; a document that is both learned from and held out
    # would make the validation loss a memory test.
    return hashlib.md5("".join(text.split()).encode()).digest(), text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="runs/data/source.jsonl")
    parser.add_argument("--bytes", type=int, default=400_000_000, help="of text, at most")
    parser.add_argument("--root", default="/")
    options = parser.parse_args()
    if os.path.exists(options.output):
        return
    begin = time.time()
    documents = {}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for found in pool.map(read, source_files(options.root), chunksize=64):
            if found is not None:
                documents.setdefault(*found)
    os.makedirs(os.path.dirname(options.output), exist_ok=True)
    size = count = 0
    with open(options.output + ".new", "w") as file:
        for _, text in sorted(documents.items()):
            size += len(text)
            if size > options.bytes:
                break
            count += 1
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    os.rename(options.output + ".new", options.output)
    print(f"{options.output}: {count} of {len(documents)} files, {min(size, options.bytes) / 1e6:.0f} "
          f"MB, in {time.time() - begin:.0f} s")


if __name__ == "__main__":
    main()
