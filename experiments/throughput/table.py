#!/usr/bin/env python3
"""Prints rows of `wyvern bench step --json` and of experiments/peers/train.py as a Markdown table.

    experiments/throughput/table.py [--classes] [--no-header] FILE.jsonl ...

--classes: milliseconds of each class of ops instead, one column a row of the files. Needs nothing
but Python.
"""

import argparse
import json

PASSES = ("forward", "backward", "recompute", "update")


def read_rows(paths):
    return [json.loads(line) for path in paths for line in open(path) if line.strip()]


def label(row):
    """The configuration of a row: model, shape, and what was set beside the file."""
    parts = [row["model"]] + ([] if row["framework"] == "wyvern" else [row["framework"]])
    parts += [row["mode"]] if row.get("mode") else []
    return " ".join(parts), f"{row['sequences']} x {row['seq_len']}", ", ".join(row.get("set", []))


def figure(value, digits=1):
    return "" if value is None else f"{value:,.{digits}f}"


def print_rates(rows, header):
    if header:
        print("| model | tokens | settings | ms | tokens/s | MFU | peak GiB | first step s |")
        print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        cells = list(label(row))
        if "error" in row:
            cells += [row["error"].splitlines()[-1] if row["error"] else "failed", "", "", "", ""]
        else:
            mfu = row.get("mfu")
            cells += [
                figure(row["step_ms"]),
                figure(row["tokens_per_s"], 0),
                "" if mfu is None else f"{100 * mfu:.1f}%",
                figure(row["peak_bytes"] / 2**30),
                figure(row["first_step_s"]),
            ]
        print("| " + " | ".join(cells) + " |")


def class_times(row):
    """{(class, pass): entry} in the order of the row."""
    return {(c["class"], c["pass"]): c for c in row.get("classes", [])}


def print_classes(rows, header):
    rows = [row for row in rows if "classes" in row]
    keys = []
    for row in rows:
        keys += [key for key in class_times(row) if key not in keys]
    order = list(dict.fromkeys(name for name, _ in keys))
    keys.sort(key=lambda key: (order.index(key[0]), PASSES.index(key[1])))
    if header:
        print("| class | pass | " + " | ".join(" ".join(filter(None, label(r))) for r in rows) + " |")
        print("|---|---|" + "---|" * len(rows))
    for key in keys:
        cells = []
        for row in rows:
            entry = class_times(row).get(key)
            bound = entry and entry["bound_ms"] and f" ({100 * entry['bound_ms'] / entry['ms']:.0f}%)"
            cells.append(f"{entry['ms']:.2f}{bound or ''}" if entry else "")
        print("| " + " | ".join([*key, *cells]) + " |")
    print("| outside, launch gaps | | " + " | ".join(f"{r['outside_ms']:.2f}" for r in rows) + " |")
    print("| step | | " + " | ".join(f"{r['step_ms']:.2f}" for r in rows) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", action="store_true", help="ms by class (share of bound)")
    parser.add_argument("--no-header", action="store_true")
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    (print_classes if args.classes else print_rates)(read_rows(args.files), not args.no_header)


if __name__ == "__main__":
    main()
