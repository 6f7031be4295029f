#!/usr/bin/env python3
"""tests/slow.py: which tests it lists."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

TESTS = pathlib.Path(__file__).resolve().parents[1]


class SlowTest(unittest.TestCase):
    def run_on(self, times, labels=None):
        with tempfile.TemporaryDirectory(prefix="wyvern_slow_") as folder:
            folder = pathlib.Path(folder)
            cases = "".join(f'<testcase name="{name}" time="{time}"/>' for name, time in times.items())
            (folder / "tests.xml").write_text(f"<testsuite>{cases}</testsuite>")
            (folder / "labels.txt").write_text(labels or (TESTS / "labels.txt").read_text())
            return subprocess.run([sys.executable, TESTS / "slow.py", folder / "tests.xml", folder / "labels.txt"],
                                  text=True, capture_output=True)

    def test_only_long_tests_without_the_label_are_listed(self):
        result = self.run_on({"data/FileTest.A": 0.1, "data/FileTest.B": 2.5, "trainer/Config.C": 7,
                              "launch/slurm": 80, "trainer/ResumeTest.D": 5, "kernels/AdamW.E_OnTheGpu": 9})
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertEqual([line.split()[-1] for line in result.stdout.splitlines()[1:]],
                         ["trainer/Config.C", "data/FileTest.B"])
        self.assertEqual(self.run_on({"data/FileTest.A": 0.1}).stdout, "")

    def test_a_label_without_names_is_an_error(self):
        result = self.run_on({}, labels="slow\n")
        self.assertEqual(result.returncode, 1)
        self.assertIn("expected a label and a regular expression, got 'slow'", result.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
