#!/usr/bin/env python3
"""Draws OUT/lengths.svg, recompute.svg and classes.svg from the JSON lines of run.sh.

    experiments/throughput/plot.py [OUT]

OUT defaults to experiments/throughput/results. A file that is absent, or holds no measured row,
gives no plot. Needs matplotlib.
"""

import os
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from table import label, read_rows

plt.rcParams.update({"svg.hashsalt": "wyvern", "axes.grid": True, "grid.alpha": 0.3,
                     "axes.spines.top": False, "axes.spines.right": False, "font.size": 10})


def measured(folder, name):
    path = os.path.join(folder, name + ".jsonl")
    return [row for row in read_rows([path]) if "error" not in row] if os.path.exists(path) else []


def save(figure, folder, name):
    path = os.path.join(folder, name + ".svg")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
    print(path)


def plot_lengths(folder):
    """Tokens per second over the length of a sequence, one line a model."""
    rows = measured(folder, "lengths")
    if not rows:
        return
    figure, axis = plt.subplots(figsize=(7, 4.2))
    for model in dict.fromkeys(row["model"] for row in rows):
        points = sorted((r["seq_len"], r["tokens_per_s"]) for r in rows if r["model"] == model)
        axis.plot(*zip(*points), marker="o", label=model)
    lengths = sorted({row["seq_len"] for row in rows})
    axis.set_xscale("log", base=2)
    axis.set_xticks(lengths, [f"{n // 1024}k" if n >= 1024 else str(n) for n in lengths])
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    tokens = {row["sequences"] * row["seq_len"] for row in rows}
    step = f"{min(tokens):,}" + (f" to {max(tokens):,}" if len(tokens) > 1 else "")
    axis.set(xlabel="tokens in a sequence", ylabel="tokens per second",
             title=f"Training step of {step} tokens, {rows[0]['device']}")
    axis.legend(frameon=False)
    save(figure, folder, "lengths")


def plot_recompute(folder):
    """Tokens per second over peak memory, one point a setting of recomputation."""
    rows = measured(folder, "recompute")
    if not rows:
        return
    figure, axis = plt.subplots(figsize=(7, 4.2))
    for model in dict.fromkeys(row["model"] for row in rows):
        mine = [row for row in rows if row["model"] == model]
        memory = [row["peak_bytes"] / 2**30 for row in mine]
        rate = [row["tokens_per_s"] for row in mine]
        axis.plot(memory, rate, marker="o", linestyle=":", label=model)
        for x, y, row in zip(memory, rate, mine):
            text = ", ".join(s[6:] for s in row["set"] if s.startswith("train.")) or "none"
            axis.annotate(text, (x, y), textcoords="offset points", xytext=(4, 6), fontsize=8)
    axis.set_ylim(bottom=0)
    axis.margins(x=0.2)
    axis.set(xlabel="peak memory, GiB", ylabel="tokens per second",
             title=f"Recomputation, {rows[0]['device']}")
    axis.legend(frameon=False, loc="lower right")
    save(figure, folder, "recompute")


def plot_classes(folder):
    """Where the time of each model's step goes, and what its work would take at the card's rates."""
    rows = [row for row in measured(folder, "models") if row.get("classes")]
    if not rows:
        return
    names = list(dict.fromkeys(c["class"] for row in rows for c in row["classes"]))
    colours = dict(zip(names, plt.get_cmap("tab20").colors))
    figure, axis = plt.subplots(figsize=(8, max(3.0, 0.9 + 0.75 * len(rows))))
    for i, row in enumerate(rows):
        for offset, height, key in ((-0.17, 0.42, "ms"), (0.22, 0.2, "bound_ms")):
            left = 0
            for name in names:
                width = sum(c[key] for c in row["classes"] if c["class"] == name)
                axis.barh(i + offset, width, height, left=left, color=colours[name],
                          label=name if i == 0 and key == "ms" else None)
                left += width
            if key == "ms":
                axis.barh(i + offset, max(0, row["outside_ms"]), height, left=left, color="#cccccc",
                          label="outside, launch gaps" if i == 0 else None)
    axis.set_yticks(range(len(rows)), [label(row)[0] for row in rows])
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set(xlabel="ms a step; thin bars: bytes and products at the card's rates",
             title=f"{rows[0]['sequences']} x {rows[0]['seq_len']} tokens, {rows[0]['device']}")
    axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    save(figure, folder, "classes")


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "results")
    for plot in (plot_lengths, plot_recompute, plot_classes):
        plot(folder)


if __name__ == "__main__":
    main()
