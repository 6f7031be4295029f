#!/usr/bin/env python3
"""Reads a folder of event files with TensorBoard's own reader.

  read_events.py FOLDER                     prints {tag: [[step, value], ...]} as JSON
  read_events.py FOLDER METRICS_JSONL       also compares the losses with the metrics file
"""

import json
import math
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def load(folder):
    events = EventAccumulator(folder, size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    scalars = {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]}
    # Newer versions turn scalars into tensors while reading.
    for tag in tags["tensors"]:
        scalars[tag] = [[e.step, float(e.tensor_proto.float_val[0])] for e in events.Tensors(tag)]
    return scalars


def compare(scalars, path):
    expected = {}
    with open(path) as lines:
        for line in lines:
            row = json.loads(line)
            if isinstance(row.get("loss"), (int, float)):
                expected[row["step"]] = row["loss"]
    tag = next(t for t in scalars if t.endswith("loss") and "val" not in t)
    found = dict(map(tuple, scalars[tag]))
    if len(found) != len(scalars[tag]):
        raise ValueError(f"{tag}: a step comes twice")
    if set(found) != set(expected):
        raise ValueError(f"{tag}: steps {sorted(set(found) ^ set(expected))[:5]} are in one only")
    for step, loss in expected.items():
        if not math.isclose(found[step], loss, rel_tol=1e-6):
            raise ValueError(f"{tag}: step {step}: {found[step]} in the events, {loss} in {path}")
    print(f"OK: {len(found)} losses of {tag} equal those of the metrics", file=sys.stderr)


def main():
    scalars = load(sys.argv[1])
    if not scalars:
        raise ValueError("no scalars")
    if len(sys.argv) > 2:
        compare(scalars, sys.argv[2])
    print(json.dumps(scalars))


if __name__ == "__main__":
    main()
