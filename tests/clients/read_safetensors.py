#!/usr/bin/env python3
"""Reads the weights of an exported folder with the safetensors library.

  read_safetensors.py FOLDER     prints `NAME SHAPE SUM` of every tensor, by name

A folder in several files is read by its index, which must name every tensor of every file, and no other.
"""

import json
import os
import sys

import safetensors


def files(folder):
    """Maps each file to the names that it must hold; None: whatever is in it."""
    index = os.path.join(folder, "model.safetensors.index.json")
    if not os.path.exists(index):
        return {"model.safetensors": None}
    with open(index, encoding="utf-8") as file:
        weight_map = json.load(file)["weight_map"]
    return {name: {t for t, f in weight_map.items() if f == name} for name in set(weight_map.values())}


def main():
    folder = sys.argv[1]
    tensors = {}
    for name, expected in files(folder).items():
        with safetensors.safe_open(os.path.join(folder, name), framework="np") as file:
            if expected is not None and set(file.keys()) != expected:
                raise ValueError(f"{name}: the index and the file differ in {set(file.keys()) ^ expected}")
            tensors.update({key: file.get_tensor(key) for key in file.keys()})
    for key in sorted(tensors):
        shape = "x".join(map(str, tensors[key].shape))
        print(f"{key} {shape} {tensors[key].sum(dtype='float64')}")


if __name__ == "__main__":
    main()
