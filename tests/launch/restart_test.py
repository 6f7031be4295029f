#!/usr/bin/env python3
"""scripts/launch --restarts: a training that loses a rank starts again from its checkpoint and ends with
the losses of one that lost none.

  tests/launch/restart_test.py PATH_OF_WYVERN

Exit code 77: skipped, with the reason.
"""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile

from tiny_run import ROOT, SKIPPED, check, losses, write_config, write_text

STEPS = 30
TIMEOUT = 8  # parallel.timeout: so long that no busy machine makes a healthy rank miss it

MORE = f"""
parallel: {{shard: 2, timeout: {TIMEOUT}}}
validation: {{every: 10, batches: 2}}
checkpoint: {{every: 5, keep: 2}}
"""


class Runs:
    def __init__(self, folder, wyvern):
        self.folder = folder
        self.env = {k: v for k, v in os.environ.items()
                    if not k.startswith(("RANK", "WORLD_SIZE", "LOCAL_RANK", "OMPI_", "WYVERN_"))}
        self.env.update(WYVERN=wyvern, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")

    def config(self, run):
        return write_config(self.folder, run, STEPS, MORE)

    def start(self, *arguments, **env):
        return subprocess.Popen([ROOT / "scripts/launch", *arguments], cwd=self.folder, text=True,
                                env=dict(self.env, **env), stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)

    def mpirun(self, run, fault):
        process = self.start("-n", "2", "--restarts", "2", self.config(run), WYVERN_FAULT=fault)
        output = process.communicate(timeout=300)[0]
        return process.returncode, output

    def tcp(self, run, fault):
        """As a platform starts them: each rank by a launcher of its own."""
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        config = self.config(run)
        processes = [
            self.start("--restarts", "2", config, RANK=str(rank), WORLD_SIZE="2",
                       LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
                       WYVERN_FAULT=fault) for rank in range(2)]
        output = "".join(process.communicate(timeout=300)[0] for process in processes)
        return max(process.returncode for process in processes), output

    def restarted(self, name, start, run, fault, resumes_from):
        code, output = start(run, fault)
        check(code == 0, f"{name}: exit code {code}\n{output}")
        check("start 1 of 2 more" in output and "start 2 of 2 more" not in output, output)
        found = re.findall(r"resuming from \S*step_0*(\d+)", output)
        # A checkpoint that was still being written when the rank died leaves nothing.
        check(len(found) == 1 and resumes_from - 5 <= int(found[0]) <= resumes_from,
              f"{name}: resumed from {found}\n{output}")
        check(losses(self.folder / run) == self.expected, f"{name}: other losses")
        print(f"{name}: resumed from step {found[0]}, {STEPS} losses equal")


def main():
    wyvern = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="wyvern_restart_") as name:
        folder = pathlib.Path(name)
        write_text(folder)
        runs = Runs(folder, wyvern)
        code, output = runs.tcp("whole", "rank=9,do=kill")  # nobody's
        check(code == 0, output)
        runs.expected = losses(folder / "whole")
        check(len(runs.expected) == STEPS + 1, "steps are missing")
        kill = "rank=1,step=18,phase=forward and backward,do=kill"
        runs.restarted("TCP, kill -9 of rank 1", runs.tcp, "tcp", kill, 15)
        if not shutil.which("mpirun") or "no MPI" in runs.mpirun("probe", "rank=9,do=kill")[1]:
            print("skipped: over MPI, which is not installed or not in this build")
            return SKIPPED
        runs.restarted("MPI, kill -9 of rank 1", runs.mpirun, "mpi", kill, 15)
        runs.restarted("MPI, kill -9 of rank 0 while it saves", runs.mpirun, "saving",
                       "rank=0,step=20,phase=checkpoint,do=kill", 15)
        runs.restarted("MPI, rank 1 hangs", runs.mpirun, "hangs", "rank=1,step=12,phase=update,do=hang",
                       10)
    return 0


if __name__ == "__main__":
    sys.exit(main())
