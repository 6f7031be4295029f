#!/usr/bin/env python3
"""What a training writes where nobody looks: whole plain lines, through mpirun too, which gives rank 0 a
terminal of its own.

  tests/launch/log_test.py PATH_OF_WYVERN

Exit code 77: skipped, with the reason.
"""

import os
import pathlib
import pty
import re
import shutil
import subprocess
import sys
import tempfile

from tiny_run import ROOT, SKIPPED, check, write_config, write_text

MORE = "validation: {every: 3, batches: 2}\nlogging: {every: 2}\n"


def environment(**more):
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("RANK", "WORLD_SIZE", "LOCAL_RANK", "OMPI_", "WYVERN_"))}
    return dict(env, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive", **more)


def check_plain(log):
    check("\r" not in log and "\x1b" not in log, f"terminal codes in {log!r}")
    check(re.findall(r"^step (\d)/6  loss \d.*tokens/s", log, re.M) == ["2", "4", "6"], log)
    check(re.search(r"^step 6/6 .* validation \d\.\d{4}", log, re.M), log)


def on_terminal(folder, wyvern, **env):
    """What a run prints on a terminal."""
    shutil.rmtree(folder / "alone", ignore_errors=True)
    config = write_config(folder, "alone", 6, MORE)
    controller, terminal = pty.openpty()
    process = subprocess.Popen([wyvern, "train", config], env=environment(**env), stdout=terminal,
                               stderr=subprocess.DEVNULL)
    os.close(terminal)
    output = b""
    try:
        while part := os.read(controller, 1 << 16):
            output += part
    except OSError:  # the terminal is closed
        pass
    os.close(controller)
    check(process.wait(60) == 0, output.decode())
    return output.decode().replace("\r\n", "\n")  # as terminals end lines


def main():
    wyvern = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="wyvern_log_") as name:
        folder = pathlib.Path(name)
        write_text(folder)
        check("\x1b[K" in on_terminal(folder, wyvern), "no live line on a terminal")
        check_plain(on_terminal(folder, wyvern, WYVERN_TERMINAL="0"))
        check("\x1b[K" in on_terminal(folder, wyvern, WYVERN_TERMINAL="1"), "no live line")
        # As mpirun starts it, with a terminal of its own; one rank of one is no MPI.
        check_plain(on_terminal(folder, wyvern, OMPI_COMM_WORLD_SIZE="1"))
        if not shutil.which("mpirun"):
            print("skipped: mpirun is not installed")
            return SKIPPED
        config = write_config(folder, "ranks", 6, MORE)
        with open(folder / "log", "w") as log:
            code = subprocess.call([ROOT / "scripts/launch", "-n", "2", config],
                                   env=environment(WYVERN=wyvern), stdout=log,
                                   stderr=subprocess.STDOUT, timeout=100)
        text = (folder / "log").read_bytes().decode()
        if "no MPI" in text:
            print("skipped: this build has no MPI")
            return SKIPPED
        check(code == 0, text)
        check_plain(text)
        print("plain lines on a terminal that is none, and through mpirun")
    return 0


if __name__ == "__main__":
    sys.exit(main())
