#!/usr/bin/env python3
"""Puts the peers' ops beside Wyvern's: a Markdown table of milliseconds, forward and backward.

    experiments/peers/compare.py WYVERN.jsonl PEERS.jsonl

WYVERN.jsonl: `wyvern bench ops --json`; PEERS.jsonl: ops.py. Rows meet by op and case.
"""

import json
import sys


def read_rows(path):
    return [json.loads(line) for line in open(path) if line.strip()]


def ms(row):
    return "" if row is None else f"{row['ms']:.3f}"


def faster(ours, theirs):
    return f"{theirs['ms'] / ours['ms']:.2f}x" if ours and theirs else ""


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    ours = {(r["op"], r["case"], r["direction"]): r for r in read_rows(sys.argv[1])}
    peers = {}
    for row in read_rows(sys.argv[2]):
        key = (row["op"], row["case"], row["framework"], row["peer"])
        peers.setdefault(key, {})[row.get("direction", "error")] = row
    print("| op | case | Wyvern, forward, backward | peer | forward, backward | Wyvern is faster |")
    print("|---|---|---|---|---|---|")
    unknown = set()
    for (op, case, framework, peer), found in peers.items():
        mine = [ours.get((op, case, direction)) for direction in ("forward", "backward")]
        if mine == [None, None]:
            unknown.add(f"{op}, {case}")
        if "error" in found:
            times, ratios = found["error"]["error"].splitlines()[0][:60].replace("|", "/"), ""
        else:
            theirs = [found.get(direction) for direction in ("forward", "backward")]
            times = ", ".join(map(ms, theirs))
            ratios = ", ".join(faster(*pair) for pair in zip(mine, theirs))
        print(f"| {op} | {case} | {', '.join(map(ms, mine))} | {framework} {peer} | {times} "
              f"| {ratios} |")
    for case in sorted(unknown):
        print(f"{case}: not in {sys.argv[1]}", file=sys.stderr)


if __name__ == "__main__":
    main()
