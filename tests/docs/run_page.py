#!/usr/bin/env python3
"""Runs the commands of a page in a fresh folder, in order, and compares what they print with the page.

  run_page.py PAGE BIN [PYTHON]

The blocks marked `sh` run in one shell; a block that builds (it begins with scripts/setup) is left out. BIN, and
PYTHON before it, come first in PATH, and WYVERN is the tree of this script. Each line of the `text` blocks behind a
block must come in its output, in the same order. `...` stands for anything, and any number for a number.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

TREE = pathlib.Path(__file__).resolve().parents[2]
MARK = "@@ block"
NUMBER = re.compile(r"(?<![\w.])(?:[0-9a-f]{16}|\d[\d,]*\.?\d*(?:e[-+]?\d+)?)(?![0-9])")


def blocks_of(page):
    """Of each `sh` block its text, the number of its first line, and the lines that it is said to print."""
    blocks, kind, lines = [], None, []
    for number, line in enumerate(page.splitlines(), 1):
        if not line.startswith("```"):
            lines.append(line)
            continue
        if kind is None:
            kind, lines, first = line[3:].strip(), [], number + 1
            continue
        if kind == "sh":
            blocks.append((lines, first, []))
        elif kind == "text" and blocks:
            blocks[-1][2].extend((line, first + i) for i, line in enumerate(lines))
        kind = None
    return [block for block in blocks if not block[0][0].startswith("scripts/setup")]


def pattern_of(line):
    """A regular expression for what a line of the page stands for."""
    parts = []
    for part in line.strip().split("..."):
        last, text = 0, ""
        for number in NUMBER.finditer(part):
            kind = r"[0-9a-f]{16}" if len(number[0]) == 16 and "." not in number[0] else r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?"
            text += re.escape(part[last:number.start()]) + kind
            last = number.end()
        parts.append(text + re.escape(part[last:]))
    return re.compile(".*".join(re.sub(r"(?:\\ )+", r"\\s+", part) for part in parts) + r"\s*$")


def missing(expected, output):
    """The first of the lines that the output lacks, in order; None if it has all."""
    at = 0
    for line, number in expected:
        if line.strip() in ("", "..."):
            continue
        pattern = pattern_of(line)
        while at < len(output) and not pattern.match(output[at].strip()):
            at += 1
        if at == len(output):
            return line, number
        at += 1
    return None


def main():
    page, path = pathlib.Path(sys.argv[1]), [str(pathlib.Path(p).resolve()) for p in sys.argv[:1:-1]]
    blocks = blocks_of(page.read_text(encoding="utf-8"))
    script = "set -euo pipefail\n" + "".join(
        f"printf '\\n{MARK} {i}\\n'\n" + "\n".join(lines) + "\n" for i, (lines, _, _) in enumerate(blocks))
    environment = dict(os.environ, WYVERN=str(TREE), PATH=":".join(path + [os.environ["PATH"]]))
    with tempfile.TemporaryDirectory(prefix="wyvern_page_") as folder:
        result = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, text=True, errors="replace",
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(result.stdout)
    outputs = re.split(rf"^{MARK} \d+\n", result.stdout, flags=re.M)[1:]
    if result.returncode != 0:
        sys.exit(f"{page}:{blocks[len(outputs) - 1][1]}: the block that begins here ends with {result.returncode}")
    for (_, _, expected), output in zip(blocks, outputs):
        lacking = missing(expected, output.splitlines())
        if lacking is not None:
            sys.exit(f"{page}:{lacking[1]}: the commands do not print: {lacking[0]}")
    print(f"OK: {len(blocks)} blocks")


if __name__ == "__main__":
    main()
