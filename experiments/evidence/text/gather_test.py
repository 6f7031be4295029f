#!/usr/bin/env python3
"""gather.py: what its steps do with small texts. Needs requirements.txt."""

import pathlib
import subprocess
import sys
import unittest
import unittest.mock

import numpy

import dedup
import formats
import gather
import prose

SENTENCE = "The harbour was quiet when the {} came in, and nobody on the long quay could say where it had been."


def document(path, *lines):
    words = dedup.Words()
    hashes = [words.of(line) for line in lines]
    return ({"text": "\n\n".join(lines), "source": "s", "path": path}, dedup.grams(numpy.concatenate(hashes)),
            list(map(len, hashes)))


class FormatsTest(unittest.TestCase):
    def test_html_leaves_out_navigation_and_code(self):
        page = b"<body><nav>Up</nav><h1>On <i>ships</i></h1><p>A ship.<br>It floats.<pre>x = 1</pre><p>Another.</body>"
        self.assertEqual(formats.html_blocks(page),
                         [("h", "On ships"), ("p", "A ship. It floats."), ("p", "Another.")])

    def test_html_of_comments_alone_has_no_blocks(self):
        self.assertEqual(formats.html_blocks(b"<!-- nothing -->"), [])

    def test_entities_without_a_definition_stand_for_their_names(self):
        page = b"<!DOCTYPE book [<!ENTITY x 'y'>]><book><para>&kstars; shows &amp; names &eacute;toiles.</para></book>"
        self.assertEqual(formats.xml_blocks(page), [("p", "kstars shows & names étoiles.")])

    def test_pages_of_an_rfc_are_joined(self):
        page = (b"   The text goes\n\nDoe            Informational      [Page 1]\n\x0c\n"
                b"RFC 1      Title        May 1999\n\n\n   on here.\n")
        self.assertEqual(formats.rfc_blocks(page), [("p", "The text goes on here.")])

    def test_info_leaves_out_menus(self):
        page = b"intro\n\x1f\nFile: a.info,  Node: Top,  Up: (dir)\n\nName\n****\n\nText.\n\n* Menu:\n\n* A:: b\n"
        self.assertEqual(formats.info_blocks(page), [("h", "Name"), ("p", "Text.")])

    def test_every_form_of_the_list_is_known(self):
        forms = {package.get("form", "auto") for package in gather.listed()}
        self.assertLessEqual(forms - {"auto"}, set(formats.FORMATS))


class ProseTest(unittest.TestCase):
    def test_sentences_pass(self):
        self.assertTrue(prose.is_prose(SENTENCE.format("ship")))

    def test_code_tables_names_and_licences_do_not(self):
        for line in ("if (a == b) { return the_value_of_that[i] + 1; } else { return of_the(b); }",
                     "12.5 13.7 14.1 15.0 16.2 17.9 18.8 19.4 of the 20.",
                     "Anna, Bert, Carl, Dora, Emil, Frida, Gustav, Hilde, Isidor, Jette.",
                     "Der Hafen war still, als das Schiff einlief, und niemand wusste, wo es gewesen war.",
                     "You can use it and all that is in it, but it is for you without warranty of any kind."):
            self.assertFalse(prose.is_prose(line), line)

    def test_long_files_are_cut_at_headings(self):
        blocks = [("h", "One"), ("p", SENTENCE.format("ship"))] + [("p", SENTENCE.format("ship"))] * 700 + [
            ("h", "Two"), ("p", SENTENCE.format("boat"))]
        pieces = list(prose.documents(blocks, 0.3))
        self.assertEqual([piece[0] for piece in pieces], [("h", "One"), ("h", "Two")])


class DedupTest(unittest.TestCase):
    def test_similar_documents_are_found(self):
        words, near = dedup.Words(), dedup.Near()
        text = " ".join(f"word{i}" for i in range(500))
        self.assertTrue(near.add(dedup.grams(words.of(text))))
        self.assertFalse(near.add(dedup.grams(words.of(text.replace("word250", "else")))))
        self.assertTrue(near.add(dedup.grams(words.of(text[len(text) // 2:] + text.replace("word", "term")))))

    def test_sets_know_what_they_hold(self):
        hashes = numpy.arange(0, 1 << 40, 1 << 30, dtype=numpy.uint64)
        held = dedup.Set(hashes[::2])
        self.assertEqual(held.has(hashes).tolist(), [i % 2 == 0 for i in range(len(hashes))])


class CommandTest(unittest.TestCase):
    def test_help_needs_no_package(self):
        # -S leaves out the folders in which packages lie.
        program = pathlib.Path(gather.__file__)
        answer = subprocess.run([sys.executable, "-S", program, "--help"], capture_output=True, text=True)
        self.assertEqual((answer.returncode, answer.stderr), (0, ""))

    def test_a_system_without_a_mirror_of_debian_is_told_the_option(self):
        for addresses in ("http://archive.example/ubuntu/\n", ""):
            answer = subprocess.CompletedProcess([], 0, stdout=addresses)
            with unittest.mock.patch("subprocess.run", return_value=answer):
                with self.assertRaisesRegex(SystemExit, "--mirror"):
                    gather.mirror()
        with unittest.mock.patch("subprocess.run", side_effect=FileNotFoundError("apt-get")):
            with self.assertRaisesRegex(SystemExit, "--mirror"):
                gather.mirror()

    def test_the_mirror_is_the_one_of_debian(self):
        addresses = "http://mirror.example/debian-security/\nhttp://mirror.example/debian/\n"
        answer = subprocess.CompletedProcess([], 0, stdout=addresses)
        with unittest.mock.patch("subprocess.run", return_value=answer):
            self.assertEqual(gather.mirror(), "http://mirror.example/debian/")


class SplitTest(unittest.TestCase):
    def test_held_out_text_is_in_no_training_document(self):
        held_out = document("h", SENTENCE.format("ship"), SENTENCE.format("boat"))
        other = [f"Sentence {word} is long enough that the document stays, which it does by its characters, all of "
                 f"them counted as {word}." for word in ("one", "two", "three")]
        near = document("n", *other, SENTENCE.format("old ship"))
        train = list(gather.apart([near, document("o", *other)], [held_out]))
        self.assertEqual([doc["text"] for doc in train], ["\n\n".join(other)] * 2)

    def test_paragraphs_have_16_to_400_words(self):
        doc = {"text": "\n\n".join(["one " * 30] * 20 + ["two " * 500] + ["three " * 10])}
        self.assertEqual(sorted(len(text.split()) for text in gather.paragraphs([doc])), [210, 390])

    def test_each_source_gives_its_share(self):
        docs = [({"text": "x" * 1000, "source": source, "path": str(i)}, None, None)
                for source in "ab" for i in range(4000)]
        train, held_out = gather.choose(docs)
        self.assertEqual(len(train) + len(held_out), len(docs))
        for source in "ab":
            self.assertAlmostEqual(sum(doc[0]["source"] == source for doc in held_out), 1000, delta=1)


if __name__ == "__main__":
    unittest.main()
