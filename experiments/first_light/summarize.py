#!/usr/bin/env python3
"""Tables of `wyvern selftest` or `wyvern parity` on standard input, as one line an op and type, or
a folder and type.

    experiments/first_light/summarize.py selftest|parity <TABLE
"""

import re
import sys


def selftest(lines):
    groups = {}  # (op, device and type) -> [checks, failed, worst share of a limit]
    for line in lines:
        found = re.search(r"^(\S+)\s.*\s(cuda|cpu) (fp32|fp64|bf16)\b.*\s(\S+)\s+(\S+)\s+(PASS|FAIL)$", line)
        if not found:
            continue
        op, device, dtype, error, limit, verdict = found.groups()
        group = groups.setdefault((op, f"{device} {dtype}"), [0, 0, 0.0])
        group[0] += 1
        group[1] += verdict == "FAIL"
        if float(limit) > 0:
            group[2] = max(group[2], float(error) / float(limit))
    print(f"{'op':<22}{'type':<11}{'checks':>7}{'failed':>8}  largest error / limit")
    for (op, kind), (checks, failed, share) in groups.items():
        print(f"{op:<22}{kind:<11}{checks:>7}{failed:>8}  {share:.2f}")
    checks, failed = (sum(group[i] for group in groups.values()) for i in (0, 1))
    print(f"{checks} checks, {failed} failed")


def parity(lines):
    print(f"{'folder':<34}{'type':<6}{'rows':>5}{'failed':>8}{'logits':>10}{'worst gradient':>16}"
          "  largest error / limit")
    folder = None
    rows = []

    def finish():
        if folder is None:
            return
        name, dtype = folder
        logits = next(error for quantity, error, _, _ in rows if quantity == "logits")
        gradient = max(error for quantity, error, _, _ in rows if quantity.startswith("grad."))
        share = max(error / limit for _, error, limit, _ in rows if limit > 0)
        failed = sum(verdict != "ok" for _, _, _, verdict in rows)
        print(f"{name:<34}{dtype:<6}{len(rows):>5}{failed:>8}{logits:>10.1e}{gradient:>16.1e}"
              f"  {share:.2f}")

    for line in lines:
        begin = re.match(r"(\S+) \(\S+\) on \S+ in (\S+)", line)
        row = re.match(r"(.+?)\s+(\S+)\s+(\S+)\s+(ok|FAIL)$", line)
        if begin:
            finish()
            folder, rows = (begin[1].rstrip("/").rsplit("/", 1)[-1], begin[2]), []
        elif row:
            rows.append((row[1], float(row[2]), float(row[3]), row[4]))
    finish()


if __name__ == "__main__":
    {"selftest": selftest, "parity": parity}[sys.argv[1]](sys.stdin)
