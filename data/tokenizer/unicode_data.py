#!/usr/bin/env python3
"""Writes unicode_data.cc, the properties of all code points in Unicode 16.0.

  python3 -m venv v && v/bin/pip install unicodedata2==16.0.0 regex && v/bin/python unicode_data.py > unicode_data.cc

Needs perl for the code points of Unicode 9.0.
"""

import subprocess

import regex
import unicodedata2

CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn").split()
ALPHABETIC, HAN, UNICODE_9 = 32, 64, 128


def old_code_points():
    code = "for my $c (0..0x10ffff) { print \"$c\\n\" if chr($c) =~ /\\p{Present_In: 9.0}/ }"
    text = subprocess.run(["perl", "-e", code], capture_output=True, text=True, check=True).stdout
    return set(map(int, text.split()))


def main():
    old = old_code_points()
    alphabetic, han = regex.compile(r"\p{Alphabetic}"), regex.compile(r"\p{Han}")
    entries, last = [], None
    for code in range(0x110000):
        char = chr(code)
        category = unicodedata2.category(char)
        value = CATEGORIES.index(category)
        if category not in ("Cn", "Cs"):  # what later versions assign is left out
            value |= ALPHABETIC * bool(alphabetic.match(char)) | HAN * bool(han.match(char))
        value |= UNICODE_9 * (code in old)
        if value != last:
            entries.append(code << 8 | value)
            last = value
    print('// Written by unicode_data.py.\n#include "data/tokenizer/unicode_data.h"\n\nnamespace wyvern {\n')
    print("const std::array<uint32_t, kNumUnicodeRuns> kUnicodeRuns = {")
    for i in range(0, len(entries), 8):
        print("    " + ", ".join(f"0x{e:08x}" for e in entries[i:i + 8]) + ",")
    print("};\n\n}  // namespace wyvern")


if __name__ == "__main__":
    main()
