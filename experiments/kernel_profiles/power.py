#!/usr/bin/env python3
"""Samples a GPU's power, clock and energy counter until it is stopped, or while a command runs.

  power.py OUT.tsv -- COMMAND ...     columns: s, W (of the last moment), SM MHz, J, limiting reasons
  power.py --summary OUT.tsv STEP.json   one JSON row: the step of `wyvern bench step --json`, and means over the
                                      steady part, where power is above 80% of its 90th percentile
"""
import subprocess
import sys
import time


def sample(path, command):
    import pynvml as nv
    nv.nvmlInit()
    gpu = nv.nvmlDeviceGetHandleByIndex(0)
    instant = getattr(nv, "NVML_FI_DEV_POWER_INSTANT", 186)
    start = time.time()
    with open(path, "w") as out:
        child = subprocess.Popen(command)
        while child.poll() is None:
            field = nv.nvmlDeviceGetFieldValues(gpu, [instant])[0]
            watts = (field.value.uiVal if field.nvmlReturn == 0 else nv.nvmlDeviceGetPowerUsage(gpu)) / 1e3
            try:
                reasons = nv.nvmlDeviceGetCurrentClocksEventReasons(gpu)
            except Exception:
                reasons = -1
            out.write(f"{time.time() - start:.3f}\t{watts:.1f}\t{nv.nvmlDeviceGetClockInfo(gpu, 1)}\t"
                      f"{nv.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3:.3f}\t{reasons}\n")
            time.sleep(0.02)
    return child.returncode


def summary(path):
    rows = [[float(x) for x in line.split()] for line in open(path)]
    watts = sorted(r[1] for r in rows)
    high = 0.8 * watts[int(0.9 * len(watts))]
    inside = [i for i, r in enumerate(rows) if r[1] >= high]
    # The longest run of samples above, short dips allowed; its middle four fifths.
    runs, begin = [], inside[0]
    for a, b in zip(inside, inside[1:] + [10**9]):
        if b == 10**9 or rows[b][0] - rows[a][0] > 0.3:
            runs.append((begin, a))
            begin = b
    begin, end = max(runs, key=lambda r: r[1] - r[0])
    cut = (end - begin) // 10
    steady = rows[begin + cut:end - cut + 1]
    seconds = steady[-1][0] - steady[0][0]
    capped = sum(int(r[4]) & 4 != 0 for r in steady)
    return {"seconds": round(seconds, 2), "samples": len(steady),
            "watts_counter": round((steady[-1][3] - steady[0][3]) / seconds, 1),
            "watts_sampled": round(sum(r[1] for r in steady) / len(steady), 1),
            "sm_mhz": round(sum(r[2] for r in steady) / len(steady)),
            "sm_mhz_min": min(r[2] for r in steady), "sm_mhz_max": max(r[2] for r in steady),
            "samples_at_power_cap": capped}


if __name__ == "__main__":
    if sys.argv[1] == "--summary":
        import json
        step = json.load(open(sys.argv[3]))
        products = sum(c["flops"] for c in step["classes"] if c["class"] in ("matrix products", "head, cross-entropy"))
        print(json.dumps({"model": step["model"], "step_ms": round(step["step_ms"], 2),
                          "tokens_per_s": round(step["tokens_per_s"]), "mfu": round(step["mfu"], 4),
                          "flops": step["flops"], "product_flops": products, "parameters": step["parameters"],
                          "copy_bytes_per_s": round(step["copy_bytes_per_s"]), **summary(sys.argv[2])}))
    else:
        sys.exit(sample(sys.argv[1], sys.argv[3:]))
