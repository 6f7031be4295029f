#!/usr/bin/env python3
"""Markdown of what counters.py wrote: table.py RESULTS.json ...

Kernels of the same name within a direction are one row: launches, total time, counters of the first.
"""
import json
import sys

SHORT = {"long_scoreboard": "memory", "short_scoreboard": "shared", "not_selected": "not selected", "gmma": "wgmma",
         "math_pipe_throttle": "math", "mio_throttle": "mio", "dispatch_stall": "dispatch", "no_instruction": "fetch"}
print("| case | kernel | us | tensor | issue | waits | memory TB/s (MB) | L2 | warps | registers | conflicts | local KB |")
print("|---|---|---|---|---|---|---|---|---|---|---|---|")
for path in sys.argv[1:]:
    groups = {}
    for k in json.load(open(path)):
        groups.setdefault((k["case"], k["direction"], k["kernel"]), []).append(k)
    last = None
    for (case, direction, kernel), ks in groups.items():
        k, us = ks[0], sum(x["us"] for x in ks)
        head = f"{case}, {direction}" if (case, direction) != last else ""
        last = (case, direction)
        waits = ", ".join(f"{SHORT.get(n, n)} {round(v)}" for n, v in list(k["stalls"].items())[:5] if n != "selected")
        moved = "" if k["dram_mb"] is None else f"{k['dram_tb_s']} ({sum(x['dram_mb'] for x in ks):.0f})"
        times = f"{len(ks)} x {us / len(ks):.0f}" if len(ks) > 1 else f"{us:.0f}"
        print(f"| {head} | {kernel.replace('(DeltaGate)', '').replace('cudnn_generated_fort_native_sdpa_sm90_', 'cudnn ')[:58]} "
              f"| {times} | {k['tensor']:.0f} | {k['issue']:.0f} | {waits} | {moved} | {k['l2']:.0f} | {k['warps']:.0f} "
              f"| {k['registers']} | {'' if k['conflicts'] is None else k['conflicts']} | {k['spill_kb'] or ''} |")
