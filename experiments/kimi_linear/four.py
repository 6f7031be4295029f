#!/usr/bin/env python3
"""Predicted against measured: the table of four.sh's folder, and one of each setting's classes.

    experiments/kimi_linear/four.py FOLDER
"""

import glob
import json
import os
import re
import sys


def read_plan(path):
    with open(path) as file:
        text = file.read()
    plan = {"classes": {}}
    for key, pattern in (("ms", r"^  step +([\d.]+) ms"), ("rate", r"^tokens/s +([\d.]+)"),
                         ("mfu", r"^MFU +([\d.]+)%"), ("peak", r"^  peak of tensors +([\d.]+) GB")):
        found = re.search(pattern, text, re.M)
        plan[key] = float(found[1]) if found else None
    times = text[text.find("time of a GPU and step"):]
    for name, run, ms in re.findall(r"^  (\S.*?) +(forward|backward|recompute|update) +([\d.]+) ms",
                                    times, re.M):
        plan["classes"][name, run] = float(ms)
    return plan, text


def against(predicted, measured, form):
    if not predicted:
        return f"- | {measured:{form}}"
    return f"{predicted:{form}} | {measured:{form}} ({100 * (measured / predicted - 1):+.0f}%)"


def main():
    folder = sys.argv[1]
    rows = []
    for path in sorted(glob.glob(os.path.join(folder, "*.plan.txt"))):
        name = os.path.basename(path).removesuffix(".plan.txt")
        plan, text = read_plan(path)
        try:
            with open(os.path.join(folder, name + ".json")) as file:
                measured = json.loads(file.readline())
        except (OSError, ValueError):
            print(f"{name}: not measured; " + (text.strip().splitlines() or ["no plan"])[-1])
            continue
        rows.append((name, plan, measured))
    print("| setting, GPUs | step ms: predicted | measured | tokens/s: predicted | measured | MFU % |"
          " measured | peak GB of a GPU: predicted | measured | device |")
    print("|" + "---|" * 10)
    for name, plan, m in rows:
        print(f"| {name} | {against(plan['ms'], m['step_ms'], '.1f')} | "
              f"{against(plan['rate'], m['tokens_per_s'], ',.0f')} | "
              f"{against(plan['mfu'], 100 * m.get('mfu', 0), '.1f')} | "
              f"{against(plan['peak'], m['peak_bytes'] / 1e9, '.1f')} | {m['device']} |")
    for name, plan, m in rows:
        print(f"\n{name}: ms of a step, predicted and measured; rate and share of the bound\n")
        print("| class | pass | predicted | measured | TFLOP/s | TB/s | of bound |")
        print("|---|---|---|---|---|---|---|")
        for c in sorted(m["classes"], key=lambda c: -c["ms"]):
            ms = max(c["ms"], 1e-6)
            predicted = plan["classes"].get((c["class"], c["pass"]))
            print(f"| {c['class']} | {c['pass']} | {'-' if predicted is None else predicted} | "
                  f"{ms:.2f} | {c['flops'] / ms / 1e9:.0f} | {c['bytes'] / ms / 1e9:.2f} | "
                  f"{100 * c['bound_ms'] / ms:.0f}% |")
        print(f"| outside, launch gaps | | | {m['outside_ms']:.2f} | | | |")


if __name__ == "__main__":
    main()
