"""What the peers' scripts share: the machine and its versions, and how a call is timed."""

import importlib.metadata
import json
import math
import statistics

import torch

DEVICE = "cuda"
BATCHES = 11  # measurements, of which the median counts
BATCH_MS = 5.0  # work queued between two events, at least
MAX_CALLS = 50


def versions():
    """{package: version} of what is installed, and CUDA's."""
    found = {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
    for package in ("torch", "triton", "flash-linear-attention", "fla-core", "transformers",
                    "flash-attn"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found


def print_row(row):
    print(json.dumps({"device": torch.cuda.get_device_name(), **row, "versions": versions()}),
          flush=True)


def median_ms(call):
    """Median milliseconds of a call after warm-up, as `wyvern bench ops` takes it: several calls are
    queued between two device events, so that launching them is hidden."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def once(calls):
        start.record()
        for _ in range(calls):
            call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / calls

    for _ in range(3):
        call()
    calls = min(MAX_CALLS, max(1, math.ceil(BATCH_MS / max(once(1), 1e-3))))
    return statistics.median(once(calls) for _ in range(BATCHES))
