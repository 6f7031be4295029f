#!/usr/bin/env python3
"""Lists the tests that CTest's JUnit file says were skipped, by reason.

  tests/skipped.py [--strict] TESTS.xml NAMED.txt

NAMED.txt has a line for each reason that is no fault: how it begins, ` = `, why it may be. With
--strict any other skip is a failure (exit code 1). Tests that a program skips among others that it
runs count too: CTest calls them passed.
"""

import argparse
import collections
import re
import sys
import xml.etree.ElementTree

# GoogleTest: "file:line: Skipped", then the reason, up to an empty line or what the next event prints;
# unittest: "... skipped 'reason'"; scripts of our own: "skipped: reason".
GOOGLETEST = re.compile(r"^\S+:\d+: Skipped\n(.*?)\n(?:\n|\[)", re.MULTILINE | re.DOTALL)
UNITTEST = re.compile(r"\.\.\. skipped (['\"])(.*)\1$", re.MULTILINE)
OWN = re.compile(r"^skipped: (.*)$", re.MULTILINE)


def reasons(output):
    found = [match.group(1) for match in GOOGLETEST.finditer(output)]
    found += [match.group(2) for match in UNITTEST.finditer(output)]
    found += [match.group(1) for match in OWN.finditer(output)]
    return [" ".join(reason.split()) for reason in found]


def skipped_tests(path):
    """Maps each reason to the names of the tests, once for each that was skipped."""
    tests = collections.defaultdict(list)
    try:
        root = xml.etree.ElementTree.parse(path).getroot()
    except (OSError, xml.etree.ElementTree.ParseError) as error:
        raise SystemExit(f"{path}: not a JUnit file of CTest: {error}")
    for case in root.iter("testcase"):
        found = reasons(case.findtext("system-out") or "")
        if not found and case.get("status") in ("notrun", "disabled"):
            element = case.find("skipped")
            found = [element.get("message") if element is not None else "no reason"]
        for reason in found:
            tests[reason].append(case.get("name"))
    return tests


def named_reasons(path):
    with open(path, encoding="utf-8") as lines:
        pairs = [line.strip().split(" = ", 1) for line in lines if line.strip() and line[0] != "#"]
    for pair in pairs:
        if len(pair) != 2:
            raise SystemExit(f"{path}: expected 'reason = why it may be', got '{pair[0]}'")
    return dict(pairs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("tests")
    parser.add_argument("named")
    parser.add_argument("--strict", action="store_true")
    arguments = parser.parse_args()
    named = named_reasons(arguments.named)
    tests = skipped_tests(arguments.tests)
    if not tests:
        print("No test was skipped.")
        return 0
    print(f"Skipped: {sum(map(len, tests.values()))} tests")
    unnamed = []
    for reason, names in sorted(tests.items(), key=lambda item: -len(item[1])):
        known = any(reason.startswith(text) for text in named)
        if not known:
            unnamed.append(reason)
        some = ", ".join(sorted(set(names))[:2]) + (", ..." if len(set(names)) > 2 else "")
        print(f"{len(names):5}  {reason}\n       {some}")
    if arguments.strict and unnamed:
        for reason in unnamed:
            print(f"{arguments.tests}: skipped for a reason that {arguments.named} does not name: {reason}",
                  file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
