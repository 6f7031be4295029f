#!/usr/bin/env python3
"""Kills random ranks of a training at random moments and resumes it.

  tests/ranks/kill_trials.py WYVERN [--trials 50] [--seed 1] [--json FILE]

A trial starts a small run on several CPU ranks, sends SIGKILL to one of them (half of the times while a
checkpoint is being written), and starts the run again. It fails unless
  - every folder that has a checkpoint's name is complete, by its checksums, and the newest is the one that
    the run resumes from: no step before it is lost, and none later than what was announced as saved;
  - the losses of all steps are, digit for digit, those of a run on the same ranks that nobody killed, and
    the last checkpoint has the same checksums.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEPS, EVERY = 60, 4
SAME = ("step", "tokens", "loss", "val_loss", "grad_norm", "lr", "skipped")

# Name, ranks, parallel section.
MESHES = [
    ("2 ranks, ZeRO 3", 2, "{shard: 2, zero: 3}"),
    ("2 ranks, replicas", 2, "{replicate: 2}"),
    ("2 ranks, context", 2, "{context: 2}"),
    ("4 ranks, replicas of ZeRO 2", 4, "{replicate: 2, shard: 2, zero: 2}"),
    ("3 ranks, ZeRO 1", 3, "{shard: 3, zero: 1}"),
]

CONFIG = """
run: {{name: killed, device: cpu, dir: {folder}/run}}
model:
  vocab_size: 258
  hidden_size: 64
  num_layers: 2
  intermediate_size: 128
  mixers:
    gdn: {{type: gated_delta_net, num_heads: 2, key_dim: 16, value_dim: 16}}
    kda: {{type: kda, num_heads: 2, key_dim: 16, value_dim: 16}}
  pattern: [gdn, kda]
tokenizer: {{type: byte}}
data:
  sources: [{{dir: {folder}/store, text: [{folder}/text], document_separator: "\\n\\n"}}]
  seq_len: 16
train: {{steps: {steps}, batch_tokens: 192, micro_batch: 1}}
schedule: {{type: constant, peak: 5e-3}}
validation: {{every: 20, batches: 2}}
checkpoint: {{every: {every}, keep: 2}}
"""


def check(condition, message):
    if not condition:
        raise AssertionError(message)


class Run:
    """Processes that train in one run folder."""

    def __init__(self, trials, mesh, folder):
        self.trials, self.folder = trials, folder
        self.name, self.ranks, self.parallel = mesh
        self.process = None

    def start(self):
        command = [ROOT / "tests/ranks/start", str(self.ranks), self.trials.wyvern, "train",
                   self.trials.folder / "config.yaml", "--set", f"run.dir={self.folder}",
                   f"parallel={self.parallel}"]
        environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
        self.output = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, env=environment, stdout=self.output,
                                        stderr=self.output, text=True)
        return self

    def wait_after_kill(self):
        """The others end by themselves once they have met; before that a launcher ends them."""
        begin = time.monotonic()
        while self.process.poll() is None:
            waited = time.monotonic() - begin
            met = (self.folder / "metrics.jsonl").exists()
            check(waited < 60, "the other ranks wait on")
            if waited > 2 and not met:
                for pid in self.children():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        return self.wait()

    def wait(self):
        """Exit code and output."""
        code = self.process.wait(timeout=120)
        self.output.seek(0)
        return code, self.output.read()

    def children(self):
        task = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            return [int(pid) for pid in task.read_text().split()]
        except OSError:
            return []

    def pids(self):
        """Of the ranks, in their order; empty before they are there and after they have ended."""
        children = self.children()
        try:
            programs = [os.readlink(f"/proc/{pid}/exe") for pid in children]
        except OSError:
            return []
        whole = len(children) == self.ranks and all(p == str(self.trials.wyvern) for p in programs)
        return children if whole else []

    def folders(self, prefix):
        checkpoints = self.folder / "checkpoints"
        try:
            return sorted(p for p in checkpoints.iterdir() if p.name.startswith(prefix))
        except FileNotFoundError:
            return []

    def newest(self):
        """Step of the newest checkpoint, -1 without one."""
        saved = self.folders("step_")
        return int(saved[-1].name[5:]) if saved else -1

    def metrics(self):
        rows = {}
        path = self.folder / "metrics.jsonl"
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                row = json.loads(line)
            except ValueError:
                break  # torn
            check(row["step"] not in rows, f"step {row['step']} twice")
            rows[row["step"]] = {key: row[key] for key in SAME if key in row}
        return rows

    def checksums(self):
        manifest = json.loads((self.folders("step_")[-1] / "manifest.json").read_text())
        return {t["name"]: [(s["start"], s["size"], s["crc32"]) for s in t["slices"]]
                for t in manifest["tensors"]}


class Trials:
    def __init__(self, wyvern, folder, seed):
        self.wyvern, self.folder = pathlib.Path(wyvern).resolve(), folder
        self.random = random.Random(seed)
        words = ["delta ", "rule ", "erases ", "then ", "writes ", "state ", "key "]
        text = random.Random(1)
        documents = ["".join(text.choices(words, k=text.randint(3, 13))) for _ in range(80)]
        (folder / "text").write_text("\n\n".join(documents))
        (folder / "config.yaml").write_text(
            CONFIG.format(folder=folder, steps=STEPS, every=EVERY))
        self.references = {}

    def reference(self, mesh):
        """Metrics, checksums and duration of the run that nobody kills."""
        if mesh[0] not in self.references:
            run = Run(self, mesh, self.folder / f"reference{len(self.references)}")
            for attempt in range(2):  # the first one also prepares the data
                if attempt == 1 and self.references:
                    break
                subprocess.run(["rm", "-rf", run.folder], check=True)
                begin = time.monotonic()
                code, output = run.start().wait()
                check(code == 0, output)
            self.references[mesh[0]] = (run.metrics(), run.checksums(), time.monotonic() - begin)
        return self.references[mesh[0]]

    def wait_for_moment(self, run, duration):
        """Sleeps to a random moment; whether a checkpoint was being written then."""
        if self.random.random() < 0.5:
            end = time.monotonic() + self.random.uniform(0, duration)
            while time.monotonic() < end and run.process.poll() is None:
                time.sleep(0.001)
        else:
            # In the n-th checkpoint, some time after it has begun.
            seen, wanted = set(), self.random.randint(1, STEPS // EVERY - 1)
            while len(seen) < wanted and run.process.poll() is None:
                seen.update(p.name for p in run.folders(".tmp-"))
                time.sleep(0.0005)
            time.sleep(self.random.uniform(0, 0.03))
        return bool(run.folders(".tmp-"))

    def trial(self, number, mesh):
        expected, checksums, duration = self.reference(mesh)
        run = Run(self, mesh, self.folder / f"trial{number}")
        while True:  # until a kill comes before the run has ended
            subprocess.run(["rm", "-rf", run.folder], check=True)
            run.start()
            self.wait_for_moment(run, duration)
            pids = run.pids()
            if pids:
                victim = self.random.randrange(run.ranks)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pids[victim], signal.SIGKILL)
            code, output = run.wait_after_kill() if pids else run.wait()
            if pids and code != 0:
                break
        writing = bool(run.folders(".tmp-"))
        deleting = bool(run.folders(".doomed-"))
        for folder in run.folders("step_"):
            subprocess.run([self.wyvern, "checkpoint", "verify", folder], check=True,
                           stdout=subprocess.DEVNULL)
        newest = run.newest()
        announced = [int(step) for step in re.findall(r"checkpoint of step (\d+): .* complete", output)]
        check(newest >= max(announced, default=-1), f"step {announced[-1:]} was announced:\n{output}")
        logged = max(run.metrics(), default=0)

        code, output = run.start().wait()
        check(code == 0, output)
        resumed = re.search(r"resuming from .*step_(\d+)", output)
        check((int(resumed[1]) if resumed else -1) == newest, f"newest {newest}:\n{output}")
        check(run.metrics() == expected, f"{run.name}: other losses after step {newest}")
        check(run.checksums() == checksums, f"{run.name}: other tensors after step {newest}")
        check(not run.folders("."), "leftovers stay")
        subprocess.run(["rm", "-rf", run.folder], check=True)
        return {"mesh": run.name, "rank": victim, "step": logged, "resumed": max(newest, 0),
                "lost": logged - max(newest, 0), "writing": writing, "deleting": deleting}


def summary(rows):
    lost = [row["lost"] for row in rows]
    return {
        "trials": len(rows),
        "meshes": collections.Counter(row["mesh"] for row in rows),
        "killed rank 0": sum(row["rank"] == 0 for row in rows),
        "killed while a checkpoint was written": sum(row["writing"] for row in rows),
        "killed while an old one was deleted": sum(row["deleting"] for row in rows),
        "killed before the first checkpoint": sum(row["resumed"] == 0 for row in rows),
        "steps between checkpoints": EVERY,
        "steps lost, mean": round(sum(lost) / len(lost), 2),
        "steps lost, most": max(lost),
        "resumed with equal losses and tensors": len(rows),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("wyvern")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wyvern_kill_") as folder:
        trials = Trials(options.wyvern, pathlib.Path(folder), options.seed)
        rows = []
        for number in range(options.trials):
            rows.append(trials.trial(number, MESHES[(number + options.seed - 1) % len(MESHES)]))
            print(rows[-1], flush=True)
    result = summary(rows)
    print(json.dumps(result, indent=1))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(
            {"summary": result, "trials": rows}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
