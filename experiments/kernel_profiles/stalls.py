#!/usr/bin/env python3
"""Which instructions warps wait at: stalls.py SOURCE.csv [SHARE]

SOURCE.csv is the page `source` of an Nsight Compute report. Of every kernel with at least 500 samples it lists the
instructions at which SHARE % (1.5) or more of the samples were taken, in program order: offset, share of samples, the two
commonest reasons, the instruction.
"""
import csv
import sys

from kernel_names import readable

share = float(sys.argv[2]) if len(sys.argv) > 2 else 1.5
csv.field_size_limit(1 << 30)
kernels, seen = [], set()
for row in csv.reader(open(sys.argv[1])):
    if row and row[0] == "Kernel Name":
        kernels.append((row[1], [], []))
    elif row and row[0] == "Address":
        kernels[-1][2].extend(row)  # not the same columns for every kernel
    elif kernels and len(row) > 10:
        kernels[-1][1].append(row)
names = readable([k for k, _, _ in kernels])
for mangled, rows, header in kernels:
    if "# Samples" not in header:
        continue
    at = {h: i for i, h in enumerate(header)}
    samples = at["# Samples"]
    total = sum(int(r[samples]) for r in rows)
    if total < 500 or (mangled, total) in seen:  # the page lists some kernels twice
        continue
    seen.add((mangled, total))
    reasons = [h for h in header if h.startswith("stall_") and "Not" not in h]
    base = int(rows[0][0], 16)
    print(f"{names[mangled]}: {total} samples, {sum(int(r[at['Instructions Executed']]) for r in rows)} instructions")
    by_reason = sorted(((sum(int(r[at[h]]) for r in rows), h) for h in reasons), reverse=True)
    print("  " + ", ".join(f"{h[6:]} {100 * n / total:.1f}%" for n, h in by_reason[:8]))
    for r in rows:
        here = int(r[samples])
        if here < total * share / 100:
            continue
        top = sorted(((int(r[at[h]]), h[6:]) for h in reasons), reverse=True)[:2]
        why = " ".join(f"{h} {100 * n // here}%" for n, h in top if n)
        print(f"  {int(r[0], 16) - base:6x} {100 * here / total:5.1f}%  {why:38} {r[1].strip()[:90]}")
    print()
