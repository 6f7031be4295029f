#!/usr/bin/env python3
"""scripts/to_wandb: what it tells the client of Weights & Biases, for which a module here stands."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts/to_wandb"
WANDB = """
import json, os
class Run:
    dir = "wandb/offline-run/files"
    def __enter__(self): return self
    def __exit__(self, *failure): tell("finish")
    def log(self, row, step): tell("log", step, row)
def tell(*what):
    with open(os.environ["CALLS"], "a") as calls: calls.write(json.dumps(what) + "\\n")
def init(**options):
    tell("init", options)
    return Run()
"""


class ToWandbTest(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix="wyvern_wandb_")
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)
        self.run_folder = self.folder / "run"
        self.run_folder.mkdir()
        (self.run_folder / "config.yaml").write_text('{"run": {"name": "tiny"}, "train": {"steps": 3}}')
        (self.run_folder / "metrics.jsonl").write_text(
            '{"step":1,"loss":5.5,"time":"2026-01-01T00:00:00Z","parent":{"path":"/p","step":7}}\n'
            '{"step":2,"loss":null,"validation":{"code":{"loss":2.5}},"skipped":true}\n'
            'nonsense\n{"step":3,"loss":5}\n{"step":3,"loss":4.5}\n{"step":4,"lo')

    def to_wandb(self, *arguments, modules=True):
        stubs = self.folder / "stubs"
        stubs.mkdir(exist_ok=True)
        if modules:
            (stubs / "wandb.py").write_text(WANDB)
            (stubs / "yaml.py").write_text("from json import loads as safe_load\n")
        environment = dict(os.environ, PYTHONPATH=str(stubs), CALLS=str(self.folder / "calls"))
        # -S: without the packages of this machine.
        return subprocess.run([sys.executable, "-S", SCRIPT, *arguments], text=True, capture_output=True,
                              env=environment)

    def calls(self):
        lines = (self.folder / "calls").read_text().splitlines()
        (self.folder / "calls").unlink()
        return [json.loads(line) for line in lines]

    def test_every_step_is_logged_once_with_its_numbers(self):
        result = self.to_wandb("--project", "deltas", self.run_folder)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("run: 3 steps in ", result.stdout)
        (begin, options), *logged, end = self.calls()
        self.assertEqual((begin, end), ("init", ["finish"]))
        self.assertEqual(logged, [["log", 1, {"loss": 5.5}],
                                  ["log", 2, {"validation/code/loss": 2.5, "skipped": True}],
                                  ["log", 3, {"loss": 4.5}]])
        self.assertEqual((options["mode"], options["project"], options["name"]), ("offline", "deltas", "tiny"))
        self.assertEqual(options["config"], {"run": {"name": "tiny"}, "train": {"steps": 3},
                                             "parent": {"path": "/p", "step": 7}})
        self.to_wandb(self.run_folder)
        self.assertEqual(self.calls()[0][1]["id"], options["id"], "a later call is the same run")

    def test_what_is_missing_is_named(self):
        result = self.to_wandb(self.folder / "none", modules=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("none: no run folder with steps, as it holds no metrics.jsonl", result.stderr)
        result = self.to_wandb(self.run_folder, modules=False)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("pip install wandb", result.stderr)


if __name__ == "__main__":
    unittest.main()
