#!/usr/bin/env python3
"""What Nsight Compute counted, per kernel: counters.py RAW.csv LOG

RAW.csv is a report's page `raw` with mangled names; LOG the output of `profile_ops profile` under ncu, which says after
which kernels a direction of a case was over. Prints a JSON list, one kernel an entry:

  us            time, the L2 cache flushed before
  mhz           clock of the multiprocessors
  tensor, issue share of cycles in which the tensor pipe was busy, and an instruction was issued, %, of cycles in which
                the multiprocessor had a block
  alu, fma, xu, lsu   the same of these pipes
  warps         resident warps of a multiprocessor, on average
  dram_tb_s, dram_mb  bytes moved to and from memory; l2, l1: throughput as a share of the peak, %
  stalls        where a warp's cycles went between two of its instructions, % of them, all that is above 3
  conflicts     shared-memory wavefronts lost to bank conflicts, % of all
  spill_kb      local memory read and written
"""
import csv
import json
import re
import sys

from kernel_names import readable

STALL = re.compile(r"smsp__average_warps_issue_stalled_(\w+)_per_issue_active\.ratio")
TIME = {"ns": 1e-3, "us": 1, "ms": 1e3, "s": 1e6, "nsecond": 1e-3, "usecond": 1, "msecond": 1e3}
SIZE = {"byte": 1e-6, "Kbyte": 1e-3, "Mbyte": 1, "Gbyte": 1e3}


def main():
    rows = list(csv.reader(open(sys.argv[1])))
    header, units = rows[0], rows[1]
    at = {name: i for i, name in enumerate(header)}
    # Kernels by number, and the direction to which each belongs.
    owner, waiting, number = {}, [], 0
    for line in open(sys.argv[2]):
        if "==PROF== Profiling " in line:
            waiting.append(number)
            number += 1
        elif re.search(r"\t(forward|backward)$", line.rstrip("\n")):
            op, case, direction = line.rstrip("\n").split("\t")[-3:]
            for each in waiting:
                owner[each] = (op, case, direction)
            waiting = []
    names = readable(sorted({r[at["Kernel Name"]] for r in rows[2:]}))
    out = []
    for r in rows[2:]:
        def get(name, digits=1, scale=1.0):
            if name not in at or r[at[name]] in ("", "n/a", "no data", "nan"):
                return None
            value = round(float(r[at[name]].replace(",", "")) * scale, digits)
            return int(value) if digits == 0 else value

        def share(pipe):
            return get(f"sm__inst_executed_pipe_{pipe}.avg.pct_of_peak_sustained_active")
        name = names[r[at["Kernel Name"]]]
        if "DelayKernel" in name:
            continue
        op, case, direction = owner.get(int(r[at["ID"]]), ("?", "?", "?"))
        us = get("gpu__time_duration.sum", 2, TIME[units[at["gpu__time_duration.sum"]]])
        moved = sum(get(f"dram__bytes_{way}.sum", 3, SIZE[units[at[f"dram__bytes_{way}.sum"]]]) or 0
                    for way in ("read", "write")) if "dram__bytes_read.sum" in at else None
        stalls = {}
        for column, i in at.items():
            m = STALL.fullmatch(column)
            if m and r[i]:
                stalls[m[1]] = float(r[i].replace(",", ""))
        total = sum(stalls.values()) or 1
        stalls = {k: round(100 * v / total, 1) for k, v in sorted(stalls.items(), key=lambda s: -s[1])
                  if v / total > 0.03}
        conflicts, wavefronts = (get(f"l1tex__data_{x}_mem_shared.sum") for x in
                                 ("bank_conflicts_pipe_lsu", "pipe_lsu_wavefronts"))
        spill = [get(f"l1tex__t_sectors_pipe_lsu_mem_local_op_{x}.sum", 0) for x in ("ld", "st")]
        hz = get("gpc__cycles_elapsed.avg.per_second", 4)
        out.append({
            "op": op, "case": case, "direction": direction, "kernel": name, "us": us,
            "grid": r[at["Grid Size"]].strip("()").replace(", ", "x"),
            "threads": get("launch__block_size", 0), "registers": get("launch__registers_per_thread", 0),
            "shared_kb": get("launch__shared_mem_per_block", 1),
            "waves": get("launch__waves_per_multiprocessor", 2),
            "mhz": hz and round(1e3 * hz if hz < 100 else hz),
            "tensor": get("sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_active"),
            "issue": get("smsp__issue_active.avg.pct_of_peak_sustained_active"),
            "alu": share("alu"), "fma": share("fma"), "xu": share("xu"), "lsu": share("lsu"),
            "warps": get("sm__warps_active.avg.pct_of_peak_sustained_active", 2, 0.64),
            "l1": get("l1tex__throughput.avg.pct_of_peak_sustained_active"),
            "l2": get("lts__throughput.avg.pct_of_peak_sustained_elapsed"),
            "dram_mb": moved and round(moved, 1), "dram_tb_s": moved and us and round(moved / us, 2),
            "stalls": stalls,
            "conflicts": wavefronts and round(100 * (conflicts or 0) / wavefronts, 1),
            "spill_kb": None if spill[0] is None else round(sum(spill) * 32 / 1e3),
            "instructions": get("smsp__inst_executed.sum", 0)})
    print("[\n" + ",\n".join(json.dumps(k) for k in out) + "\n]")


main()
