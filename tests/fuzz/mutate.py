#!/usr/bin/env python3
"""Mutates the files that wyvern reads and runs its commands on them.

  tests/fuzz/mutate.py WYVERN [--inputs 10000] [--only FORMAT ...] [--seed 1] [--jobs N] [--keep FOLDER]

The files come from the program itself: texts, stores, a tokenizer, a run, a Hugging Face folder, a sweep. Each input
is one of them, changed at one to four places (bits, bytes, pieces cut, doubled or exchanged, numbers and words
replaced by ones that hurt), and the commands that read it must end with 0, or with a message and 1 or 2. Kept and
counted as faults are
  - signals, and more than 10 s or 1 GiB;
  - exceptions of libraries in a message, and failures without one;
  - 0 with another result than the unchanged file gives, where a checksum should have told;
  - lines lost from a metrics file beside those that were changed.
"""

import argparse
import collections
import concurrent.futures
import copy
import gzip
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zlib

SECONDS, MOST_BYTES = 10, 1 << 30  # of processor time; six times as long by the clock, on a busy machine
RAW = re.compile(r"std::|json\.exception|basic_string|vector::|yaml-cpp|terminate called|check failed|HDF5-DIAG"
                 r"|out of memory|bad_alloc")

CONFIG = """run: {name: tiny, dir: run, device: cpu}
tokenizer: {type: byte}
data:
  sources: [{dir: store, text: [text.txt], document_separator: "\\n\\n", val_documents: 4}]
  seq_len: 16
model:
  vocab_size: 258
  hidden_size: 16
  num_layers: 2
  intermediate_size: 32
  mixers:
    g: {type: gated_delta_net, num_heads: 1, key_dim: 8, value_dim: 8}
    a: {type: attention, num_heads: 2}
  pattern: [g, a]
train: {steps: 4, batch_tokens: 32, micro_batch: 1}
optimizer: {type: adamw, beta1: 0.9, weight_decay: 0.1}
schedule: {type: cosine, peak: 1e-3, final: 1e-4, warmup_steps: 2}
validation: {every: 2, batches: 1}
checkpoint: {every: 2, keep: 2}
logging: {every: 1}
"""
SWEEP = """name: tiny
dir: sweep
base: run.yaml
set:
  model.hidden_size: = width
  train.steps: = max(2, round(parameters / 4000))
  schedule.peak: = peak[width]
axes:
  - name: size
    points:
      s: {width: 16}
      m: {width: 32, model.num_layers: 4}
  - {name: seed, points: {a: {run.seed: 1}, b: {run.seed: 2}}}
  - grid: {train.grad_clip: [0.5, 1], optimizer.weight_decay: [0, 0.1]}
tables: {peak: {16: 2e-3, 32: 1e-3}}
fit: {family: size}
slurm: {partition: gpu, gpus: 1, cpus: 8, time: "2:00:00"}
"""
LADDER = """name: ladder
dir: ladder
base: run.yaml
axes: [{name: size, points: {s: {model.hidden_size: 16}, m: {model.hidden_size: 24}, l: {model.hidden_size: 32}}}]
"""
POINTS = """# points
family,name,loss,compute,parameters,tokens,exclude
a,one,3.9,1e-3,1000,20000,
a,two,3.4,1e-2,3000,60000,
a,three,3.05,1e-1,9000,180000,
a,four,2.8,1,20000,400000,
b,five,3.7,1e-3,1000,20000,
b,six,3.3,1e-2,3000,60000,
b,seven,2.9,1e-1,9000,180000,a reason
b,eight,2.7,1,20000,400000,
"""
PREPARE = ["data", "prepare", "--output", "new", "--document-separator", "\\n\\n", "--val-documents", "4", "--input"]
SHARDS = ["data", "prepare", "--output", "shards", "--shard-bytes", "2000", "--input", "d.jsonl"]
INFO = [["data", "info", "--verify", "new/train.h5"], ["data", "info", "--verify", "new/val.h5"]]
READ_RUN = [["generate", "run", "--prompt", "the", "--greedy", "--max-tokens", "8"], ["train", "run.yaml"]]
STEP = "run/checkpoints/step_00000004"


class Format:
    """`files` (globs of what may be changed), the `commands` that read them and the `inputs` they need. `checked`:
    a success must give what the unchanged files give."""

    def __init__(self, name, files, commands, inputs=(), checked=False):
        self.name, self.files, self.commands, self.checked = name, files, commands, checked
        self.inputs = [*inputs, *(file.split("/")[0] for file in files)]


FORMATS = [
    Format("config", ["run.yaml"], [["config", "show", "run.yaml"], ["plan", "run.yaml"]]),
    Format("sweep", ["sweep.yaml"], [["sweep", "sweep.yaml", "--dry-run"]], ["run.yaml"]),
    Format("sweep_folder", ["ladder/sweep.*", "ladder/*/metrics.jsonl", "ladder/*/config.yaml"],
           [["sweep", "ladder.yaml", "--status"], ["fit", "ladder"]], ["run.yaml", "ladder.yaml"]),
    Format("csv", ["points.csv"], [["fit", "--points", "points.csv", "--output", "fit"]]),
    Format("text", ["text.txt"], [PREPARE + ["text.txt"]]),
    Format("jsonl", ["d.jsonl"], [PREPARE + ["d.jsonl"]]),
    Format("parquet", ["d.parquet"], [PREPARE + ["d.parquet"]]),
    Format("gz", ["d.jsonl.gz", "text.txt.gz"], [PREPARE + ["d.jsonl.gz", "text.txt.gz"], *INFO], checked=True),
    Format("zst", ["d.jsonl.zst", "text.txt.zst"], [PREPARE + ["d.jsonl.zst", "text.txt.zst"], *INFO], checked=True),
    Format("sentencepiece", ["a.model"], [PREPARE + ["text.txt", "--tokenizer", "a.model"]], ["text.txt"]),
    Format("store", ["store/train.h5"], [["data", "info", "--verify", "store/train.h5"],
                                         ["eval", STEP, "--data", "store/train.h5", "--seq-len", "16"]],
           ["run"], checked=True),
    Format("prepared", ["store/*.json"], [["train", "run.yaml"]], ["store", "run.yaml", "text.txt"]),
    Format("shards", ["shards/shards.json"], [SHARDS, ["data", "info", "--verify", "shards/train.h5"]], ["d.jsonl"]),
    Format("checkpoint", [STEP + "/*.h5"], [["checkpoint", "verify", STEP],
                                            ["generate", STEP, "--prompt", "the", "--greedy", "--max-tokens", "8"]],
           checked=True),
    Format("manifest", [STEP + "/manifest.json"],
           [["checkpoint", "info", STEP],
            ["generate", STEP, "--prompt", "the", "--greedy", "--max-tokens", "8"]], checked=True),
    Format("manifest_resealed", [STEP + "/manifest.json"],
           [["checkpoint", "verify", STEP], ["generate", STEP, "--prompt", "the", "--greedy", "--max-tokens", "8"],
            ["train", "run.yaml", "--set", "train.steps=5"]], ["run.yaml", "store", "text.txt"]),
    Format("run", ["run/*", "run/**/*"], READ_RUN, ["run.yaml", "store", "text.txt"]),
    Format("metrics", ["run/metrics.jsonl"], [["train", "run.yaml", "--set", "train.steps=5"]],
           ["run.yaml", "store", "text.txt"]),
    Format("hf_config", ["hf/config.json"], [["import", "hf", "imported"]]),
    Format("safetensors", ["hf/model.safetensors"], [["import", "hf", "imported"]]),
    Format("hf", ["hf/*"], [["import", "hf", "imported", "--tokenizer", "byte"],
                            ["generate", "imported", "--prompt", "the", "--greedy", "--max-tokens", "8"]]),
]

NUMBERS = ["0", "-1", "1", "2147483648", "4294967296", "9223372036854775807", "-9223372036854775808",
           "18446744073709551616", "1e308", "-1e308", "1e-320", "1e999", ".inf", ".nan", "nan", "0.5", "65536",
           "4096", "1000000", "1000000000000"]
WORDS = ["null", "true", "~", "[]", "{}", "\"\"", "[[[[", "}", "]", "..", "/", "../../x", "/dev/zero", "\u00e9",
         "a" * 5000, "[" * 3000, "{a: " * 300, "*x", "&x ", "- ", "\n", "\t", "= 1/0", "= a", "\x00", "\ufeff", "\r"]


def mutate_bytes(data, generator):
    data = bytearray(data)
    size = len(data)
    if size == 0:
        return bytes([generator.randrange(256)])
    place = generator.randrange(size)
    length = min(size - place, generator.choice([1, 2, 4, 8, 16, 64, 256, 4096]))
    kind = generator.randrange(10)
    if kind <= 2:
        data[place] ^= 1 << generator.randrange(8)
    elif kind == 3:
        data[place:place + length] = generator.randbytes(length)
    elif kind == 4:
        data[place:place + length] = bytes([generator.choice([0, 255, 127, 128])]) * length
    elif kind == 5:
        del data[place:place + length]
    elif kind == 6:
        data[place:place] = generator.randbytes(length)
    elif kind == 7:
        data[place:place] = data[place:place + length] * generator.choice([1, 2, 50])
    elif kind == 8:
        del data[place:]
    else:
        other = generator.randrange(size)
        data[place:place + length] = data[other:other + length]
    return bytes(data)


def mutate_words(data, generator):
    """Replaces a number, a word or a mark of a text."""
    words = list(re.finditer(rb"-?[0-9][0-9.e+-]*|[A-Za-z_][A-Za-z_0-9]*|[^\sA-Za-z0-9_]", data))
    if not words:
        return mutate_bytes(data, generator)
    numbers = [word for word in words if word.group()[-1:].isdigit()]
    word = generator.choice(numbers if numbers and generator.random() < 0.5 else words)
    kind = generator.randrange(6)
    if kind <= 2:
        new = generator.choice(NUMBERS if word.group()[-1:].isdigit() or kind == 0 else WORDS).encode()
    elif kind == 3:
        new = generator.choice(words).group()
    elif kind == 4:
        new = b""
    else:
        other = generator.choice(words)
        new = data[min(word.start(), other.start()):max(word.end(), other.end())] + b" " + word.group()
    return data[:word.start()] + new + data[word.end():]


def mutate_json(data, generator):
    """Replaces, drops, doubles or nests a value, so that what comes out is JSON again."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return mutate_words(data, generator)
    places = []

    def visit(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                visit(node[key])

    if isinstance(value, (dict, list)):
        visit(value)
    if not places:
        return mutate_words(data, generator)
    node, key = generator.choice(places)
    kind = generator.randrange(6)
    if kind == 0:
        del node[key]
    elif kind == 1:
        node[key] = [node[key]]
    elif kind == 2:
        other, other_key = generator.choice(places)
        node[key] = copy.deepcopy(other[other_key])
    elif kind == 3 and isinstance(node, list):
        node.insert(key, copy.deepcopy(node[key]))
    else:
        node[key] = generator.choice([0, -1, 1, 2**31, 2**53, 2**62, 2**63 - 1, -2**63, 2**64, 0.5, 1e308, True, None,
                                      "", "..", "../../x", "a" * 3000, [], {}, [[[]]], "\u0000", "float32"])
    return json.dumps(value).encode()


def is_text(path):
    return path.suffix in (".yaml", ".json", ".jsonl", ".csv", ".txt")


def reseal(data):
    """The manifest with the checksum of its text, which is all but the first line."""
    try:
        value = json.loads(data)
        del value["manifest_crc32"]
        rest = json.dumps(value)[1:].encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        rest = data.partition(b"\n")[2]
    return b'{"manifest_crc32": "%08x",\n' % zlib.crc32(rest) + rest


class Campaign:
    def __init__(self, options, root):
        self.wyvern = pathlib.Path(options.wyvern).resolve()
        self.root, self.seeds = root, root / "seeds"
        self.keep = pathlib.Path(options.keep).resolve()
        self.seed = options.seed
        self.environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
        self.counts = {format.name: collections.Counter() for format in FORMATS}
        self.right = {}
        self.faults, self.lock = 0, threading.Lock()

    def run(self, folder, command):
        """Exit code (negative: signal), output, errors, whether it took too long, peak bytes."""
        with open(folder / ".out", "wb") as out, open(folder / ".err", "wb") as err:
            process = subprocess.Popen(
                ["prlimit", f"--as={4 * MOST_BYTES}", "--core=0", "--fsize=1073741824",
                 self.wyvern, *command],
                cwd=folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            late = threading.Event()

            def stop():
                late.set()
                os.kill(process.pid, signal.SIGKILL)  # process.kill() may wait for it, and lose what it took

            timer = threading.Timer(6 * SECONDS, stop)
            timer.start()
            _, status, usage = os.wait4(process.pid, 0)
            timer.cancel()
            process.returncode = os.waitstatus_to_exitcode(status)
        output = (folder / ".out").read_text(errors="replace")
        errors = (folder / ".err").read_text(errors="replace")
        (folder / ".out").unlink()
        (folder / ".err").unlink()
        slow = late.is_set() or usage.ru_utime + usage.ru_stime > SECONDS
        return process.returncode, output, errors, slow, usage.ru_maxrss * 1024

    def make_seeds(self):
        self.seeds.mkdir()
        generator = random.Random(3)
        words = "the quick brown fox jumps over a lazy dog while seven wizards brew tea".split()
        documents = [" ".join(generator.choice(words) for _ in range(generator.randint(4, 40))) for _ in range(40)]
        text = "\n\n".join(documents).encode()
        lines = "".join('{"id": %d, "text": "%s"}\n' % pair for pair in enumerate(documents)).encode()
        for name, content in (("text.txt", text), ("d.jsonl", lines)):
            (self.seeds / name).write_bytes(content)
            (self.seeds / (name + ".gz")).write_bytes(gzip.compress(content, mtime=0))
            if shutil.which("zstd"):
                subprocess.run(["zstd", "-q", "--check", name], cwd=self.seeds, check=True)
        shutil.copy(pathlib.Path(__file__).parents[1] / "data/text/parquet/rows.parquet", self.seeds / "d.parquet")
        for name, content in (("run.yaml", CONFIG), ("sweep.yaml", SWEEP), ("ladder.yaml", LADDER),
                              ("points.csv", POINTS)):
            (self.seeds / name).write_text(content)
        for command in (SHARDS, ["data", "tokenizer", "--input", "text.txt", "--output", "a.model", "--vocab-size", "300"],
                        ["train", "run.yaml"], ["export", "run", "hf"], ["sweep", "ladder.yaml", "--jobs", "1"]):
            code, output, errors, *_ = self.run(self.seeds, command)
            if code != 0:
                sys.exit(f"'{' '.join(command)}' ends with {code}: {errors or output}")

    def prepare(self, format, folder):
        folder.mkdir()
        for name in dict.fromkeys(format.inputs):
            source = self.seeds / name
            if source.is_dir():
                shutil.copytree(source, folder / name)
            else:
                shutil.copy(source, folder / name)

    @staticmethod
    def result(output):
        """What must not change: the sizes of files may."""
        return re.sub(r"[0-9.]+ (MB|GB|s)\b|[0-9.]+ tokens/s|[0-9.]+ ms.*", "", output)

    def learn(self, format):
        folder = self.root / format.name
        self.prepare(format, folder)
        results = []
        for command in format.commands:
            code, output, errors, *_ = self.run(folder, command)
            if code != 0:
                sys.exit(f"{format.name}: '{' '.join(command)}' ends with {code}: {errors or output}")
            results.append(self.result(output))
        self.right[format.name] = results
        shutil.rmtree(folder)

    def mutate(self, format, folder, generator):
        files = sorted({path for pattern in format.files for path in folder.glob(pattern) if path.is_file()})
        path = generator.choice(files)
        before = data = path.read_bytes()
        for _ in range(generator.choice([1, 1, 1, 2, 4])):
            text = is_text(path) or format.name == "safetensors" and generator.random() < 0.6
            words = text and generator.random() < 0.7
            if format.name == "safetensors" and words:
                size = int.from_bytes(data[:8], "little")
                header = generator.choice([mutate_words, mutate_json])(data[8:8 + size], generator)
                data = len(header).to_bytes(8, "little") + header + data[8 + size:]
            elif words and path.suffix == ".json":
                data = generator.choice([mutate_words, mutate_json, mutate_json])(data, generator)
            else:
                data = (mutate_words if words else mutate_bytes)(data, generator)
        if format.name == "manifest_resealed":
            data = reseal(data)
        path.write_bytes(data)
        return path, before, data

    def attempt(self, number, format):
        generator = random.Random(f"{self.seed}/{number}")
        folder = self.root / f"{format.name}-{number}"
        self.prepare(format, folder)
        path, before, data = self.mutate(format, folder, generator)
        fault, outcome = None, "read"
        for index, command in enumerate(format.commands):
            code, output, errors, late, peak = self.run(folder, command)
            if late:
                fault = f"more than {SECONDS} s"
            elif code not in (0, 1, 2):
                fault = f"ends with {code}"
            elif peak > MOST_BYTES:
                fault = f"takes {peak >> 20} MiB"
            elif RAW.search(errors):
                fault = "a library's exception"
            elif code != 0 and not errors.strip():
                fault = "fails without a word"
            elif code == 0 and format.checked and data != before and \
                    self.result(output) != self.right[format.name][index]:
                fault = "success with another result"
            elif code == 0 and format.name == "metrics":
                fault = self.lost_lines(folder, before, data)
            if fault:
                fault += f": {' '.join(command)}: {errors.strip()[:300]}"
                break
            if code != 0:
                outcome = "refused"
                break
        if fault:
            outcome = "fault"
            with self.lock:
                self.faults += 1
            kept = self.keep / f"{format.name}-{self.seed}-{number}"
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, symlinks=True)
            print(f"FAULT {format.name} {number} ({path.relative_to(folder)}): {fault}", flush=True)
        with self.lock:
            self.counts[format.name][outcome] += 1
        shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def lost_lines(folder, before, data):
        """Lines of steps that were whole before and after the change, and are not in the file that goes on."""
        if b"\x00" in data:
            return None
        whole = set(before.splitlines()) & set(data.splitlines())
        lost = whole - set((folder / "run/metrics.jsonl").read_bytes().splitlines())
        return f"{len(lost)} sound lines lost" if lost else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("wyvern")
    parser.add_argument("--inputs", type=int, default=10000)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--number", type=int, help="one input alone, of the one format of --only")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--keep", default="build/mutated")
    options = parser.parse_args()
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    root = pathlib.Path(tempfile.mkdtemp(prefix="wyvern_mutate_", dir=memory))
    formats = [format for format in FORMATS if not options.only or format.name in options.only]
    campaign = Campaign(options, root)
    try:
        campaign.make_seeds()
        formats = [format for format in formats
                   if all((campaign.seeds / name).exists() for name in format.inputs)]
        for format in formats:
            campaign.learn(format)
        numbers = range(options.inputs) if options.number is None else [options.number]
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda number: campaign.attempt(number, formats[number % len(formats)]), numbers))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(f"{'format':20} {'read':>8} {'refused':>8} {'faults':>8}")
    for format in formats:
        counts = campaign.counts[format.name]
        print(f"{format.name:20} {counts['read']:8} {counts['refused']:8} {counts['fault']:8}")
    if campaign.faults:
        sys.exit(f"{campaign.faults} faults; their inputs are in {campaign.keep}")


if __name__ == "__main__":
    main()
