#!/usr/bin/env python3
"""tests/skipped.py: what it finds in CTest's JUnit files, and when it fails."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SKIPPED = pathlib.Path(__file__).resolve().parents[1] / "skipped.py"
RAN = '<testcase name="{}" status="run"><system-out>{}</system-out></testcase>'
NOT_RUN = '<testcase name="{}" status="notrun"><skipped message="{}"/><system-out>{}</system-out></testcase>'
GOOGLETEST = "[ RUN      ] A.B\n/x/a_test.cc:7: Skipped\n{}\n[  SKIPPED ] A.B (0 ms)\n"


class SkippedTest(unittest.TestCase):
    def run_on(self, cases, *options, named="no GPU = there is none\n"):
        with tempfile.TemporaryDirectory(prefix="wyvern_skipped_") as folder:
            folder = pathlib.Path(folder)
            (folder / "tests.xml").write_text(f"<testsuite>{''.join(cases)}</testsuite>")
            (folder / "named.txt").write_text(named)
            return subprocess.run(
                [sys.executable, SKIPPED, *options, folder / "tests.xml", folder / "named.txt"],
                text=True, capture_output=True)

    def test_every_kind_of_skip_is_counted_by_reason(self):
        result = self.run_on([
            RAN.format("passed", "[ OK ] A.B"),
            NOT_RUN.format("gpu/1", "SKIP_REGULAR_EXPRESSION_MATCHED", GOOGLETEST.format("no GPU here")),
            NOT_RUN.format("gpu/2", "SKIP_REGULAR_EXPRESSION_MATCHED", GOOGLETEST.format("no GPU here")),
            NOT_RUN.format("slurm", "SKIP_RETURN_CODE=77", "skipped: slurmctld not installed\n"),
            RAN.format("python", "test_a (x.Y.test_a) ... skipped 'no mpirun'\n"),
            RAN.format("ranks", GOOGLETEST.format("one rank") + GOOGLETEST.format("a GPU is\nlost\n")),
            NOT_RUN.format("lost", "Unable to find executable", "")])
        self.assertEqual(result.returncode, 0)
        self.assertTrue(result.stdout.startswith("Skipped: 7 tests\n    2  no GPU here\n       gpu/1, gpu/2\n"),
                        result.stdout)
        for line in ("1  slurmctld not installed", "1  no mpirun", "1  one rank", "1  a GPU is lost",
                     "1  Unable to find executable"):
            self.assertIn(line, result.stdout)

    def test_strictly_only_named_reasons_pass(self):
        gpu = NOT_RUN.format("gpu", "x", GOOGLETEST.format("no GPU here"))
        slurm = NOT_RUN.format("slurm", "x", "skipped: slurmctld not installed, and no GPU\n")
        self.assertEqual(self.run_on([gpu], "--strict").returncode, 0)
        self.assertEqual(self.run_on([gpu, slurm]).returncode, 0)
        result = self.run_on([gpu, slurm], "--strict")
        self.assertEqual(result.returncode, 1)
        self.assertIn("does not name: slurmctld not installed, and no GPU\n", result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1)

    def test_a_reason_without_a_why_is_an_error(self):
        result = self.run_on([], named="# text\nno GPU\n")
        self.assertEqual(result.returncode, 1)
        self.assertIn("expected 'reason = why it may be', got 'no GPU'", result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
