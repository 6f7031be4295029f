#!/usr/bin/env python3
"""English text of Debian packages, deduplicated, as training and held-out documents.

  gather.py FOLDER [--mirror ADDRESS] [--record]

FOLDER gets train.jsonl and heldout.jsonl with {"text", "source", "path"} a line, heldout.txt (held-out text in
paragraphs of 16 to 400 words, divided by empty lines) and sources.json (documents and characters of each source).
Packages are kept in FOLDER/cache. The exit code is 1 if the files are not those of manifest.json, which --record writes
anew.
"""

import argparse
import hashlib
import io
import json
import pathlib
import re
import subprocess
import sys
import tarfile
import urllib.request


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--mirror", help="address above pool/ (default: that of apt)")
    parser.add_argument("--record", action="store_true", help="write manifest.json")
    return parser.parse_args()


# Before the imports of packages, so that --help needs none of them.
OPTIONS = parsed() if __name__ == "__main__" else None

import lxml.etree  # noqa: E402
import numpy  # noqa: E402

import dedup  # noqa: E402
import formats  # noqa: E402
import prose  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
HELD_OUT = 2_000_000  # bytes, about
SHARED = 0.5          # share of a paragraph's 5-grams in held-out text from which training does without it
LANGUAGES = ("ar|bg|ca|cs|cz|da|de|el|eo|es|et|eu|fa|fi|fr|gl|he|hi|hr|hu|id|it|ja|ko|lt|lv|nb|nl|nn|no|pl|pt|pt[_-]br|"
             "ro|ru|sk|sl|sr|sv|th|tr|uk|vi|zh|zh[_-]\\w+|[a-z][a-z][-_][A-Z][A-Z]")
DROP = re.compile(
    r"/(_sources|_modules|_static|_downloads|api|apis|apidoc|api[-_]docs|javadocs?|doxygen|doxyhtml|man|source|src)/|"
    rf"/(?!en[-_])({LANGUAGES})/|\.({LANGUAGES})\.\w+$|"
    r"/(genindex|search|py-modindex|changelog|changes|news|copyright|licen[cs]es?|copying|gpl|lgpl|fdl|gfdl|authors|"
    r"credits|thanks|todo|bugs|contributors|whatsnew|perl\w*delta|release[-_]?notes?|history|toc|bookindex|ix01|"
    r"idx|theindex|[a-z]*index-\w*|all\w*-index)[\w.-]*$", re.I)


def listed():
    """The packages, by which of two equal paragraphs the first is kept."""
    return [json.loads(line) for line in (HERE / "packages.jsonl").read_text().splitlines()]


def mirror():
    """The mirror of Debian that apt uses."""
    try:
        found = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
                               check=True, capture_output=True, text=True).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"apt does not say which mirror it uses: {error}. Name a mirror of Debian by --mirror")
    for address in found:
        if address.rstrip("/").endswith("/debian"):
            return address
    raise SystemExit(f"apt uses no mirror that ends in /debian, but {', '.join(sorted(set(found))) or 'none'}. Name a "
                     "mirror of Debian by --mirror")


def fetch(package, address, cache):
    path = cache / pathlib.Path(package["path"]).name
    if not path.is_file():
        source = f"{address.rstrip('/')}/{package['path']}"
        try:
            with urllib.request.urlopen(source, timeout=600) as response:
                content = response.read()
        except OSError as error:
            raise SystemExit(f"{source}: {error}. The mirror has it no more: give the cache of another run, or an "
                             f"archive of old packages by --mirror. It must have the SHA-256 {package['sha256']}")
        path.write_bytes(content)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != package["sha256"]:
        raise SystemExit(f"{path}: expected the SHA-256 {package['sha256']}, found {found}; remove the file")
    return path


def files(package, path):
    """(name, content) of the package's files of text, sorted by name."""
    keep = re.compile(package.get("keep", ""))
    drop = re.compile(package["drop"]) if "drop" in package else None
    tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", path], check=True, stdout=subprocess.PIPE).stdout
    found = []
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            name = member.name.lstrip(".")
            if member.isfile() and keep.search(name) and not DROP.search(name) and not (drop and drop.search(name)):
                found.append((name, member))
        for name, member in sorted(found, key=lambda entry: entry[0]):
            yield name, archive.extractfile(member).read()


def pieces(package, path):
    """(path, lines) of each document of a package, before documents are compared."""
    for name, data in files(package, path):
        try:
            blocks = formats.blocks_of(name, data, package.get("form", "auto"))
        except (ValueError, lxml.etree.LxmlError) as error:
            raise SystemExit(f"{package['name']}: {name}: {error}")
        for number, piece in enumerate(prose.documents(blocks, package.get("share", 0.3))):
            yield (f"{name}#{number}" if number else name), piece


def unlike(packages, paths):
    """The documents without paragraphs and documents that came before, each with its 5-grams and the number of words of
    each line."""
    seen, words, near = set(), dedup.Words(), dedup.Near()
    for package, path in zip(packages, paths):
        print(package["name"], file=sys.stderr)
        for name, piece in pieces(package, path):
            lines, hashes = [], []
            for kind, line in piece:
                found = words.of(line)
                if kind == formats.HEADING:
                    if lines and lines[-1][0] == formats.HEADING:
                        lines.pop()
                        hashes.pop()
                else:
                    key = dedup.key(found)
                    if key in seen:
                        continue
                    seen.add(key)
                lines.append((kind, line))
                hashes.append(found)
            if lines and lines[-1][0] == formats.HEADING:
                lines.pop()
                hashes.pop()
            text = "\n\n".join(line for _, line in lines)
            if len(text) >= prose.SMALLEST:
                grams = dedup.grams(numpy.concatenate(hashes))
                if near.add(grams):
                    yield {"text": text, "source": package["name"], "path": name}, grams, list(map(len, hashes))


def choose(docs):
    """Divides documents into training and held-out ones: of each source, those of the lowest hashes of paths."""
    rate = HELD_OUT / sum(len(doc["text"]) for doc, *_ in docs)
    order = sorted((doc["source"], hashlib.sha256(f"{doc['source']}:{doc['path']}".encode()).digest(), i)
                   for i, (doc, *_) in enumerate(docs))
    owed, chosen = 0.0, set()
    for *_, i in order:
        size = len(docs[i][0]["text"])
        owed += rate * size
        if owed > 0:
            owed -= size
            chosen.add(i)
    return [[doc for i, doc in enumerate(docs) if (i in chosen) == side] for side in (False, True)]


def apart(train, held_out):
    """The training documents without paragraphs that are near held-out text."""
    known = dedup.Set(numpy.concatenate([grams for _, grams, _ in held_out]))
    for doc, grams, counts in train:
        shared = numpy.concatenate([[0], numpy.cumsum(known.has(grams))])
        begins = numpy.cumsum([0] + counts[:-1])
        ends = numpy.minimum(begins + numpy.maximum(numpy.array(counts) - dedup.GRAM + 1, 1), len(grams))
        begins = numpy.minimum(begins, ends - 1)
        near = shared[ends] - shared[begins] >= SHARED * (ends - begins)
        if near.any():
            lines = doc["text"].split("\n\n")
            doc = {**doc, "text": "\n\n".join(line for line, drop in zip(lines, near) if not drop)}
        if len(doc["text"]) >= prose.SMALLEST:
            yield doc


def paragraphs(held_out):
    """Whole lines of held-out documents as texts of 16 to 400 words, in the order of their hashes: the first are of
    many documents."""
    found = []
    for doc in held_out:
        words = []
        for line in doc["text"].split("\n\n") + [None]:
            if line is None or len(words) + len(line.split()) > 400:
                if 16 <= len(words) <= 400:
                    found.append(" ".join(words))
                words = []
            words += (line or "").split()
    return sorted(found, key=lambda text: hashlib.sha256(text.encode()).digest())


def write(path, text):
    data = text.encode()
    path.write_bytes(data)
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def main(options):
    packages = listed()
    cache = options.folder / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    address = options.mirror or mirror()
    paths = [fetch(package, address, cache) for package in packages]

    docs = list(unlike(packages, paths))
    train, held_out = choose(docs)
    train, held_out = list(apart(train, held_out)), [doc for doc, *_ in held_out]
    made = {f"{name}.jsonl": write(options.folder / f"{name}.jsonl",
                                   "".join(json.dumps(doc, ensure_ascii=False) + "\n" for doc in side))
            for name, side in (("train", train), ("heldout", held_out))}
    made["heldout.txt"] = write(options.folder / "heldout.txt", "\n\n".join(paragraphs(held_out)) + "\n")
    counts = {}
    for doc in train:
        entry = counts.setdefault(doc["source"], {"documents": 0, "characters": 0})
        entry["documents"] += 1
        entry["characters"] += len(doc["text"])
    (options.folder / "sources.json").write_text(json.dumps(counts, indent=1) + "\n")
    for name, entry in made.items():
        print(f"{name}: {entry['bytes']} bytes, SHA-256 {entry['sha256']}")

    versions = {"python": "{}.{}".format(*sys.version_info), "lxml": lxml.etree.__version__, "numpy": numpy.__version__}
    if options.record:
        (HERE / "manifest.json").write_text(json.dumps({"files": made, "versions": versions}, indent=2) + "\n")
        return 0
    expected = json.loads((HERE / "manifest.json").read_text())
    if made == expected["files"]:
        print("the files are those of manifest.json")
        return 0
    print("the files differ from those of manifest.json:", file=sys.stderr)
    for name, version in versions.items():
        if version != expected["versions"][name]:
            print(f"  {name} is {version}, not {expected['versions'][name]}", file=sys.stderr)
    if versions == expected["versions"]:
        print("  the programs' versions are equal: a script or packages.jsonl was changed", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(OPTIONS))
