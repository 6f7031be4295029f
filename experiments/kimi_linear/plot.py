#!/usr/bin/env python3
"""Draws the runs of real.yaml and balance.yaml: FOLDER/real_{loss,balance,logits}.svg, and prints their table.

    experiments/kimi_linear/plot.py FOLDER

FOLDER holds RUN.metrics.jsonl of each run, as experiments/kimi_linear/real_runs.py leaves them. Needs matplotlib.
"""

import glob
import json
import os
import statistics
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

plt.rcParams.update({"svg.hashsalt": "wyvern", "axes.grid": True, "grid.alpha": 0.3,
                     "axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
SMOOTH = 10  # steps that a point of a training curve is the mean of
NAMES = {"kda_3_1": "KDA 3:1", "kda_3_1_balance": "KDA 3:1, balance 1e-2", "mla": "MLA",
         "mla_rope": "MLA with RoPE"}
COLORS = {"kda_3_1": "C0", "kda_3_1_balance": "C3", "mla": "C1", "mla_rope": "C2"}
STYLES = {"adamw": "--", "muon": "-"}


def read_runs(folder):
    runs = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.metrics.jsonl"))):
        with open(path) as lines:
            rows = [json.loads(line) for line in lines]
        if len(rows) > 1:
            runs[os.path.basename(path).removesuffix(".metrics.jsonl")] = rows
    return runs


def look(run):
    mix, optimizer = run.rsplit("-", 1)
    return {"label": f"{NAMES.get(mix, mix)}, {optimizer}", "color": COLORS.get(mix, "C4"),
            "linestyle": STYLES.get(optimizer, ":")}


def curve(rows, value):
    """Tokens in millions, and means of `value` over SMOOTH steps."""
    points = [(row["tokens"] / 1e6, value(row)) for row in rows if value(row) is not None]
    parts = [points[i:i + SMOOTH] for i in range(0, len(points), SMOOTH)]
    return ([part[-1][0] for part in parts],
            [statistics.fmean(y for _, y in part) for part in parts])


def save(figure, folder, name):
    figure.tight_layout()
    path = os.path.join(folder, name + ".svg")
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
    print(path)


def plot_loss(runs, folder):
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True)
    for run, rows in runs.items():
        axes[0].plot(*curve(rows, lambda row: row.get("loss")), linewidth=1, **look(run))
        points = [(row["tokens"] / 1e6, row["val_loss"]) for row in rows if "val_loss" in row]
        axes[1].plot(*zip(*points), marker=".", linewidth=1, **look(run))
    finals = [rows[-1].get("loss") or rows[-2]["loss"] for rows in runs.values()]
    axes[0].set_ylim(min(finals) - 0.15, min(finals) + 2.5)
    axes[0].set(xlabel="million tokens", ylabel="loss", title=f"training, means of {SMOOTH} steps")
    axes[1].set(xlabel="million tokens", title="held-out files")
    axes[1].legend(frameon=False)
    save(figure, folder, "real_loss")


def plot_balance(runs, folder):
    """Of the layers' experts: the largest load over the mean, and the entropy of the loads."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 4))
    parts = (("max_load", statistics.fmean, "largest load over the mean, mean of the layers"),
             ("max_load", max, "the same, worst layer"),
             ("entropy", min, "entropy of the loads, worst layer (1: equal)"))
    for axis, (key, of, title) in zip(axes, parts):
        for run, rows in runs.items():
            axis.plot(*curve(rows, lambda row: of(row["experts"][key]) if "experts" in row else
                             None), linewidth=1, **look(run))
        axis.set(xlabel="million tokens", title=title)
        axis.title.set_fontsize(9)
    axes[0].legend(frameon=False)
    save(figure, folder, "real_balance")


def plot_logits(runs, folder):
    runs = {run: rows for run, rows in runs.items() if any("max_logit" in row for row in rows)}
    if not runs:
        return
    figure, axis = plt.subplots(figsize=(6, 4))
    for run, rows in runs.items():
        axis.plot(*curve(rows, lambda row: row.get("max_logit")), linewidth=1, **look(run))
    axis.set(xlabel="million tokens", ylabel="largest attention logit",
             title=f"before QK-clip, means of {SMOOTH} steps")
    axis.legend(frameon=False)
    save(figure, folder, "real_logits")


def table(runs):
    print("| run | steps | tokens | last validation loss | loss, last 20 steps | tokens/s | MFU | "
          "largest load over the mean, worst layer: first 20, last 20 steps | clipped heads |")
    print("|---|---|---|---|---|---|---|---|---|")
    for run, rows in runs.items():
        steps = [row for row in rows if "step_ms" in row]
        loads = [max(row["experts"]["max_load"]) for row in steps if "experts" in row]
        load = f"{statistics.fmean(loads[:20]):.2f}, {statistics.fmean(loads[-20:]):.2f}" if loads \
            else "-"
        validation = [row["val_loss"] for row in rows if "val_loss" in row]
        mfu = [row["mfu"] for row in steps if "mfu" in row]
        print(f"| {look(run)['label']} | {steps[-1]['step']} | {steps[-1]['tokens'] / 1e6:.1f}M | "
              f"{validation[-1]:.4f} | {statistics.fmean(r['loss'] for r in steps[-20:]):.4f} | "
              f"{statistics.median(r['tokens_per_s'] for r in steps):,.0f} | "
              f"{f'{100 * statistics.median(mfu):.1f}%' if mfu else '-'} | {load} | "
              f"{sum(row.get('clipped_heads', 0) for row in steps)} |")


def main():
    folder = sys.argv[1]
    runs = read_runs(folder)
    if not runs:
        sys.exit(f"{folder}: no run has steps")
    table(runs)
    plot_loss(runs, folder)
    plot_balance(runs, folder)
    plot_logits(runs, folder)


if __name__ == "__main__":
    main()
