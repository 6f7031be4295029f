#!/usr/bin/env python3
"""Times the control data of a step among ranks of this host, over TCP and MPI.

    experiments/control_plane/run.py build/cpu/bin/wyvern --json experiments/control_plane/times.json

Prints one line a number of ranks. The machine should have nothing else to do.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys


def start(command, environment, seconds):
    """The last JSON line of a command, all of whose processes end with it."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True)
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: {err}")
    return json.loads(out.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("wyvern")
    parser.add_argument("--json", help="file to write, one JSON object a line")
    parser.add_argument("--tcp", type=int, nargs="*", default=[2, 4, 8, 16, 32, 64, 128, 256])
    parser.add_argument("--mpi", type=int, nargs="*", default=[2, 4, 8, 16, 32])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=120, help="of one number of ranks, at most")
    options = parser.parse_args()
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
    if os.getuid() == 0:
        environment.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    command = [os.path.abspath(options.wyvern), "bench", "agreement", "--json", "--repeats", str(options.repeats)]
    starts = [[os.path.join(root, "tests/ranks/start"), str(n)] for n in options.tcp]
    if shutil.which("mpirun"):
        starts += [["mpirun", "-n", str(n), "--oversubscribe", "--bind-to", "none"] for n in options.mpi]
    rows = []
    print(f"{'':4} {'ranks':>5} {'agreement':>10} {'one sum':>10} {'ring':>10} {'meeting':>8} {'files':>5}")
    for launcher in starts:
        row = start(launcher + command, environment, options.seconds)
        if row is None:
            print(f"{' '.join(launcher)}: not done within {options.seconds:.0f} s")
            continue
        rows.append(row)
        times = [f"{1e3 * row[key]:7.2f} ms" for key in ("agreement_s", "sum_s", "ring_s")]
        meeting = f"{row['meeting_s']:6.2f} s" if "meeting_s" in row else ""
        print(f"{row['transport']:4} {row['ranks']:5} {' '.join(times)} {meeting:>8} {row['open_files']:5}", flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()
