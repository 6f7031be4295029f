#!/usr/bin/env python3
"""How fast Wyvern's tokenizers are beside tokenizers, tiktoken and sentencepiece, on the same texts and models.

  build/clients/bin/python experiments/tokenizing/rates.py [--wyvern build/cpu/bin/wyvern] [--megabytes 4]

Gathers texts of this system into runs/tokenizing, trains models on them with Wyvern, and times every library
that reads a model, one after the other, in turns. Each figure is the best of several passes over all texts. The
ids of all libraries must be the same. Prints the table, and writes results/rates.txt beside this script.
"""

import argparse
import base64
import functools
import glob
import gzip
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import sentencepiece  # noqa: E402
import tiktoken  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "clients"))
from tokenizer_peers import CL100K, GPT2, LLAMA3, O200K, catalogs  # noqa: E402

VOCABULARY = 32000
PASSES = 3


def read_text(path):
    """The file's text, or nothing if it is none of at least 1 and at most 512 KiB."""
    try:
        opened = gzip.open if path.endswith(".gz") else open
        with opened(path, "rb") as file:
            content = file.read(1 << 19)
        text = content.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError, gzip.BadGzipFile):
        return None
    return text if 1 << 10 <= len(content) < 1 << 19 and "\0" not in text else None


def documentation():
    for folder in ("/usr/share/doc", "/usr/share/man", "/usr/share/perl"):
        for path in sorted(glob.glob(folder + "/**/*", recursive=True)):
            if os.path.isfile(path) and not os.path.islink(path) and not path.endswith((".html", ".svg", ".js")):
                yield read_text(path)


def code():
    for folder, ending in (("/usr/lib/python3*", "py"), ("/usr/include", "h"), ("/usr/share/cmake*", "cmake")):
        for path in sorted(glob.glob(f"{folder}/**/*.{ending}", recursive=True)):
            yield read_text(path)


def gather(folder, megabytes):
    texts = {}
    for name, source in (("documentation", documentation), ("code", code), ("translations", catalogs)):
        chosen, size, seen = [], 0, set()
        for text in source():
            if text is None or len(text) > 1 << 19 or hash(text) in seen:
                continue
            seen.add(hash(text))
            chosen.append(text)
            size += len(text.encode())
            if size > megabytes * 1e6:
                break
        with open(f"{folder}/{name}.jsonl", "w", encoding="utf-8") as file:
            for text in chosen:
                file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        texts[name] = chosen
    return texts


def train(wyvern, folder, name, *options):
    output = f"{folder}/{name}"
    if not os.path.exists(output):
        files = [f"{folder}/{text}.jsonl" for text in ("documentation", "code", "translations")]
        subprocess.run([wyvern, "data", "tokenizer", "--output", output, "--vocab-size", str(VOCABULARY), "--input",
                        *files, *options], check=True, stdout=subprocess.DEVNULL)
    return output


def ranks_of(path):
    """Tokens as bytes, by rank, of a tokenizer.json without special tokens."""
    printable = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    others = [byte for byte in range(256) if byte not in printable]
    byte_of = {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
    with open(path, encoding="utf-8") as file:
        vocabulary = json.load(file)["model"]["vocab"]
    return {bytes(byte_of[c] for c in token): rank for token, rank in vocabulary.items()}


def write_ranks(path, ranks):
    with open(path, "wb") as file:
        for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
            file.write(base64.b64encode(token) + b" %d\n" % rank)


class Wyvern:
    name = "Wyvern"

    def __init__(self, program, model, *options):
        self.command = [program, "bench", "tokenizer", model, "--json", "--megabytes", "100000", *options]

    def time(self, path, texts, threads):
        done = subprocess.run([*self.command, "--input", path, "--passes", str(PASSES), "--threads", str(threads)],
                              check=True, capture_output=True, text=True)
        row = json.loads(done.stdout)
        assert row["bytes"] == sum(len(text.encode()) for text in texts), "other texts"
        return row["ids"], row["cpu_seconds"] if threads == 1 else row["seconds"]


class Library:
    def __init__(self, name, one, many):
        self.name, self.one, self.many = name, one, many

    def time(self, _, texts, threads):
        best, count = float("inf"), 0
        for _ in range(PASSES):
            clock = time.process_time if threads == 1 else time.perf_counter
            begin = clock()
            ids = self.one(texts) if threads == 1 else self.many(texts, threads)
            best = min(best, clock() - begin)
            count = sum(map(len, ids))
        return count, best


def hugging_face(path):
    tokenizer = Tokenizer.from_file(path)

    def many(texts, threads):
        # The number of threads is that of the processors.
        os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
        return tokenizer.encode_batch_fast(texts, add_special_tokens=False)

    return Library("tokenizers", functools.partial(many, threads=1), many)


def openai(name, pattern, ranks):
    encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return Library("tiktoken", lambda texts: [encoding.encode_to_numpy(text, disallowed_special=()) for text in texts],
                   lambda texts, threads: encoding.encode_ordinary_batch(texts, num_threads=threads))


def google(path):
    processor = sentencepiece.SentencePieceProcessor(model_file=path)
    return Library("sentencepiece", lambda texts: [processor.encode(text) for text in texts],
                   lambda texts, threads: processor.encode(texts, num_threads=threads))


def models(wyvern, folder, only):
    """A model's name, and what reads it."""
    for pattern, regex in (("gpt2", GPT2), ("llama3", LLAMA3), ("cl100k", CL100K), ("o200k", O200K)):
        if only not in f"tokenizer.json, tiktoken, {pattern}":
            continue
        os.makedirs(f"{folder}/{pattern}", exist_ok=True)
        path = train(wyvern, folder, f"{pattern}/tokenizer.json", "--byte-level", "--pattern", pattern, "--eos", "none")
        yield f"tokenizer.json, {pattern}", [Wyvern(wyvern, path), hugging_face(path)]
        ranks, file = ranks_of(path), f"{folder}/{pattern}.tiktoken"
        write_ranks(file, ranks)
        yield f"tiktoken, {pattern}", [Wyvern(wyvern, file, "--pattern", pattern), openai(pattern, regex, ranks)]
    for kind in ("bpe", "unigram"):
        if only not in f"SentencePiece, {kind}":
            continue
        path = train(wyvern, folder, f"{kind}.model", "--type", kind, "--sample-bytes", "4000000")
        yield f"SentencePiece, {kind}", [Wyvern(wyvern, path), google(path)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--wyvern", default="build/cpu/bin/wyvern")
    parser.add_argument("--megabytes", type=float, default=4)
    parser.add_argument("--folder", default="runs/tokenizing")
    parser.add_argument("--only", default="", help="models whose names hold this text")
    parser.add_argument("--output", default=str(HERE / "results" / "rates.txt"))
    arguments = parser.parse_args()
    os.makedirs(arguments.folder, exist_ok=True)
    texts = gather(arguments.folder, arguments.megabytes)
    cores = os.cpu_count()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        processor = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    lines = [f"{processor}, {cores} processors; Python {platform.python_version()}, tokenizers, tiktoken, sentencepiece "
             f"{', '.join(map(version, ('tokenizers', 'tiktoken', 'sentencepiece')))}",
             f"{VOCABULARY} tokens; " + ", ".join(
                 f"{name} {sum(len(text.encode()) for text in chosen) / 1e6:.1f} MB" for name, chosen in texts.items()),
             f"MB a CPU second on one thread, and MB a second on {cores}", "",
             f"{'model':24} {'library':14}" + "".join(f"{name:>20}" for name in texts)]
    print("\n".join(lines), flush=True)
    for model, readers in models(arguments.wyvern, arguments.folder, arguments.only):
        counts = {}
        for reader in readers:
            line = f"{model:24} {reader.name:14}"
            for name, chosen in texts.items():
                size = sum(len(text.encode()) for text in chosen) / 1e6
                rates = []
                for threads in (1, cores):
                    count, seconds = reader.time(f"{arguments.folder}/{name}.jsonl", chosen, threads)
                    # Versions of SentencePiece decide otherwise between equal sums.
                    if counts.setdefault(name, count) != count and "unigram" not in model:
                        raise SystemExit(f"{model}: {reader.name} gives {count} ids of {name}, not {counts[name]}")
                    rates.append(size / seconds)
                line += f"{rates[0]:12.2f} {rates[1]:7.2f}"
            lines.append(line)
            print(line, flush=True)
    os.makedirs(os.path.dirname(arguments.output), exist_ok=True)
    pathlib.Path(arguments.output).write_text("\n".join(lines) + "\n", encoding="utf-8")


def version(package):
    import importlib.metadata
    return importlib.metadata.version(package)


if __name__ == "__main__":
    main()
