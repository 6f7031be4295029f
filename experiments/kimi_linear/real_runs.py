#!/usr/bin/env python3
"""Trains the runs of several sweeps on the GPUs of one host within a given time.

    experiments/kimi_linear/real_runs.py --seconds 470 --gpus 0,1,2,3 [--out FOLDER] [SWEEP.yaml=SHARE ...]

Run from the repository root; WYVERN names the program (build/cuda/bin/wyvern). Sweeps default to
experiments/kimi_linear/real.yaml and experiments/scaling_laws/ladder.yaml; SHARE is the part of the
GPUs' time that a sweep gets. One process a GPU:

1. The text is gathered, a tokenizer trained, the token stores made (--text none: the sweeps' own).
2. Some runs of each sweep train a few steps, so that their speed is known; the sweep's variable
   `steps` or `tokens_per_parameter` is set so that its runs fill their share of what time is left.
3. All runs train, the longest first. What would not end in time is not started. Shortly before the
   end the runs still going are told to stop: their curves so far remain.
4. Metrics, the sweeps' tables, `wyvern fit` of a sweep with `fit:` go to the folder --out.

A run folder is removed first if it is there: curves of several speeds shall not mix.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time

WYVERN = os.environ.get("WYVERN", "build/cuda/bin/wyvern")
BEGIN = time.time()
# The time of a training process beside its steps: libraries, the model, the last checkpoint. It is at
# least this, or what the first few steps took.
START_SECONDS = 5.0
# Validation, and what a long run has that a few steps have not.
MARGIN = 1.06
GRACE = 25.0  # between the request to stop and the end


def say(text):
    print(f"[{time.time() - BEGIN:6.1f} s] {text}", flush=True)


def environment(gpu, gpus):
    threads = max(1, (os.cpu_count() or 1) // len(gpus))
    return {**os.environ, "CUDA_VISIBLE_DEVICES": gpu, "OMP_NUM_THREADS": str(threads),
            "OPENBLAS_NUM_THREADS": str(threads)}


class Job:
    def __init__(self, name, command, log, seconds):
        self.name, self.command, self.log, self.seconds = name, command, log, seconds
        self.begin = self.took = self.code = None
        self.stopped = False


def run_queue(jobs, gpus, end=None):
    """Runs jobs, one a GPU, in their order. With `end`, a time: starts nothing that would not be
    through by then, and asks what still runs to stop GRACE seconds before."""
    waiting, running = list(jobs), {}
    while waiting or running:
        now = time.time()
        for gpu in gpus:
            if gpu in running or not waiting:
                continue
            job = next((j for j in waiting if end is None or now + j.seconds <= end - GRACE / 2),
                       None)
            if job is None:
                for left in waiting:
                    say(f"not started: {left.name}, {left.seconds:.0f} s")
                waiting.clear()
                break
            waiting.remove(job)
            job.begin = now
            with open(job.log, "ab") as log:
                running[gpu] = (job, subprocess.Popen(job.command, stdout=log, stderr=log,
                                                      env=environment(gpu, gpus)))
        for gpu, (job, process) in list(running.items()):
            if process.poll() is not None:
                job.code, job.took = process.returncode, time.time() - job.begin
                expected = f" of {job.seconds:.0f} s expected" if end is not None else ""
                say(f"GPU {gpu}: {job.name} {'stopped' if job.stopped else 'ended'}, code "
                    f"{job.code}, {job.took:.0f} s{expected}")
                if job.code != 0:
                    print("\n".join(tail(job.log, 3)), flush=True)
                del running[gpu]
            elif end is not None and not job.stopped and now > end - GRACE:
                job.stopped = True
                process.send_signal(signal.SIGTERM)
            elif end is not None and now > end:
                process.kill()
        time.sleep(0.05)


def tail(path, count):
    with open(path, errors="replace") as file:
        return file.read().splitlines()[-count:]


def wyvern(*arguments, check=True):
    done = subprocess.run([WYVERN, *arguments], capture_output=True, text=True)
    if check and done.returncode != 0:
        sys.exit(f"wyvern {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


class Sweep:
    """A sweep whose length is one number of its file: `steps: N` or `tokens_per_parameter: N`."""

    def __init__(self, path, share):
        self.source, self.share = path, share
        self.text = open(path).read()
        self.name = re.search(r"^name: (\S+)", self.text, re.M)[1]
        self.dir = f"runs/{self.name}"
        self.path = f"runs/{self.name}.yaml"
        self.key, length = re.search(r"^  (steps|tokens_per_parameter): (\S+)", self.text,
                                     re.M).groups()
        self.length = float(length)
        self.step_seconds = {}
        self.start_seconds = START_SECONDS
        os.makedirs("runs", exist_ok=True)
        shutil.rmtree(self.dir, ignore_errors=True)
        self.write(self.length)

    def write(self, length):
        self.length = length
        number = f"{length:g}" if self.key == "steps" else f"{length:.3f}"
        with open(self.path, "w") as file:
            file.write(re.sub(rf"^  {self.key}: \S+", f"  {self.key}: {number}", self.text,
                              flags=re.M))

    def prepare(self, check=True):
        out = wyvern("sweep", self.path, "--prepare", check=check)
        self.runs = json.load(open(f"{self.dir}/sweep.json"))["runs"]
        return out

    def probe(self, steps):
        """Jobs of a few steps: every run of a sweep of one size, else the two longest of a family."""
        runs = self.runs
        if self.key != "steps":
            runs = [run for family in self.families().values()
                    for run in sorted(family, key=flops)[-2:]]
        jobs = []
        for run in runs:
            folder = f"{self.dir}/probe_{run['name']}"
            os.makedirs(folder, exist_ok=True)
            jobs.append(Job(f"{steps} steps of {run['name']}", [
                WYVERN, "train", f"{self.dir}/{run['name']}/config.yaml", "--set",
                f"run.dir={folder}", f"train.steps={steps}", "train.tokens=null",
                "validation.every=0", "validation.batches=null", "schedule.warmup_steps=1",
                "schedule.type=constant", "schedule.final=null", "schedule.decay_steps=null",
                "schedule.decay_tokens=null", "schedule.decay_shape=null",
                "checkpoint.every=0", "logging.every=1"], f"{folder}/log.txt", flops(run)))
        self.probes = {run["name"]: job for run, job in zip(runs, jobs)}
        return sorted(jobs, key=lambda job: -job.seconds)

    def families(self):
        families = {}
        for run in self.runs:
            families.setdefault(run["name"].rsplit("-", 1)[0], []).append(run)
        return families

    def learn(self):
        """Seconds of a step: those of the probes; of other sizes on the line through two of them."""
        for run in self.runs:
            path = f"{self.dir}/probe_{run['name']}/metrics.jsonl"
            rows = [json.loads(line) for line in open(path)] if os.path.exists(path) else []
            times = [row["step_ms"] / 1e3 for row in rows if "step_ms" in row]
            if len(times) >= 4:
                self.step_seconds[run["name"]] = statistics.median(times[3:])
                self.start_seconds = max(self.start_seconds,
                                         self.probes[run["name"]].took - sum(times[1:]))
            shutil.rmtree(os.path.dirname(path), ignore_errors=True)
        for family in self.families().values():
            known = [(flops(run) / run["steps"], self.step_seconds[run["name"]])
                     for run in family if run["name"] in self.step_seconds]
            if not known:
                say(f"no speed is known of {[run['name'] for run in family]}: left out")
                continue
            (x0, y0), (x1, y1) = min(known), max(known)
            slope = max(0, (y1 - y0) / (x1 - x0)) if x1 > x0 else y1 / x1
            for run in family:
                x = flops(run) / run["steps"]
                # Small models are bound by launches: never below a third of the smaller probe.
                self.step_seconds.setdefault(run["name"], max(y0 + slope * (x - x0), y0 / 3))
        say(f"{self.name}: {self.start_seconds:.1f} s a run beside its steps")
        for name, seconds in sorted(self.step_seconds.items(), key=lambda item: -item[1]):
            say(f"{name}: {1e3 * seconds:.1f} ms a step")

    def seconds(self):
        """By run, at the current length."""
        return {run["name"]: self.start_seconds + MARGIN * run["steps"] * self.step_seconds[run["name"]]
                for run in self.runs if run["name"] in self.step_seconds}

    def fill(self, gpu_seconds, longest):
        """Sets the length so that the runs take gpu_seconds together and none more than longest."""
        times = {name: t - self.start_seconds for name, t in self.seconds().items()}
        if not times:
            return
        factor = min((gpu_seconds - self.start_seconds * len(times)) / sum(times.values()),
                     (longest - self.start_seconds) / max(times.values()))
        factor = max(factor, 0.01)
        length = self.length * factor
        if self.key == "steps":
            length = max(10, int(length // 10 * 10))
        self.write(length)
        self.prepare()

    def jobs(self):
        seconds = self.seconds()
        return [Job(f"{self.name}/{run['name']}",
                    [WYVERN, "train", f"{self.dir}/{run['name']}/config.yaml"],
                    f"{self.dir}/{run['name']}/log.txt", seconds[run["name"]])
                for run in self.runs if run["name"] in seconds]

    def collect(self, out):
        folder = os.path.join(out, self.name)
        os.makedirs(folder, exist_ok=True)
        table = wyvern("sweep", self.path, "--status", check=False)
        with open(f"{folder}/runs.txt", "w") as file:
            file.write(table)
        print(table, flush=True)
        for run in self.runs:
            for name in ("metrics.jsonl", "log.txt"):
                path = f"{self.dir}/{run['name']}/{name}"
                if os.path.exists(path):
                    shutil.copy(path, f"{folder}/{run['name']}.{name}")
        shutil.copy(self.path, f"{folder}/sweep.yaml")
        shutil.copy(f"{self.dir}/sweep.json", folder)
        if re.search(r"^fit:", self.text, re.M):
            fit = wyvern("fit", self.dir, check=False)
            with open(f"{folder}/fit.txt", "w") as file:
                file.write(fit)
            print(fit, flush=True)
            for name in ("fit.json", "report.html"):
                if os.path.exists(f"{self.dir}/{name}"):
                    shutil.copy(f"{self.dir}/{name}", folder)


def makespan(jobs, num_gpus):
    """Seconds until the last of the jobs has ended, in their order."""
    busy = [0.0] * num_gpus
    for job in jobs:
        first = busy.index(min(busy))
        busy[first] += job.seconds
    return max(busy)


def flops(run):
    return run["flops_per_token"] * run["tokens"]


def make_text(tokenizer, vocabulary, num_bytes, sample_bytes):
    subprocess.run(["experiments/scaling_laws/prepare.py", "--bytes", str(num_bytes)], check=True)
    if not os.path.exists(tokenizer):
        os.makedirs(os.path.dirname(tokenizer), exist_ok=True)
        # A few megabytes of the text are enough for so many tokens; all of it would take longer
        # than the runs.
        say(wyvern("data", "tokenizer", "--input", "runs/data/source.jsonl", "--output", tokenizer,
                   "--vocab-size", str(vocabulary), "--sample-bytes",
                   str(sample_bytes)).strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweeps", nargs="*", default=["experiments/kimi_linear/real.yaml=0.60",
                                                      "experiments/scaling_laws/ladder.yaml=0.40"])
    parser.add_argument("--seconds", type=float, required=True, help="for all of it")
    parser.add_argument("--gpus", default="0", help="of CUDA_VISIBLE_DEVICES, one process each")
    parser.add_argument("--out", default="runs/real_runs")
    parser.add_argument("--longest", type=float, default=250, help="seconds of one run at most")
    parser.add_argument("--text", choices=["source", "none"], default="source")
    parser.add_argument("--bytes", type=int, default=400_000_000)
    parser.add_argument("--sample-bytes", type=int, default=6_000_000)
    parser.add_argument("--probe-steps", type=int, default=14)
    options = parser.parse_args()
    gpus, end = options.gpus.split(","), BEGIN + options.seconds
    if options.text == "source":
        make_text("runs/data/source/tokenizer.model", 8192, options.bytes, options.sample_bytes)
    sweeps = [Sweep(path, float(share)) for path, share in
              (item.split("=") for item in options.sweeps)]
    for sweep in sweeps:
        lines = [line for line in sweep.prepare().splitlines() if "h5" in line or "MB" in line]
        say("; ".join(line.split("\r")[-1] for line in lines) or "the data are there")
    probes = [job for sweep in sweeps for job in sweep.probe(options.probe_steps)]
    run_queue(probes, gpus)
    for sweep in sweeps:
        sweep.learn()
    for part in (0.97, 0.93, 0.89, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5):  # the rest is cut off by lengths
        left = end - time.time() - GRACE
        for sweep in sweeps:
            sweep.fill(part * sweep.share * left * len(gpus), options.longest)
        jobs = sorted((job for sweep in sweeps for job in sweep.jobs()),
                      key=lambda job: -job.seconds)
        if makespan(jobs, len(gpus)) <= left:
            break
    for sweep in sweeps:
        say(f"{sweep.name}: {sweep.key} {sweep.length:g}, "
            f"{sum(sweep.seconds().values()):.0f} GPU-seconds")
    run_queue(jobs, gpus, end)
    os.makedirs(options.out, exist_ok=True)
    for sweep in sweeps:
        sweep.collect(options.out)
    say(f"results are in {options.out}")


if __name__ == "__main__":
    main()
