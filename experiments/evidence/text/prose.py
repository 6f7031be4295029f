"""English prose among blocks of text, and documents of it."""

import re
import unicodedata

from formats import HEADING

SMALLEST, LARGEST = 200, 100_000  # characters of a document
PIECE = 60_000                    # where a longer file is cut at the next heading
COMMON = set("""a about after all also an and any are as at be because been before but by can could did do does each for
from had has have he her his how i if in into is it its like made may more most must my no not of on one only or other
our out over she should so some such than that the their them then there these they this those to two under up use used
using was we were what when where which while who will with would you your""".split())
END = set(".!?:;…")
WORD = re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")
LEGAL = ("without warrant", "without any warrant", "all rights reserved", "permission is granted",
         "permission is hereby granted", "redistribut", "copyright (c)", "©", "creative commons",
         "gnu free documentation", "gnu general public", "this page was ", "last updated",
         "distribution of this memo", "internet society", "bcp 78", "internet standards track",
         "document may not be modified", "comments and suggestions for improvements")
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060\ufeff\ufffd¶\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(line):
    if line.isascii() and line.isprintable():
        return line
    return " ".join(INVISIBLE.sub("", unicodedata.normalize("NFC", line)).split())


def is_prose(line):
    """Whether a paragraph is sentences of English, and no code, table, list of names or legal notice."""
    words = WORD.findall(line)
    if len(words) < 8 or len(line) > 40 * len(words):
        return False
    letters = sum(map(len, words))
    if letters + line.count(" ") < 0.86 * len(line) or not 3 <= letters / len(words) <= 8:
        return False
    if sum(line.count(sign) for sign in "{}<>=_\\|#$@^~`*[]") > 0.015 * len(line):
        return False
    if sum(map(COMMON.__contains__, map(str.lower, words))) < 0.25 * len(words):
        return False
    if line.rstrip("\"'”’)]")[-1:] not in END:
        return False
    lower = line.lower()
    return not any(phrase in lower for phrase in LEGAL)


def documents(blocks, share):
    """Texts of at most LARGEST characters, cut at headings. A file of which less than a share is prose has none."""
    kept, seen, prose = [], 0, 0
    for kind, line in blocks:
        line = clean(line)
        seen += len(line)
        if kind == HEADING:
            if kept and kept[-1][0] == HEADING:
                kept.pop()
            if 0 < len(line) <= 120:
                kept.append((kind, line))
        elif is_prose(line):
            kept.append((kind, line))
            prose += len(line)
    if kept and kept[-1][0] == HEADING:
        kept.pop()
    if prose < share * seen:
        return
    piece, size = [], 0
    for kind, line in kept:
        if piece and (size + len(line) > LARGEST or (kind == HEADING and size > PIECE)):
            yield piece
            piece, size = [], 0
        piece.append((kind, line))
        size += len(line) + 2
    if piece:
        yield piece
