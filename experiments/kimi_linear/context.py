#!/usr/bin/env python3
"""Tables of context.sh's rows, and with matplotlib FOLDER/context.svg.

    experiments/kimi_linear/context.py FOLDER
"""

import json
import os
import sys

NAMES = {"kda_3_1": "KDA 3:1", "mla": "MLA"}
# The whole 48B model on hardware that is not stated, read off figures 1 and 7 of arXiv 2510.26692:
# ms a token and seconds of a prompt, batch 1.
PAPER = {"mla": {4096: (5.32, 0.06), 16384: (6.20, 0.18), 65536: (6.88, 0.79), 262144: (9.10, 5.76),
                 1048576: (17.8, 65.5)},
         "kda_3_1": {4096: (5.09, 0.10), 16384: (5.37, 0.19), 65536: (5.53, 0.64),
                     262144: (6.00, 3.22), 1048576: (7.99, 22.8)}}


def read(folder, name):
    """By layout and context."""
    rows = {}
    path = os.path.join(folder, name + ".jsonl")
    if os.path.exists(path):
        with open(path) as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                except ValueError:  # half a line of a program that was ended
                    continue
                rows.setdefault(row["model"], {})[row["context"]] = row
    return rows


def short(tokens):
    return f"{tokens >> 20}M" if tokens >= 1 << 20 else f"{tokens >> 10}k" if tokens >= 1024 else str(
        tokens)


def class_of(row, *names):
    """Milliseconds and bytes of classes of kernels."""
    found = [c for c in row["classes"] if c["class"] in names]
    return sum(c["ms"] for c in found), sum(c["bytes"] for c in found)


def print_decoding(rows):
    mla, kda = rows.get("mla", {}), rows.get("kda_3_1", {})
    print("| context | cache MLA, MB | KDA 3:1, MB | smaller by | ms/token MLA | KDA 3:1 | ratio | "
          "kernels alone MLA | KDA 3:1 | ratio | mixers' cores MLA | KDA 3:1 | ratio | paper, whole "
          "model |")
    print("|" + "---|" * 14)
    for context in sorted(mla.keys() & kda.keys()):
        a, b = mla[context], kda[context]
        cores = [class_of(row, "attention", "delta rule")[0] for row in (a, b)]
        paper = [PAPER[name].get(context, (0, 0))[0] for name in ("mla", "kda_3_1")]
        print(f"| {short(context)} | {a['cache_bytes'] / 1e6:,.1f} | {b['cache_bytes'] / 1e6:,.1f} | "
              f"{100 - 100 * b['cache_bytes'] / a['cache_bytes']:.1f}% | {a['token_ms']:.3f} | "
              f"{b['token_ms']:.3f} | {a['token_ms'] / b['token_ms']:.2f} | {a['device_ms']:.3f} | "
              f"{b['device_ms']:.3f} | {a['device_ms'] / b['device_ms']:.2f} | {cores[0]:.3f} | "
              f"{cores[1]:.3f} | {cores[0] / cores[1]:.2f} | " +
              (f"{paper[0]:.2f} / {paper[1]:.2f} = {paper[0] / paper[1]:.2f} |" if paper[1]
               else "- |"))
    for name in NAMES:
        contexts = sorted(rows.get(name, {}))
        if len(contexts) < 2:
            continue
        first, last = rows[name][contexts[0]], rows[name][contexts[-1]]
        grown = last["cache_bytes"] - first["cache_bytes"]
        bound = 1e3 * grown / last["copy_bytes_per_s"]
        core = class_of(last, "attention")[0] - class_of(first, "attention")[0]
        print(f"{NAMES[name]}, from {short(contexts[0])} to {short(contexts[-1])}: cache grows by "
              f"{grown / 1e9:.2f} GB, {bound:.2f} ms at a copy's rate; ms/token by "
              f"{last['token_ms'] - first['token_ms']:.2f}, attention's kernels by {core:.2f} "
              f"({100 * bound / core if core > 0 else 0:.0f}% of that rate)")


def print_reading(rows):
    mla, kda = rows.get("mla", {}), rows.get("kda_3_1", {})
    print("\n| prompt | s MLA | TFLOP/s | s KDA 3:1 | TFLOP/s | ratio | paper, whole model |")
    print("|---|---|---|---|---|---|---|")
    for context in sorted(mla.keys() | kda.keys()):
        both = [side.get(context, {}) for side in (mla, kda)]
        if not any("prefill_ms" in row for row in both):
            continue
        cells, seconds = [], []
        for row in both:
            seconds.append(row["prefill_ms"] / 1e3 if "prefill_ms" in row else None)
            cells += [f"{seconds[-1]:.3f}", f"{row['prefill_flops'] / seconds[-1] / 1e12:.0f}"] \
                if seconds[-1] else ["not read", "-"]
        ratio = f"{seconds[0] / seconds[1]:.2f}" if all(seconds) else "-"
        paper = [PAPER[name].get(context, (0, 0))[1] for name in ("mla", "kda_3_1")]
        quoted = f"{paper[0]:.2f} / {paper[1]:.2f} = {paper[0] / paper[1]:.2f}" if paper[1] else "-"
        print(f"| {short(context)} | {' | '.join(cells)} | {ratio} | {quoted} |")


def plot(decoding, reading, folder):
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"svg.hashsalt": "wyvern", "axes.grid": True, "grid.alpha": 0.3,
                         "axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
    figure, axes = plt.subplots(1, 3, figsize=(13, 4))
    for name, color in (("mla", "C1"), ("kda_3_1", "C0")):
        rows = [row for _, row in sorted(decoding.get(name, {}).items())]
        contexts = [row["context"] for row in rows]
        if rows:
            axes[0].plot(contexts, [row["token_ms"] for row in rows], marker="o", color=color,
                         label=NAMES[name])
            axes[0].plot(contexts, [row["device_ms"] for row in rows], marker=".", color=color,
                         linestyle=":", label=f"{NAMES[name]}, kernels alone")
            axes[1].plot(contexts, [row["cache_bytes"] / 1e9 for row in rows], marker="o",
                         color=color, label=NAMES[name])
        rows = [row for _, row in sorted(reading.get(name, {}).items()) if "prefill_ms" in row]
        if not rows:
            continue
        axes[2].plot([row["context"] for row in rows], [row["prefill_ms"] / 1e3 for row in rows],
                     marker="o", color=color, label=NAMES[name])
    for axis, title in zip(axes, ("ms for a decoded token", "GB of cache", "seconds for a prompt")):
        axis.set_xscale("log", base=2)
        if not axis.get_lines():
            continue
        contexts = sorted({x for line in axis.get_lines() for x in line.get_xdata()})
        axis.set_xticks(contexts, [short(int(x)) for x in contexts])
        axis.minorticks_off()
        axis.set(xlabel="tokens of context", title=title)
        axis.legend(frameon=False, fontsize=8)
    axes[0].set_ylim(bottom=0)
    for axis in axes[1:]:
        if axis.get_lines():
            axis.set_yscale("log")
    device = next(iter(next(iter((decoding or reading).values())).values()))["device"]
    figure.suptitle(f"27 mixers of the 48B model, one sequence, {device}", fontsize=10)
    figure.tight_layout()
    path = os.path.join(folder, "context.svg")
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    print(path)


def main():
    folder = sys.argv[1]
    decoding, reading = read(folder, "decode"), read(folder, "prefill")
    print_decoding(decoding)
    print_reading(reading)
    if not decoding and not reading:
        sys.exit(f"{folder}: nothing was measured")
    try:
        plot(decoding, reading, folder)
    except ImportError:
        print("no matplotlib: no plot")


if __name__ == "__main__":
    main()
