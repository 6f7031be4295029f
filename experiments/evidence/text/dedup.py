"""Repeated paragraphs, and documents that are nearly the same: MinHash over word 5-grams, in the form that keeps the
smallest hashes of one hash function."""

import hashlib
import re

import numpy

GRAM = 5
SKETCH = 256   # smallest hashes that a document keeps; two sketches estimate the Jaccard similarity
KEYS = 16      # of them, those by which similar documents are found: one common to both suffices
SIMILAR = 0.7  # similarity from which a document is a near-duplicate
WORD = re.compile(r"[^\W_]+")


class Words(dict):
    """Hashes of words; all numbers are one word."""

    def __missing__(self, word):
        name = "0" if word.isdigit() else word
        self[word] = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")
        return self[word]

    def of(self, text):
        """The hashes [words] uint64 of the text's words, without case and punctuation."""
        return numpy.fromiter(map(self.__getitem__, WORD.findall(text.lower())), dtype=numpy.uint64)


def key(words):
    """Equal for equal sequences of words."""
    return hashlib.blake2b(words.tobytes(), digest_size=8).digest()


def grams(words):
    """The hashes [max(words - 4, 1)] uint64 of the 5-grams."""
    count = max(len(words) - GRAM + 1, 1)
    found = numpy.zeros(count, dtype=numpy.uint64)
    for i in range(GRAM):
        part = words[i:i + count]
        found[:len(part)] ^= part
        found *= numpy.uint64(0x9E3779B97F4A7C15)
        found ^= found >> numpy.uint64(29)
    return found


class Set:
    """A set of hashes, asked by arrays. Few hashes pass the table of low bits, so few are searched."""

    BITS = numpy.uint64((1 << 24) - 1)

    def __init__(self, hashes):
        self.sorted = numpy.unique(hashes)
        self.table = numpy.zeros(int(self.BITS) + 1, dtype=bool)
        self.table[self.sorted & self.BITS] = True

    def has(self, hashes):
        found = self.table[hashes & self.BITS]
        asked = hashes[found]
        found[found] = self.sorted[numpy.minimum(numpy.searchsorted(self.sorted, asked), len(self.sorted) - 1)] == asked
        return found


class Near:
    """Remembers documents by their smallest hashes, and says which new one is nearly an old one."""

    def __init__(self):
        self.sketches = []
        self.holders = {}  # a hash: the documents that have it among their smallest KEYS

    def add(self, hashes):
        """False, and nothing remembered, if an earlier document is nearly the same."""
        sketch = numpy.unique(hashes)[:SKETCH]
        keys = sketch[:KEYS].tolist()
        for other in {other for key in keys for other in self.holders.get(key, ())}:
            union = numpy.union1d(sketch, self.sketches[other])[:SKETCH]
            common = numpy.intersect1d(sketch, self.sketches[other], assume_unique=True)
            if numpy.isin(union, common, assume_unique=True).mean() >= SIMILAR:
                return False
        for key in keys:
            self.holders.setdefault(key, []).append(len(self.sketches))
        self.sketches.append(sketch)
        return True
