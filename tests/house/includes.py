#!/usr/bin/env python3
"""Names each file that uses a function of Abseil's strings without its header.

  includes.py [ROOT]     default: this tree

Which headers bring others along differs between versions of Abseil, so a file that does without builds on one
distribution and fails on another. A source counts what its own header includes.
"""
import pathlib
import re
import sys

HEADERS = {
    "ascii": ["AsciiStrToLower", "AsciiStrToUpper", "StripAsciiWhitespace", "ascii_isalnum", "ascii_isalpha",
              "ascii_isdigit", "ascii_isprint", "ascii_isspace", "ascii_isxdigit", "ascii_tolower", "ascii_toupper"],
    "escaping": ["Base64Escape", "Base64Unescape", "BytesToHexString", "CEscape", "CHexEscape", "CUnescape",
                 "HexStringToBytes", "Utf8SafeCEscape"],
    "match": ["EndsWith", "EndsWithIgnoreCase", "EqualsIgnoreCase", "StartsWith", "StartsWithIgnoreCase",
              "StrContains"],
    "numbers": ["SimpleAtod", "SimpleAtof", "SimpleAtoi", "SimpleHexAtoi"],
    "str_cat": ["Hex", "StrAppend", "StrCat"],
    "str_format": ["StrAppendFormat", "StrFormat"],
    "str_join": ["StrJoin"],
    "str_replace": ["StrReplaceAll"],
    "str_split": ["StrSplit"],
    "strip": ["ConsumePrefix", "ConsumeSuffix", "StripPrefix", "StripSuffix"],
}
HEADER_OF = {name: f"absl/strings/{header}.h" for header, names in HEADERS.items() for name in names}
FOLDERS = ["autograd", "data", "experiments", "integrations", "kernels", "layers", "tests", "trainer"]


def code(path):
    """The file's text without comments at the ends of lines."""
    return re.sub(r"//.*", "", path.read_text())


def missing(path):
    """(header, function) of each header that the file lacks."""
    text = code(path)
    own = path.with_suffix(".h")
    included = text + (code(own) if path.suffix in (".cc", ".cu") and own.is_file() else "")
    used = {}
    for name in re.findall(r"absl::(\w+)", text):
        if name in HEADER_OF:
            used.setdefault(HEADER_OF[name], name)
    return [(header, name) for header, name in used.items() if f'#include "{header}"' not in included]


def main():
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2]
    faults = []
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".cc", ".h", ".cu", ".cuh"):
                faults += [f'{path.relative_to(root)}: uses absl::{name}; include "{header}"'
                           for header, name in missing(path)]
    print("\n".join(faults) if faults else "every file includes the headers of Abseil's strings that it uses")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
