#!/usr/bin/env python3
"""Median time of each kernel of traced runs of one op: case_kernels.py CASE KERNELS.tsv [CASE KERNELS.tsv ...]

Prints a JSON list: case, kernels in the order of their first launch with launches and median microseconds.
"""
import json
import statistics
import sys

from kernel_names import readable

out = []
for case, path in zip(sys.argv[1::2], sys.argv[2::2]):
    times = {}
    for line in open(path):
        begin, end, blocks, name = line.rstrip("\n").split("\t")
        times.setdefault((name, int(blocks)), []).append((int(end) - int(begin)) / 1e3)
    names = readable(sorted({n for n, _ in times}))
    out.append({"case": case.split("=", 1)[1],
                "kernels": [{"kernel": names[n], "blocks": b, "launches": len(t), "us": round(statistics.median(t), 2)}
                            for (n, b), t in times.items() if len(t) >= 10]})
print("[\n" + ",\n".join(json.dumps(c) for c in out) + "\n]")
