#!/usr/bin/env python3
"""tests/house/rooms.py: what it finds in small trees."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOMS = pathlib.Path(__file__).with_name("rooms.py")
PAGE = """
| room | what belongs there | may include |
|---|---|---|
| `kernels/runtime` | x | |
| `kernels/comm/**` | x | `kernels/runtime` |
| `kernels/<family>` | x | `kernels/runtime` |
| `kernels/<family>/cuda`, `kernels/<family>/sm90` | x | `kernels/<family>`, `kernels/comm/**` |
| `autograd` | x | `kernels/*` |

| from | to | why |
|---|---|---|
"""
TREE = {
    "kernels/runtime/status.h": "#include <string>\n",
    "kernels/comm/world.h": '#include "kernels/comm/host/tcp.h"\n',
    "kernels/comm/host/tcp.h": '#include "kernels/comm/world.h"\n#include "kernels/runtime/status.h"\n',
    "kernels/norm/norm.h": '#include "kernels/runtime/status.h"\n',
    "kernels/norm/cuda/norm.cu": '#include "kernels/norm/norm.h"\n#include "kernels/norm/sm90/wgmma.cuh"\n',
    "kernels/norm/sm90/wgmma.cuh": '#include "kernels/norm/cuda/norm.cuh"\n',
    "autograd/tape.cc": '#include "kernels/norm/norm.h"\n#include "absl/strings/str_cat.h"\n',
}


class RoomsTest(unittest.TestCase):
    def faults(self, files=None, page=""):
        with tempfile.TemporaryDirectory(prefix="wyvern_rooms_") as folder:
            folder = pathlib.Path(folder)
            for name, text in {**TREE, **(files or {}), "docs/rooms.md": PAGE + page}.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(text)
            result = subprocess.run([sys.executable, ROOMS, folder], text=True, capture_output=True)
            self.assertEqual(result.stderr, "")
            lines = result.stdout.splitlines()
            if result.returncode == 0:
                self.assertEqual(lines, ["every include is one that docs/rooms.md allows"])
                return []
            return lines

    def test_allowed_includes_pass(self):
        self.assertEqual(self.faults(), [])

    def test_an_include_that_skips_a_layer_is_named_with_its_rule(self):
        self.assertEqual(
            self.faults({"kernels/norm/norm.h": '#include "kernels/runtime/status.h"\n  # include "autograd/tape.h"\n'}),
            ['kernels/norm/norm.h: includes "autograd/tape.h", but kernels/norm may include kernels/runtime '
             "(docs/rooms.md)",
             "a circle among rooms: autograd -> kernels/norm -> autograd"])

    def test_a_family_is_not_another_family(self):
        fault, = self.faults({"kernels/head/head.h": "", "kernels/norm/cuda/b.cu": '#include "kernels/head/head.h"\n'})
        self.assertIn("kernels/norm/cuda may include kernels/<family>, kernels/comm/**", fault)
        # An edge with a reason is allowed, for this family alone.
        allowed = "| `kernels/norm/cuda` | `kernels/head` | because |\n"
        files = {"kernels/head/head.h": "", "kernels/norm/cuda/b.cu": '#include "kernels/head/head.h"\n'}
        self.assertEqual(self.faults(files, allowed), [])

    def test_folders_rooms_and_edges_that_are_nowhere_are_named(self):
        fault, = self.faults({"layers/block.cc": "", "layers/block.h": ""})
        self.assertIn("the folder layers is in no room", fault)
        fault, = self.faults({"autograd/deep/x.cc": ""})
        self.assertIn("the folder autograd/deep is in no room", fault)
        # The table that is open at the end of the page is the one of edges.
        page = "| room | x | y |\n| `data` | x | |\n"
        self.assertEqual(self.faults(page=page), ["docs/rooms.md: the room data has no sources; remove its row"])
        self.assertEqual(self.faults(page="| `kernels/norm` | `kernels/comm/**` | because |\n"),
                         ["docs/rooms.md: no file of kernels/norm includes one of kernels/comm/**; remove the edge"])

    def test_a_circle_that_the_tables_allow_is_one_all_the_same(self):
        page = "| `kernels/norm` | `autograd` | because |\n"
        self.assertEqual(self.faults({"kernels/norm/norm.h": '#include "autograd/tape.h"\n'}, page),
                         ["a circle among rooms: autograd -> kernels/norm -> autograd"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
