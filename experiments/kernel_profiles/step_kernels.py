#!/usr/bin/env python3
"""Kernels of a training step from a trace of `wyvern bench step`: step_kernels.py KERNELS.tsv [FIRST COUNT]

Steps are told apart by the optimizer's kernel, which ends each. Of the COUNT steps (8) from number FIRST (5) on
it prints a JSON object: per kernel the launches, milliseconds and mean microseconds of a step, the step's length, the
time in which no kernel ran and the gaps of which it consists, by length.
"""
import collections
import json
import sys

from kernel_names import readable

MARK = "adamw: UpdateKernel"


def main():
    path = sys.argv[1]
    first, count = (int(x) for x in sys.argv[2:4]) if len(sys.argv) > 3 else (5, 8)
    rows = [line.rstrip("\n").split("\t") for line in open(path)]
    rows = [(int(a), int(b), int(c), d) for a, b, c, d in rows]
    names = readable(sorted({r[3] for r in rows}))
    ends = []
    for i, r in enumerate(rows):
        if MARK in names[r[3]]:
            if ends and all(MARK in names[x[3]] or x[1] - x[0] < 20000 for x in rows[ends[-1] + 1:i]) \
                    and i - ends[-1] < 8:
                ends[-1] = i
            else:
                ends.append(i)
    lengths = [(rows[b][1] - rows[a][1]) / 1e6 for a, b in zip(ends, ends[1:])]
    begin, end = ends[first - 1], ends[first - 1 + count]
    inside = rows[begin + 1:end + 1]
    total, launches = collections.Counter(), collections.Counter()
    busy, last = 0, rows[begin][1]
    gaps = {"below 3 us": [0, 0.0], "3 to 50 us": [0, 0.0], "longer": [0, 0.0]}
    for a, b, blocks, name in inside:
        key = names[name]
        total[key] += (b - a) / 1e6
        launches[key] += 1
        busy += max(0, b - max(a, last))
        if a > last:
            gap = gaps["below 3 us" if a - last < 3000 else "3 to 50 us" if a - last < 50000 else "longer"]
            gap[0] += 1 / count
            gap[1] += (a - last) / 1e6 / count
        last = max(last, b)
    length = (rows[end][1] - rows[begin][1]) / 1e6
    print(json.dumps({
        "steps": count, "step_ms": round(length / count, 3), "idle_ms": round((length - busy / 1e6) / count, 3),
        "gaps": {k: {"number": round(n, 1), "ms": round(ms, 3)} for k, (n, ms) in gaps.items()},
        "all_step_ms": [round(x, 2) for x in lengths],
        "kernels": [{"name": k, "launches": launches[k] / count, "ms": round(v / count, 4),
                     "us_each": round(1e3 * v / launches[k], 2)} for k, v in total.most_common()]}, indent=1))


main()
