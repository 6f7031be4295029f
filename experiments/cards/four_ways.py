#!/usr/bin/env python3
"""Scores one checkpoint in the four ways that there are, on tasks of local files, and compares them.

  four_ways.py CHECKPOINT FOLDER TASK.yaml ... [--wyvern PROGRAM] [--device cuda] [--dtype bf16] [--max-length N]

`wyvern eval --tasks`; lm-eval with the adapter of integrations/lm_eval; lm-eval's own model `hf` on the export; and
lm-eval's client of the completions protocol against `wyvern score --serve`. FOLDER gets the export, results.json,
results.md, and the numbers of each way as soon as they are there: the same command goes on behind them where it was
stopped. The exit code is 1 where fp32 disagrees: perplexities by more than 1e-4 of them, or accuracies at all.
"""

import argparse
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("tasks", type=pathlib.Path, nargs="+")
    parser.add_argument("--wyvern", default="wyvern")
    parser.add_argument("--family", default="wyvern")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--max-length", type=int, default=2048)
    return parser.parse_args()


# Before the imports of packages, so that --help needs none of them.
OPTIONS = parsed() if __name__ == "__main__" else None

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1",
                  HF_DATASETS_DISABLE_PROGRESS_BARS="1")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "integrations" / "lm_eval"))

import lm_eval  # noqa: E402
import lm_eval.api.registry  # noqa: E402
import lm_eval.models  # noqa: E402,F401  (registers lm-eval's own)
import lm_eval.tasks  # noqa: E402
import wyvern_lm  # noqa: E402,F401  (registers the model)

TOLERANCE = 1e-4  # of perplexities, relative
WAYS = ["wyvern eval", "adapter", "hf", "server"]


def numbers(results):
    """{"task metric": value} of lm-eval's results."""
    return {f"{task} {metric.split(',')[0]}": value for task, metrics in results.items()
            for metric, value in metrics.items() if isinstance(value, float) and "_stderr" not in metric}


def own(options):
    output = options.folder / "eval.json"
    subprocess.run([options.wyvern, "eval", options.checkpoint, "--tasks", *options.tasks, "--device", options.device,
                    "--precision", options.dtype, "--max-length", str(options.max_length), "--output", output],
                   check=True)
    return numbers(json.loads(output.read_text())["results"])


def lm_evals(model, arguments, options):
    # One manager for each file: a folder may hold others. lm-eval looks for data files from where it is started.
    found, model = {}, lm_eval.api.registry.get_model(model).create_from_arg_obj(arguments)
    for path in options.tasks:
        os.chdir(path.parent)
        config = lm_eval.tasks.TaskManager(include_path=str(path.parent), include_defaults=False)
        name = next(line.split(":")[1].strip() for line in path.read_text().splitlines() if line.startswith("task:"))
        found.update(lm_eval.simple_evaluate(model=model, tasks=[name], task_manager=config,
                                             bootstrap_iters=0, verbosity="ERROR")["results"])
    return numbers(found)


def hf(options):
    export = options.folder / "export"
    shutil.rmtree(export, ignore_errors=True)  # it may be of another model
    subprocess.run([options.wyvern, "export", options.checkpoint, export, "--family", options.family], check=True)
    return lm_evals("hf", {"pretrained": str(export), "trust_remote_code": True, "device": options.device,
                           "dtype": {"fp32": "float32", "bf16": "bfloat16"}[options.dtype],
                           "max_length": options.max_length}, options)


def server(options):
    process = subprocess.Popen([options.wyvern, "score", options.checkpoint, "--serve", "--port", "0", "--device",
                                options.device, "--precision", options.dtype], stdout=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().split()[-1]
        # This client cuts requests to two tokens less than `hf` does.
        return lm_evals("local-completions", {"base_url": url + "/completions", "model": "wyvern", "batch_size": 8,
                                              "max_length": options.max_length + 2}, options)
    finally:
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        process.wait(timeout=60)


def hash_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_of(task):
    """The task's file and those of its documents."""
    text = task.read_text(encoding="utf-8")
    return [task] + [task.parent / name for name in re.findall(r'[^"\s\[\]{},]+\.jsonl?', text)]


def numbers_of(way, measure, options):
    """What this way gave before in FOLDER, of the same model, tasks and options, or gives now."""
    path = options.folder / f"{way.replace(' ', '_')}.json"
    checkpoint = pathlib.Path(options.checkpoint)
    newest = max(checkpoint.glob("checkpoints/step_*"), default=checkpoint)
    of = {"checkpoint": str(newest), "manifest": hash_of(newest / "manifest.json"),
          "tasks": [hash_of(file) for task in options.tasks for file in files_of(task)],
          "family": options.family, "device": options.device, "dtype": options.dtype, "max_length": options.max_length}
    if path.exists() and (kept := json.loads(path.read_text()))["of"] == of:
        return kept["numbers"]
    measured = measure()
    path.write_text(json.dumps({"of": of, "numbers": measured}, indent=1) + "\n", encoding="utf-8")
    return measured


def is_equal(name, values):
    if "perplexity" in name or "bits_per_byte" in name:
        return max(values) - min(values) <= TOLERANCE * min(values)
    return max(values) == min(values)


def main(options):
    options.folder.mkdir(parents=True, exist_ok=True)
    options.folder = options.folder.resolve()
    options.checkpoint = str(pathlib.Path(options.checkpoint).resolve())
    options.tasks = [path.resolve() for path in options.tasks]
    # Some ways start it from other folders.
    options.wyvern = os.path.abspath(shutil.which(options.wyvern) or options.wyvern)
    adapter = {"checkpoint": options.checkpoint, "wyvern": options.wyvern, "max_length": options.max_length,
               "device": options.device, "precision": options.dtype}
    found = [numbers_of(way, measure, options) for way, measure in zip(WAYS, [
        lambda: own(options), lambda: lm_evals("wyvern", adapter, options), lambda: hf(options),
        lambda: server(options)])]
    lines = ["| task, metric | " + " | ".join(WAYS) + " | largest difference |", "|---" * 6 + "|"]
    rows, agree = [], True
    for name in found[0]:
        values = [way.get(name, math.nan) for way in found]
        agree = agree and is_equal(name, values)
        rows.append({"quantity": name, **dict(zip(WAYS, values))})
        lines.append("| " + " | ".join([name, *(f"{value:.6g}" for value in values),
                                        f"{max(values) - min(values):.1e}"]) + " |")
    text = "\n".join(lines) + "\n"
    (options.folder / "results.md").write_text(text, encoding="utf-8")
    (options.folder / "results.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(text, end="")
    if options.dtype == "fp32" and not agree:
        raise SystemExit("the ways do not agree")


if __name__ == "__main__":
    main(OPTIONS)
