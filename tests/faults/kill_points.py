#!/usr/bin/env python3
"""Stops wyvern, or gives it an error, at single file operations, and looks at what is left.

  tests/faults/kill_points.py WYVERN INJECT.so [--points 100 | --all] [--only NAME ...] [--seed 1] [--jobs N]
                              [--at SCENARIO:DO:N]   one trial, whose folder is kept

A point is a command, one of its file operations and what happens there (inject.c): SIGKILL, SIGKILL within a
write, half a write, EINTR, EIO, or a disk that is full from then on. It fails unless
  - what was whole before is whole still, or replaced by the new whole;
  - an error ends the command with a message and a code, or the result is that of an undisturbed run;
  - the same command, run again, succeeds, and leaves the files of an undisturbed run, no more and no
    fewer, with the same bytes (of metrics.jsonl the same values; times may differ).
"""

import argparse
import concurrent.futures
import errno
import hashlib
import itertools
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile

SAME = ("step", "tokens", "loss", "val_loss", "grad_norm", "lr", "skipped")
TIMED = re.compile(r"report\.html$|log\.txt$|console\.log$|sweep\.json$|prepared\.json$")  # hold times or rates
ACTIONS = ["kill", "kill", "torn", "full", str(errno.EIO), "short", str(errno.EINTR)]

RUN = """run: {name: tiny, dir: run, device: cpu}
tokenizer: {type: byte}
data:
  sources: [{dir: store, text: [text.txt], document_separator: "\\n\\n", val_documents: 4}]
  seq_len: 16
model:
  vocab_size: 258
  hidden_size: 16
  num_layers: 1
  intermediate_size: 32
  mixers: {gdn: {type: gated_delta_net, num_heads: 1, key_dim: 8, value_dim: 8}}
  pattern: [gdn]
train: {steps: 6, batch_tokens: 32, micro_batch: 1}
schedule: {type: constant, peak: 1e-3}
validation: {every: 3, batches: 1}
checkpoint: {every: 1, keep: 2}
logging: {every: 1}
"""
# llama.cpp has no delta rule without attention.
LLAMA = RUN.replace("gdn: {type: gated_delta_net, num_heads: 1, key_dim: 8, value_dim: 8}",
                    "llama: {type: attention, num_heads: 1}").replace("[gdn]", "[llama]")
SWEEP = """name: tiny
dir: sweep
base: run.yaml
run_name: "seed-{seed}"
set: {checkpoint.every: 0}
axes:
  - {name: seed, points: {a: {run.seed: 1}, b: {run.seed: 2}}}
"""


class Failed(Exception):
    pass


def check(condition, message):
    if not condition:
        raise Failed(message)


def texts(folder):
    generator = random.Random(5)
    words = "the quick brown fox jumps over a lazy dog while seven wizards brew tea".split()
    for name, number in (("old.txt", 20), ("text.txt", 30)):
        documents = [" ".join(generator.choice(words) for _ in range(generator.randint(4, 30)))
                     for _ in range(number)]
        (folder / name).write_text("\n\n".join(documents))
    (folder / "run.yaml").write_text(RUN)
    (folder / "llama.yaml").write_text(LLAMA)
    (folder / "sweep.yaml").write_text(SWEEP)


def content(path):
    """What of a file must be the same in every run."""
    if path.name == "metrics.jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return json.dumps([[line.get(key) for key in SAME] for line in lines])
    if TIMED.search(path.name):
        return ""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def listing(folder):
    """Relative path -> content. Event files, whose names hold the time, count as one."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if ".tfevents." in name:
            found[name[:name.index(".tfevents.")]] = ""
        else:
            found[name] = "folder" if path.is_dir() else content(path)
    return found


def differences(expected, found):
    lines = [f"missing: {name}" for name in expected if name not in found]
    lines += [f"left over: {name}" for name in found if name not in expected]
    lines += [f"differs: {name}" for name in expected
              if name in found and expected[name] != found[name]]
    return "; ".join(lines[:8])


class Scenario:
    """A command, run in a folder that `before` commands have filled."""

    def __init__(self, name, command, before=(), old=(), whole=(), once=None):
        self.name, self.command, self.before = name, command, before
        self.old = old      # files that an error leaves as they were
        self.whole = whole  # commands that succeed before, and after a SIGKILL
        self.once = once    # an output that is written once: it must not exist before


PREPARE = ["data", "prepare", "--output", "store", "--document-separator", "\\n\\n", "--val-documents", "4"]
TRAIN = ["train", "run.yaml"]
SCENARIOS = [
    Scenario("prepare", PREPARE + ["--input", "text.txt"]),
    Scenario("prepare_over", PREPARE + ["--input", "text.txt"], before=[PREPARE + ["--input", "old.txt"]],
             old=["store/train.h5", "store/val.h5"],
             whole=[["data", "info", "--verify", "store/train.h5"], ["data", "info", "--verify", "store/val.h5"]]),
    Scenario("tokenizer", ["data", "tokenizer", "--input", "text.txt", "--output", "a.model",
                           "--vocab-size", "300"]),
    Scenario("train", TRAIN),
    Scenario("train_on", TRAIN + ["--set", "train.steps=10"], before=[TRAIN],
             whole=[["checkpoint", "verify", "run"], ["data", "info", "--verify", "store/train.h5"]]),
    Scenario("export", ["export", "run", "hf"], before=[TRAIN], once="hf",
             whole=[["checkpoint", "verify", "run"]]),
    Scenario("gguf", ["export", "run", "model.gguf", "--format", "gguf"], before=[["train", "llama.yaml"]],
             once="model.gguf", whole=[["checkpoint", "verify", "run"]]),
    Scenario("import", ["import", "hf", "checkpoint"], before=[TRAIN, ["export", "run", "hf"]],
             once="checkpoint"),
    Scenario("report", ["fit", "--points", "points.csv", "--output", "fit"]),
    Scenario("sweep", ["sweep", "sweep.yaml", "--jobs", "1"], before=[PREPARE + ["--input", "text.txt"]]),
]


class Trials:
    def __init__(self, options, root):
        self.wyvern = pathlib.Path(options.wyvern).resolve()
        self.inject = pathlib.Path(options.inject).resolve()
        self.root = root
        self.environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1",
                                OMP_WAIT_POLICY="passive")
        self.before, self.expected, self.operations, self.old = {}, {}, {}, {}

    def run(self, folder, command, **inject):
        environment = dict(self.environment, **inject)
        if inject:
            environment.update(LD_PRELOAD=str(self.inject), INJECT_UNDER=str(folder))
        return subprocess.run([self.wyvern, *command], cwd=folder, env=environment, timeout=120,
                              capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)

    def well(self, folder, command, **inject):
        done = self.run(folder, command, **inject)
        check(done.returncode == 0,
              f"'{' '.join(command)}' ends with {done.returncode}: {(done.stderr or done.stdout)[-600:].strip()}")
        return done

    def learn(self, scenario):
        """What the command leaves when nothing happens, and how many operations it makes."""
        before = self.before[scenario.name] = self.root / scenario.name
        before.mkdir()
        texts(before)
        (before / "points.csv").write_text(
            "loss,compute\n" + "".join(f"{4 - 0.3 * i},{10 ** i}\n" for i in range(6)))
        for command in scenario.before:
            self.well(before, command)
        self.old[scenario.name] = listing(before)
        runs = []
        for name in ("first", "second"):
            folder = self.root / f"{scenario.name}.{name}"
            shutil.copytree(before, folder, symlinks=True)
            self.well(folder, scenario.command, INJECT_LOG=str(self.root / f"{scenario.name}.{name}.log"))
            runs.append(listing(folder))
            shutil.rmtree(folder)
        check(runs[0] == runs[1],
              f"{scenario.name}: two undisturbed runs differ: {differences(runs[0], runs[1])}")
        self.expected[scenario.name] = runs[0]
        log = (self.root / f"{scenario.name}.first.log").read_text().splitlines()
        self.operations[scenario.name] = log

    def trial(self, scenario, action, at):
        folder = self.root / f"{scenario.name}-{action}-{at}"
        log = self.operations[scenario.name]
        kind = log[at - 1].split()[1] if at <= len(log) else ""
        shutil.copytree(self.before[scenario.name], folder, symlinks=True)
        expected = self.expected[scenario.name]
        done = self.run(folder, scenario.command, INJECT_AT=str(at), INJECT_DO=action)
        said = (done.stdout[-300:] + done.stderr[-600:]).strip()
        killed = done.returncode == -9 and action in ("kill", "torn")
        check(killed or done.returncode in (0, 1), f"ends with {done.returncode}: {said}")
        if killed:
            for command in scenario.whole:
                self.well(folder, command)
        elif done.returncode == 0:
            self.check_success(folder, expected, done)
        else:
            check(action != "short" and (action != str(errno.EINTR) or kind != "write"), f"does not go on: {said}")
            check(done.stderr.strip(), "fails without a word")
            check(not re.search(r"std::|json\.exception", done.stderr), f"a raw exception: {said}")
            for name in scenario.old:
                check((folder / name).exists() and content(folder / name) == self.old[scenario.name][name],
                      f"{name} is not what it was before the error: {said}")
        if scenario.once is None or not (folder / scenario.once).exists():
            self.well(folder, scenario.command)
        found = listing(folder)
        if "without a checkpoint" in said:
            found, expected = last_checkpoint_alone(found), last_checkpoint_alone(expected)
        check(found == expected, f"run again: {differences(expected, found)}; at first: {said[-300:]}")
        shutil.rmtree(folder)

    @staticmethod
    def check_success(folder, expected, done):
        """All as without the error, but for checkpoints that the training said it could not write."""
        found = listing(folder)
        for name, value in expected.items():
            said = "step_" in name and "without a checkpoint" in done.stdout + done.stderr
            check(said or found.get(name) == value,
                  f"ends with 0, but {differences(expected, found)}: {(done.stderr + done.stdout)[-300:]}")


def last_checkpoint_alone(files):
    """Without the checkpoints of steps before the last, of which another one stays where one could not be written."""
    steps = re.compile(r"run/checkpoints/(step_[0-9]{8})(/|$)")
    last = max((match.group(1) for match in map(steps.match, files) if match), default="")
    return {name: value for name, value in files.items()
            if not steps.match(name) or steps.match(name).group(1) == last}


def choose(trials, scenarios, points, generator):
    """All points, or so many, spread over scenarios, operations and actions."""
    every = [(scenario, action, at) for scenario in scenarios
             for action in dict.fromkeys(ACTIONS)
             for at in range(1, len(trials.operations[scenario.name]) + 1)
             if action not in ("torn", "short")
             or trials.operations[scenario.name][at - 1].split()[1] == "write"]
    if points is None or points >= len(every):
        return every
    by_kind = {}
    for point in every:
        by_kind.setdefault((point[0].name, point[1]), []).append(point)
    turns = [(scenario.name, action) for action in ACTIONS for scenario in scenarios]
    chosen = {}
    for i in itertools.count():
        here = by_kind.get(turns[i % len(turns)])
        if here:
            chosen[generator.choice(here)] = None
        if len(chosen) == points:
            return list(chosen)


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"scripts/kill_points: {message}; --help shows the use\n")


def trial_name(text):
    parts = text.split(":")
    if len(parts) != 3 or parts[1] not in ACTIONS or not parts[2].isdigit():
        raise argparse.ArgumentTypeError(f"expected SCENARIO:DO:N, DO one of {', '.join(ACTIONS)}, got '{text}'")
    return parts


def main():
    parser = Parser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("wyvern")
    parser.add_argument("inject")
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--at", type=trial_name)
    parser.add_argument("--check", action="store_true", help="read the options, and do nothing")
    options = parser.parse_args()
    at = options.at
    names = [at[0]] if at else options.only
    for name in names:
        if name not in [scenario.name for scenario in SCENARIOS]:
            parser.error(f"unknown scenario {name}; there are: {' '.join(scenario.name for scenario in SCENARIOS)}")
    if options.check:
        return
    scenarios = [scenario for scenario in SCENARIOS if not names or scenario.name in names]
    root = pathlib.Path(tempfile.mkdtemp(prefix="wyvern_kill_points_"))
    trials = Trials(options, root)
    for scenario in scenarios:
        try:
            trials.learn(scenario)
        except Failed as failure:
            sys.exit(str(failure))
        print(f"{scenario.name}: {len(trials.operations[scenario.name])} file operations", flush=True)
    if at:
        points = [(scenarios[0], at[1], int(at[2]))]
    else:
        points = choose(trials, scenarios, None if options.all else options.points,
                        random.Random(options.seed))
    failures = []

    def attempt(point):
        scenario, action, number = point
        try:
            trials.trial(*point)
        except (Failed, subprocess.TimeoutExpired) as failure:
            log = trials.operations[scenario.name]
            operation = log[number - 1] if number <= len(log) else "?"
            failures.append(point)
            print(f"FAILED {scenario.name}:{action}:{number} ({operation}): {failure}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(attempt, points))
    print(f"{len(points)} points, {len(failures)} failed")
    if failures:
        print(f"what they left is in {root}")
        sys.exit(1)
    if at:
        print(f"folder: {root}")
    else:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
