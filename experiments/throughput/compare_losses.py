#!/usr/bin/env python3
"""Compares the losses of loss.sh and, if matplotlib is there, draws them to FOLDER/loss.svg.

    experiments/throughput/compare_losses.py FOLDER

Two correct programs sum in different orders, so in bf16 their losses drift apart by rounding alone.
The yardstick is how far bf16 is from fp32 with one program: the root mean square, over all steps, of
the difference of the losses. Exit code 1: the programs are more than twice as far from each other.
"""

import json
import math
import os
import sys

LIMIT = 2.0


def read_losses(folder, name):
    losses = {}
    with open(os.path.join(folder, f"loss_{name}.jsonl")) as lines:
        for line in lines:
            row = json.loads(line)
            if row.get("loss") is not None:
                losses[row["step"]] = row["loss"]
    return losses


def difference(a, b):
    """a - b by step, its root mean square, and the largest one with its step."""
    by_step = {step: a[step] - b[step] for step in sorted(a.keys() & b.keys())}
    rms = math.sqrt(sum(d * d for d in by_step.values()) / len(by_step))
    step = max(by_step, key=lambda s: abs(by_step[s]))
    return by_step, rms, by_step[step], step


def draw(folder, before, after, fp32, change, rounding):
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "wyvern"
    figure, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(7, 5.5),
                                         height_ratios=(2, 1))
    for losses, name, style in ((fp32, "before, fp32", "-"), (before, "before", "-"),
                                (after, "after", "--")):
        top.plot(list(losses), list(losses.values()), style, label=name, linewidth=1)
    bottom.plot(list(rounding), list(rounding.values()), label="before - before in fp32",
                color="#999999", linewidth=1)
    bottom.plot(list(change), list(change.values()), label="after - before", linewidth=1)
    top.set(ylabel="training loss")
    bottom.set(xlabel="step", ylabel="difference")
    for axis in (top, bottom):
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(os.path.join(folder, "loss.svg"), metadata={"Date": None})


def main():
    folder = sys.argv[1]
    before, after, fp32 = (read_losses(folder, n) for n in ("before", "after", "before_fp32"))
    if before.keys() != after.keys() or before.keys() != fp32.keys() or not before:
        sys.exit("the runs have different steps")
    change, change_rms, change_most, change_step = difference(after, before)
    rounding, rounding_rms, rounding_most, rounding_step = difference(before, fp32)
    last = max(before)
    print(f"{len(before)} steps, loss of the last: before {before[last]:.4f}, "
          f"after {after[last]:.4f}, before in fp32 {fp32[last]:.4f}")
    print(f"after - before:           rms {change_rms:.2e}, most {change_most:+.2e} "
          f"at step {change_step}")
    print(f"before - before in fp32:  rms {rounding_rms:.2e}, most {rounding_most:+.2e} "
          f"at step {rounding_step}")
    try:
        draw(folder, before, after, fp32, change, rounding)
    except ImportError:
        print("no matplotlib: no plot")
    agree = change_rms <= LIMIT * rounding_rms
    print("agree" if agree else f"DIFFER: by more than {LIMIT:g} times the rounding of bf16")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
