#!/usr/bin/env python3
"""texts.py finds what it is to find, and nothing else."""
import pathlib
import unittest

import texts


def marked(lines, mark="//"):
    return [n for n, text in texts.comment_beginnings(lines, mark) if texts.FRAGMENT.match(text)]


def words(count):
    return " ".join(["word"] * count)


class Comments(unittest.TestCase):
    def test_only_beginnings_count(self):
        code = ["int a;  // Of the first.", "        // What it holds", "// and more.", "//", "// That is new.", "f();",
                "// Then what.", "// Of course not."]
        self.assertEqual(marked(code), [1, 5])  # the second line is in the column of the first
        self.assertEqual(marked(code[1:]), [1, 4])

    def test_scripts(self):
        self.assertEqual(marked(["#!/bin/sh", "x=1  # " + "What x is", "     # Of y", "echo '#'"], "#"), [2])
        self.assertEqual(marked(["x=1  # " + "What x is", "# Of y"], "#"), [1, 2])
        self.assertEqual(len(texts.fragments(pathlib.Path("a.py"), "# That\n\n# Those\n")), 1)


class Pages(unittest.TestCase):
    def test_code_tables_and_headings_do_not_count(self):
        page = f"# {words(40)}\n\nOne `{words(40)}` two:\n\n    {words(40)}\n\n| {words(40)} |\n\n```\n{words(40)}\n```\n"
        self.assertEqual(texts.long_sentences("page", page), [])
        self.assertEqual([s for _, p in texts.paragraphs(page) for s in texts.sentences(p)], ["One code two:"])

    def test_lines_are_wrapped_but_for_code_and_tables(self):
        page = f"{'a' * 121}\n- {'b' * 119}\n\n    {'c' * 121}\n\n| {'d' * 121} |\n\n```\n{'e' * 121}\n```\n{'f' * 120}\n"
        found = texts.long_lines(pathlib.Path("page.md"), page)
        self.assertEqual([line.split(":")[1] for line in found], ["1", "2"])
        self.assertEqual(texts.long_lines(pathlib.Path("docs/configuration.md"), page), [])

    def test_items_and_sentences_count_for_themselves(self):
        page = f"- {words(20)}\n- {words(20)}\n\n{words(20)}. W{words(20)}\n\n- {words(15)}\n  {words(16)}\n"
        self.assertEqual([line.split(":")[1] for line in texts.long_sentences("page", page)], ["6"])


if __name__ == "__main__":
    unittest.main()
