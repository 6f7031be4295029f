#!/usr/bin/env python3
"""Lists tests that took long although tests/labels.txt makes them fast.

  tests/slow.py TESTS.xml LABELS.txt [SECONDS]     default: 2 seconds

TESTS.xml is CTest's JUnit file. Prints nothing where there is none. Times depend on the machine and on what
else it does, so the exit code is 0 all the same.
"""

import argparse
import re
import xml.etree.ElementTree


def slow_names(path):
    """A regular expression of the tests that are labelled slow or gpu."""
    with open(path, encoding="utf-8") as lines:
        rules = [line.split() for line in lines if re.match("[a-z]", line)]
    for rule in rules:
        if len(rule) != 2:
            raise SystemExit(f"{path}: expected a label and a regular expression, got '{' '.join(rule)}'")
    return re.compile("|".join(text for label, text in rules if label in ("slow", "gpu")) or r"\Z.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("tests")
    parser.add_argument("labels")
    parser.add_argument("seconds", type=float, nargs="?", default=2)
    arguments = parser.parse_args()
    slow = slow_names(arguments.labels)
    times = [(float(case.get("time") or 0), case.get("name"))
             for case in xml.etree.ElementTree.parse(arguments.tests).getroot().iter("testcase")]
    long = sorted((case for case in times if case[0] >= arguments.seconds and not slow.search(case[1])), reverse=True)
    if long:
        print(f"Labelled fast, but took {arguments.seconds:g} s or more ({arguments.labels}):")
    for seconds, name in long:
        print(f"{seconds:7.1f} s  {name}")


if __name__ == "__main__":
    main()
