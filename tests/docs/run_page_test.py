#!/usr/bin/env python3
"""tests/docs/run_page.py: what it runs, and what it finds."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

RUN_PAGE = pathlib.Path(__file__).resolve().parent / "run_page.py"


class RunPageTest(unittest.TestCase):
    def run_page(self, text):
        with tempfile.TemporaryDirectory(prefix="wyvern_run_page_") as folder:
            page = pathlib.Path(folder) / "page.md"
            page.write_text(text)
            return subprocess.run([sys.executable, RUN_PAGE, page, folder], text=True, capture_output=True)

    def test_blocks_share_a_shell_and_a_fresh_folder(self):
        result = self.run_page("# T\n```sh\nls | wc -l\nx=3\n```\n```text\n0\n```\n"
                               "```yaml\nno: command\n```\n```sh\nprintf \"loss $((x * 2)).25 at step $x\"\n```\n"
                               "```text\nloss 1.5e-3 at step 7\n```\n")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("OK: 2 blocks", result.stdout)

    def test_a_block_that_builds_is_left_out(self):
        result = self.run_page("```sh\nscripts/setup cpu\n```\n```sh\ntest -e \"$WYVERN/scripts/setup\"\n```\n")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_a_command_that_fails_is_named_by_its_block(self):
        result = self.run_page("```sh\ntrue\n```\n\n```sh\nfalse\n```\n```sh\ntouch never\n```\n")
        self.assertEqual(result.returncode, 1)
        self.assertIn("page.md:6: the block that begins here ends with 1", result.stderr)

    def test_lines_that_do_not_come_are_named(self):
        for said, holds in (("a 1\nb", True), ("b\na 1", False), ("a ...\n...\nb", True), ("a 1\nc", False),
                            ("hash 0123456789abcdef", True), ("a one", False), ("a", False)):
            result = self.run_page("```sh\necho a 22\necho hash fedcba9876543210\necho b\n```\n"
                                   f"```text\n{said}\n```\n")
            self.assertEqual(result.returncode == 0, holds, (said, result.stderr))
            if not holds:
                self.assertIn("the commands do not print: ", result.stderr)


if __name__ == "__main__":
    unittest.main()
