#!/usr/bin/env python3
"""scripts/launch --slurm on a real Slurm of two nodes: a training of two ranks loses a node, is queued
again and resumes; then a sweep as an array.

  tests/launch/slurm_test.py PATH_OF_WYVERN

Exit code 77: skipped, with the reason.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import slurm
from tiny_run import ROOT, SKIPPED, check, losses, write_config, write_text

STEPS = 300

MORE = "validation: {every: 100, batches: 2}\ncheckpoint: {every: 10, keep: 2}\n"


def last_step(run):
    saved = sorted((run / "checkpoints").glob("step_*")) if run.exists() else []
    return int(saved[-1].name[5:]) if saved else -1


def wait_for_step(run, step):
    end = time.monotonic() + 60
    while last_step(run) < step:
        check(time.monotonic() < end, f"no checkpoint of {run}")
        time.sleep(0.02)


def launch(cluster, folder, wyvern, *arguments):
    """The number of the job."""
    result = subprocess.run([ROOT / "scripts/launch", "--slurm", *arguments], cwd=folder, text=True,
                            env=dict(cluster.env, WYVERN=wyvern, OMP_NUM_THREADS="1"),
                            capture_output=True)
    check(result.returncode == 0, result.stdout + result.stderr)
    return int(re.search(r"Submitted batch job (\d+)", result.stdout)[1])


def node_dies(cluster, folder, wyvern):
    run = folder / "cut"
    write_config(folder, "cut", STEPS, MORE)
    job = launch(cluster, folder, wyvern, "--nodes", "2", "-n", "1", "--gpus", "0",
                 "--output", "cut.txt", "cut.yaml")
    wait_for_step(run, 20)
    cluster.kill_node("node2")
    state = cluster.wait_job(job, ["PENDING", "REQUEUED"], 60)
    check(last_step(run) < STEPS, "the run ended before the node did")
    reached = last_step(run)
    time.sleep(1)
    cluster.start_node("node2")
    state = cluster.wait_job(job, ["COMPLETED", "FAILED"], 120)
    log = (folder / "cut.txt").read_text()
    check(state["JobState"] == "COMPLETED", f"{state}\n{log}")
    check(int(state["Restarts"]) >= 1, str(state))
    resumed = [int(step) for step in re.findall(r"resuming from \S*step_(\d+)", log)]
    check(resumed and resumed[-1] >= reached - 10, f"resumed from {resumed}, reached {reached}")

    # The same two ranks without Slurm and without a failure.
    write_config(folder, "whole", STEPS, MORE)
    whole = subprocess.run([ROOT / "scripts/launch", "-n", "2", "whole.yaml"], cwd=folder, text=True,
                           env=dict(os.environ, WYVERN=wyvern, OMP_NUM_THREADS="1"),
                           capture_output=True)
    check(whole.returncode == 0, whole.stdout + whole.stderr)
    check(losses(run) == losses(folder / "whole"), "the losses differ from an uninterrupted run's")
    check(len(losses(run)) == STEPS + 1, "steps are missing")
    print(f"node death: {state['Restarts']} restart, resumed from step {resumed[-1]}, "
          f"{STEPS} losses equal")


def time_is_up(cluster, folder, wyvern):
    """The signal that comes before the end of a job's time: saved, queued again, resumed."""
    run = folder / "long"
    write_config(folder, "long", STEPS, MORE)
    job = launch(cluster, folder, wyvern, "--nodes", "2", "-n", "1", "--gpus", "0",
                 "--output", "long.txt", "long.yaml")
    wait_for_step(run, 20)
    cluster.run("scancel", "--batch", "--signal=USR1", str(job))
    cluster.wait_job(job, ["PENDING", "REQUEUED"], 60)
    state = cluster.wait_job(job, ["COMPLETED", "FAILED"], 120)
    log = (folder / "long.txt").read_text()
    check(state["JobState"] == "COMPLETED" and state["Restarts"] == "1", f"{state}\n{log}")
    stopped = re.search(r"stopped by SIGTERM after step (\d+)", log)
    check(stopped and f"step_{int(stopped[1]):08d}" in log.split("resuming from")[1], log)
    check(len(losses(run)) == STEPS + 1, "steps are missing")
    print(f"time limit: saved at step {stopped[1]}, queued again, {STEPS} steps done")


def cancelled(cluster, folder):
    """A cancelled job stays so."""
    program = folder / "sleeps"
    program.write_text(f"#!/bin/bash\ntouch {folder}/sleeping\nexec sleep 60\n")
    program.chmod(0o755)
    job = launch(cluster, folder, program, "-n", "1", "--gpus", "0", "--restarts", "3", "--output",
                 "sleeps.txt", "fails.yaml")
    end = time.monotonic() + 30
    while not (folder / "sleeping").exists():
        check(time.monotonic() < end, "the job does not start")
        time.sleep(0.05)
    cluster.run("scancel", str(job))
    cluster.wait_job(job, ["CANCELLED"], 30)
    time.sleep(3)
    check(cluster.job_state(job)["JobState"] == "CANCELLED", str(cluster.job_state(job)))
    print("scancel: the job stays cancelled")


def restarts(cluster, folder, wyvern):
    """A run that fails once is started again in its allocation."""
    (folder / "fails.yaml").write_text("run: {name: fails}\n")
    program = folder / "fails_once"
    program.write_text("#!/bin/bash\necho rank $RANK of $WORLD_SIZE at $MASTER_ADDR $*\n"
                       "echo token $WYVERN_RUN_TOKEN\n"
                       f"mkdir {folder}/failed.$RANK 2>/dev/null && exit 3\nexit 0\n")
    program.chmod(0o755)
    job = launch(cluster, folder, program, "--nodes", "2", "-n", "1", "--gpus", "0", "--restarts",
                 "2", "--name", "a 'run' #1, 100%", "fails.yaml", "--set", "a=b c")
    state = cluster.wait_job(job, ["COMPLETED", "FAILED"], 60)
    log = (folder / f"runs/slurm_a 'run' #1, 100%_{job}.txt").read_text()
    tokens = set(re.findall(r"token (\S+)", log))
    check(len(tokens) == 1 and len(tokens.pop()) == 64, f"not one token: {log}")
    script = cluster.run("scontrol", "write", "batch_script", str(job), "-").stdout
    check("dev/urandom" in script and not re.search(r"[0-9a-f]{64}", script), script)
    check(state["JobState"] == "COMPLETED" and state["Restarts"] == "0", f"{state}\n{log}")
    for text in ["rank 0 of 2 at 127.0.0.1 train fails.yaml --set a=b c", "rank 1 of 2",
                 "exit code 3", "start 1 of 2 more"]:
        check(text in log, f"'{text}' is not in: {log}")
    print("restarts: a failed run was started again in its allocation")


def array(cluster, folder, wyvern):
    write_config(folder, "base", 5, MORE)
    (folder / "sweep.yaml").write_text(
        "name: ladder\ndir: ladder\nbase: base.yaml\naxes: [{list: {run.seed: [1, 2]}}, {points: "
        "{good: {}, bad: {schedule.peak: 1e37, train.nonfinite: stop, train.grad_clip: 0}}}]\n"
        "slurm: {cpus: 1}\n")
    def sweep(*arguments):
        return subprocess.run([wyvern, "sweep", "sweep.yaml", *arguments], cwd=folder, text=True,
                              env=cluster.env, capture_output=True)
    result = sweep("--slurm")
    check(result.returncode == 0, result.stderr)
    job = int(re.search(r"Submitted batch job (\d+)", result.stdout)[1])
    twice = sweep("--slurm")
    check(f"array {job} is still queued or running" in twice.stderr, twice.stdout + twice.stderr)
    end = time.monotonic() + 60
    while cluster.run("squeue", "-h", "-j", str(job)).stdout.strip():
        check(time.monotonic() < end, cluster.run("squeue").stdout)
        time.sleep(0.2)
    status = sweep("--status").stdout
    check("2 finished, 2 FAILED" in status, status + result.stdout)
    check("is not finite" in status, status)
    print("sweep: an array of 4 tasks, 2 finished, 2 failed as they should")


def task_stops_alone(cluster, folder, wyvern):
    """The signal before the end of one task's time: it alone saves, is queued again and resumes."""
    write_config(folder, "array base", 5, MORE)
    (folder / "array.yaml").write_text(
        "name: array\ndir: 'my array #1, 100%'\nbase: array base.yaml\n"
        "axes: [{points: {short: {}, long: {train.steps: STEPS}, last: {train.steps: STEPS}}}]\n"
        "slurm: {cpus: 1}\n".replace("STEPS", str(STEPS)))
    result = subprocess.run([wyvern, "sweep", "array.yaml", "--slurm"], cwd=folder, text=True,
                            env=cluster.env, capture_output=True)
    check(result.returncode == 0, result.stdout + result.stderr)
    job = int(re.search(r"Submitted batch job (\d+)", result.stdout)[1])
    runs = {name: folder / "my array #1, 100%" / name for name in ("short", "long", "last")}
    wait_for_step(runs["last"], 20)
    wait_for_step(runs["long"], 20)
    cluster.wait_until(lambda: (runs["short"] / "report.html").exists(), 60, "short does not end")
    # The last task has the number of the whole array.
    cluster.run("scancel", "--batch", "--signal=USR1", f"{job}_2")
    cluster.wait_until(lambda: not cluster.run("squeue", "-h", "-j", str(job)).stdout.strip(), 120,
                       lambda: cluster.run("squeue").stdout)
    logs = {name: (run / "log.txt").read_text() for name, run in runs.items()}
    for name, starts in (("short", 1), ("long", 1), ("last", 2)):
        check(logs[name].count(f"{name} on cpu") == starts, f"{name}: {logs[name]}")
        check((runs[name] / "report.html").exists(), f"{name}: {logs[name]}")
    check("stopped by SIGTERM" in logs["last"], logs["last"])
    check("stopped by" not in logs["long"], logs["long"])
    check(len(losses(runs["last"])) == STEPS + 1, "steps are missing")
    outputs = {path.name for path in (folder / "my array #1, 100%").glob("slurm_*.txt")}
    check(outputs == {f"slurm_{job}_{task}.txt" for task in range(3)}, str(outputs))
    print("sweep: one task of an array stopped and resumed alone")


def main():
    wyvern = os.path.abspath(sys.argv[1])
    missing = slurm.missing_programs()
    if missing:
        print(f"skipped: {', '.join(missing)} not installed (Debian: slurmctld, slurmd, slurm-client, "
              "munge)")
        return SKIPPED
    if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"],
                      capture_output=True).returncode != 0:
        print("skipped: no right to make the process namespaces in which nodes can die")
        return SKIPPED
    with tempfile.TemporaryDirectory(prefix="wyvern_slurm_") as name:
        folder = pathlib.Path(name)
        write_text(folder)
        (folder / "slurm").mkdir()
        cluster = slurm.Cluster(folder / "slurm")
        try:
            cluster.start()
            restarts(cluster, folder, wyvern)
            cancelled(cluster, folder)
            array(cluster, folder, wyvern)
            task_stops_alone(cluster, folder, wyvern)
            node_dies(cluster, folder, wyvern)
            time_is_up(cluster, folder, wyvern)
        except Exception:
            print(cluster.logs())
            for output in folder.glob("*.txt"):
                print(f"== {output.name}\n{output.read_text()[-3000:]}")
            raise
        finally:
            cluster.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
