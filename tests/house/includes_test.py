#!/usr/bin/env python3
"""tests/house/includes.py: what it finds in small trees."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

INCLUDES = pathlib.Path(__file__).with_name("includes.py")


class IncludesTest(unittest.TestCase):
    def run_on(self, files):
        with tempfile.TemporaryDirectory(prefix="wyvern_includes_") as folder:
            for name, text in files.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return subprocess.run([sys.executable, INCLUDES, folder], text=True, capture_output=True)

    def test_a_missing_header_is_named(self):
        result = self.run_on({"data/io/a.cc": '#include "absl/strings/match.h"\nabsl::StrCat(1);\n'})
        self.assertEqual(result.returncode, 1)
        self.assertEqual(result.stdout, 'data/io/a.cc: uses absl::StrCat; include "absl/strings/str_cat.h"\n')

    def test_own_header_and_comments_count_not(self):
        result = self.run_on({
            "data/io/a.h": '#include "absl/strings/str_cat.h"\n',
            "data/io/a.cc": '#include "data/io/a.h"\nabsl::StrCat(1);\n',
            "data/io/b.cc": "// as absl::StrCat writes it\n",
        })
        self.assertEqual(result.returncode, 0, result.stdout)


if __name__ == "__main__":
    unittest.main()
