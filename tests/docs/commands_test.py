#!/usr/bin/env python3
"""README.md's list of commands has every command of the program.

  tests/docs/commands_test.py README.md WYVERN
"""

import pathlib
import re
import subprocess
import sys
import unittest

SECTION = "\n## The commands\n"


def commands(wyvern, path=()):
    """(word, ...) of each command that has no commands of its own."""
    text = subprocess.run([wyvern, *path, "--help"], text=True, capture_output=True, check=True).stdout
    names = re.findall(r"^  (\S+)", text.partition("\nSubcommands:\n")[2], re.M)
    found = []
    for name in names:
        found += commands(wyvern, (*path, name))
    return found if names else [path]


def listed(page):
    """The same of a list of commands, in which a|b stands for two."""
    found = set()
    for line in re.findall(r"^    wyvern (.*)", page.partition(SECTION)[2].partition("\n## ")[0], re.M):
        first, second = (line.split() + [""])[:2]
        for one in first.split("|"):
            found.add((one,))
            found.update((one, two) for two in second.split("|"))
    return found


class Commands(unittest.TestCase):
    def test_alternatives_are_commands_of_their_own(self):
        page = f"{SECTION}\n    wyvern a|b FILE\n    wyvern c d|e  x\n\n## More\n\n    wyvern f\n"
        for command in [("a",), ("b",), ("c", "d"), ("c", "e")]:
            self.assertIn(command, listed(page))
        self.assertNotIn(("f",), listed(page))

    def test_every_command_is_in_the_list(self):
        every = commands(WYVERN)
        self.assertGreater(len(every), 20)
        missing = [" ".join(command) for command in every if command not in listed(PAGE)]
        self.assertEqual(missing, [], "README.md, The commands: lines that begin with `    wyvern` lack these")


if __name__ == "__main__":
    PAGE, WYVERN = pathlib.Path(sys.argv[1]).read_text(), sys.argv[2]
    unittest.main(argv=sys.argv[:1])
