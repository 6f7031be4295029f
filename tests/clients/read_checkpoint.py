#!/usr/bin/env python3
"""Reads a Wyvern checkpoint with h5py alone (trainer/checkpoint/FORMAT.md) and checks everything.

  read_checkpoint.py CHECKPOINT        prints each tensor's name, type, shape and sum

As a module, load(path) gives (manifest, {name: numpy array}); bf16 comes as float32.
"""

import json
import pathlib
import sys
import zlib

import h5py
import numpy as np

STORED_AS = {"fp64": "<f8", "fp32": "<f4", "bf16": "<u2", "int32": "<i4", "int64": "<i8",
             "uint8": "|u1"}


def read_manifest(folder):
    first, rest = (folder / "manifest.json").read_bytes().split(b"\n", 1)
    expected = b'{"manifest_crc32": "%08x",' % zlib.crc32(rest)
    if first != expected:
        raise ValueError(f"{folder}: the manifest's checksum is wrong")
    manifest = json.loads(first + rest)
    if (manifest["format"], manifest["format_version"]) != ("wyvern-checkpoint", 1):
        raise ValueError(f"{folder}: another format")
    for shard in manifest["shards"]:
        if (folder / shard["file"]).stat().st_size != shard["bytes"]:
            raise ValueError(f"{folder}/{shard['file']}: another size")
    return manifest


def read_tensor(files, entry):
    kind = np.dtype(STORED_AS[entry["dtype"]])
    whole = np.empty(entry["shape"], kind)
    covered = 0
    for part in entry["slices"]:
        dataset = files[part["shard"]][part["dataset"]]
        if dataset.dtype != kind or dataset.attrs["dtype"] not in (entry["dtype"],
                                                                  entry["dtype"].encode()):
            raise ValueError(f"{entry['name']}: stored as {dataset.dtype}, said {entry['dtype']}")
        values = np.asarray(dataset[()], kind)
        if zlib.crc32(values.tobytes()) != int(part["crc32"], 16):
            raise ValueError(f"{entry['name']}: wrong checksum")
        if list(values.shape) != part["size"]:
            raise ValueError(f"{entry['name']}: shape {values.shape}, expected {part['size']}")
        whole[tuple(slice(s, s + n) for s, n in zip(part["start"], part["size"]))] = values
        covered += values.size
    if covered != whole.size:
        raise ValueError(f"{entry['name']}: {covered} of {whole.size} elements")
    if entry["dtype"] == "bf16":
        whole = (whole.astype("<u4") << 16).view("<f4")
    return whole


def load(path):
    folder = pathlib.Path(path)
    manifest = read_manifest(folder)
    files = {s["file"]: h5py.File(folder / s["file"], "r") for s in manifest["shards"]}
    return manifest, {t["name"]: read_tensor(files, t) for t in manifest["tensors"]}


def main():
    manifest, tensors = load(sys.argv[1])
    for entry in manifest["tensors"]:
        values = tensors[entry["name"]]
        print(f"{entry['dtype']:6} {str(entry['shape']):20} {entry['name']} "
              f"sum {values.astype('f8').sum():.6g}")
    print(f"OK: step {manifest['step']}, {len(tensors)} tensors, every checksum right")


if __name__ == "__main__":
    main()
