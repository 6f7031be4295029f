#!/usr/bin/env python3
"""Holds comments and pages to three rules of CONTRIBUTING.md.

  texts.py [PATH ...]     default: the whole tree

- No comment begins with "Of", "That" or "What": such a beginning is a fragment that lacks its verb.
- No sentence of a page (*.md) has more than 30 words. Code blocks, tables and headings do not count; inline code is
  one word.
- No line of a page's paragraphs and lists has more than 120 characters. configuration.md is written by the program.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = [".ci", "autograd", "cmake", "configs", "data", "docs", "experiments", "integrations", "kernels", "layers",
           "scripts", "tests", "trainer"]
SLASHES = {".h", ".cc", ".cu", ".cuh", ".c"}
HASHES = {".py", ".sh", ".cmake", ".yaml", ".txt"}
MAX_WORDS = 30
MAX_CHARACTERS = 120
GENERATED = {"configuration.md"}

FRAGMENT = re.compile(r"(Of|That|What)\b")


def comment_beginnings(lines, mark):
    """(line number, text) of each comment's first line; an empty comment line begins a new one."""
    column = None  # of the comment that the line before is in
    for number, line in enumerate(lines, 1):
        whole = re.match(rf"\s*({mark})(?!\!)\s?(.*)", line)
        if whole:
            text = whole.group(2).strip()
            # A comment behind code goes on below in its own column.
            if text and column != whole.start(1):
                yield number, text
            column = whole.start(1) if text else None
            continue
        behind = re.search(rf"\S\s+({mark}) (.*)", line)
        if behind:
            yield number, behind.group(2)
        column = behind.start(1) if behind else None


def fragments(path, text):
    mark = "//" if path.suffix in SLASHES else "#"
    return [f"{path}:{number}: begins with a fragment: {beginning}"
            for number, beginning in comment_beginnings(text.splitlines(), mark) if FRAGMENT.match(beginning)]


def prose(text):
    """(line number, line) of each line; the line is empty where it is code, a table or a heading."""
    fenced, blank = False, True
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        fence = bare.startswith("```")
        fenced = fenced != fence
        code = fence or fenced or (line.startswith("    ") and blank)
        yield number, "" if code or bare.startswith(("|", "#", "<")) else line.rstrip()
        blank = not bare or code


def paragraphs(text):
    """(line number, text) of each paragraph and list item outside of code, tables and headings."""
    gathered, begin = [], 0
    for number, line in [*prose(text), (0, "")]:
        bare = line.strip()
        ends = not bare
        if ends or re.match(r"([-*]|\d+\.) ", bare):
            if gathered:
                yield begin, " ".join(gathered)
            gathered = []
        if not ends:
            begin = begin if gathered else number
            gathered.append(bare)


def sentences(paragraph):
    plain = re.sub(r"^([-*]|\d+\.) ", "", paragraph)
    plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", plain)
    plain = re.sub(r"(`+).+?\1", "code", plain)
    return re.split(r"(?<=[.!?])[*_)\"]*\s+(?=[\"(*_A-Z0-9a-z])", plain)


def words(sentence):
    return [w for w in sentence.split() if re.search(r"\w", w)]


def long_sentences(path, text):
    found = []
    for number, paragraph in paragraphs(text):
        for sentence in sentences(paragraph):
            count = len(words(sentence))
            if count > MAX_WORDS:
                found.append(f"{path}:{number}: {count} words: {sentence[:90]}")
    return found


def long_lines(path, text):
    if path.name in GENERATED:
        return []
    return [f"{path}:{number}: {len(line)} characters; wrap at {MAX_CHARACTERS}: {line[:60]}"
            for number, line in prose(text) if len(line) > MAX_CHARACTERS]


def files(arguments):
    if arguments:
        return [pathlib.Path(a).resolve() for a in arguments]
    found = [p for p in ROOT.iterdir() if p.is_file()]
    for folder in FOLDERS:
        found += (ROOT / folder).rglob("*")
    return sorted(p for p in found if p.is_file() and "results" not in p.parts and "seeds" not in p.parts)


def violations(arguments=()):
    found = []
    for absolute in files(arguments):
        path = absolute.relative_to(ROOT)
        script = path.suffix == "" and path.parts[0] in ("scripts", ".ci", "experiments", "tests")
        if path.suffix == ".md":
            found += long_sentences(path, absolute.read_text())
            found += long_lines(path, absolute.read_text())
        elif path.suffix in SLASHES or script or (path.suffix in HASHES and (
                path.suffix != ".txt" or path.name == "CMakeLists.txt")):
            found += fragments(path, absolute.read_text(errors="replace"))
    return found


if __name__ == "__main__":
    problems = violations(sys.argv[1:])
    print("\n".join(problems))
    sys.exit(1 if problems else 0)
