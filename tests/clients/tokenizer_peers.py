#!/usr/bin/env python3
"""Tokenizers and texts for Wyvern, and whether its ids are those of tokenizers and tiktoken.

  tokenizer_peers.py make FOLDER MEGABYTES STRINGS
  tokenizer_peers.py compare FOLDER

make writes texts.bin, and trains tokenizers on a part of it, each in a folder of its own; models.json lists
them. The texts are made of words in many scripts, of the translations that this system has, of random bytes
and of STRINGS strings of characters that tokenizers treat in unequal ways. compare reads NAME/ids.bin of each.
texts.bin and ids.bin hold, for each text, a count of 32 bits and so many bytes, or ids of 32 bits.
"""

import argparse
import base64
import gettext
import glob
import json
import os
import random
import struct

import tiktoken
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

TRAINING_BYTES = 400_000
VOCABULARY = 1200

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + REST
QWEN = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + REST
DEEPSEEK = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"
          r"|\s*[\r\n]|\s+(?!\S)|\s")
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
O200K = "|".join([
    rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]*[{LOWER}]+{CONTRACTIONS}?",
    rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}]+[{LOWER}]*{CONTRACTIONS}?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
KIMI = "|".join([
    r"[\p{Han}]+",
    rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}&&[^\p{{Han}}]]*[{LOWER}&&[^\p{{Han}}]]+{CONTRACTIONS}?",
    rf"[^\r\n\p{{L}}\p{{N}}]?[{UPPER}&&[^\p{{Han}}]]+[{LOWER}&&[^\p{{Han}}]]*{CONTRACTIONS}?",
    r"\p{N}{1,3}", REST])

# First and last letter of words in many scripts.
SCRIPTS = [(0x61, 0x7A), (0x41, 0x5A), (0xC0, 0x17F), (0x3B1, 0x3C9), (0x410, 0x44F), (0x561, 0x586), (0x5D0, 0x5EA),
           (0x620, 0x64A), (0x905, 0x94D), (0x985, 0x9B9), (0xB85, 0xBCD), (0xE01, 0xE3A), (0x10D0, 0x10F0),
           (0x1200, 0x1248), (0x1780, 0x17B3), (0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x5200), (0xAC00, 0xB000),
           (0x1D400, 0x1D433), (0x1F600, 0x1F64F)]
# Tokenizers divide, fold, compose or look for these.
ODD = (["'s", "'S", "'ll", "'Ve", "'\u017f", "\u2019s", " ", "  ", "\n", "\r\n", "\t", "\r", "\v", "\x85", "\xa0",
        "\u2009", "\u2028", "\u200b", "\u200d", "\ufeff", "\u3000", "0", "12", "1234567", "\u0663\u0664", "\u2167",
        "\u00bd", "a", "B", "e\u0301", "\u00e9", "\u1e9b\u0323", "\u0130", "\u0131", "\u03c2", "\u1f88", "\u01c5",
        "\ufb01", "\ufdfa", "\u212b", "\u2126", "\u4e2d", "\u6587", "\ud55c", "\u1112\u1161\u11ab", "\u0e33",
        "\u0301", "\u0323", "\u20e3", "\U0001f469\u200d\U0001f680", "\U0001f1e9\U0001f1ea", "\U00020000",
        "\U0010ffff", "\x00", "\x7f", "\u2581", "<0x41>", "<unk>", "</s>", "<s>", "<|endoftext|>", "<|im_end|>",
        "<|im_", "[MASK]", "[UNK]", "##a", "_", "-", "--", "...", "/", "\\", "\"", "!?", "\u3002", "\u2014",
        "\u16ee", "\u10fb", "\u2e43", "\ua9cf", "\u1c80", "\U0001e900", "\U00011a00", "\u0378", "\u2fff"])


def many_words(random_):
    """A function that gives a word of a script, the likelier the earlier it was made."""
    scripts = []
    for first, last in SCRIPTS:
        scripts.append(["".join(chr(random_.randint(first, last)) for _ in range(random_.randint(1, 9)))
                        for _ in range(500)])

    def word(words):
        return words[min(int(random_.paretovariate(0.7)) - 1, len(words) - 1)]

    return scripts, word


def made_texts(size, random_):
    scripts, word = many_words(random_)
    while size > 0:
        words, parts = random_.choice(scripts), []
        for _ in range(random_.randint(1, 400)):
            parts.append(word(words if random_.random() < 0.9 else random_.choice(scripts)))
            kind = random_.random()
            parts.append(" " if kind < 0.8 else random_.choice(ODD) if kind < 0.9 else
                         random_.choice([", ", ". ", ".\n", "\n\n", "\n    ", f" {random_.randint(0, 99999)} "]))
        text = "".join(parts)
        size -= len(text.encode())
        yield text


def catalogs():
    """The messages of programs in all languages that this system has, a text for each file."""
    for path in sorted(glob.glob("/usr/share/locale/*/LC_MESSAGES/*.mo")):
        try:
            with open(path, "rb") as file:
                catalog = gettext.GNUTranslations(file)._catalog
        except (OSError, ValueError, IndexError, struct.error):  # of the file, or of its header
            continue
        yield "\n".join(message for message in catalog.values() if message)


def translations(size):
    for text in catalogs():
        for begin in range(0, len(text), 5000):
            part = text[begin:begin + 5000]
            size -= len(part.encode("utf-8", "replace"))
            if size < 0:
                return
            yield part


def fuzzed(count, random_):
    for _ in range(count):
        yield "".join(random_.choice(ODD) if random_.random() < 0.8 else chr(random_.choice(
            [random_.randint(1, 0xD7FF), random_.randint(0xE000, 0x10FFFF)])) for _ in range(random_.randint(0, 24)))


def random_bytes(count, random_):
    for i in range(count):
        size = random_.randint(1, 400)
        if i % 2 == 0:
            yield random_.randbytes(size)
        else:  # damaged UTF-8
            text = bytearray("".join(random_.choice(ODD) for _ in range(40)).encode())
            for _ in range(5):
                text[random_.randrange(len(text))] = random_.randrange(256)
            yield bytes(text)


def byte_level(pre_tokenizer, texts, specials=("<|endoftext|>",), **options):
    tokenizer = Tokenizer(models.BPE(**options))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(specials), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def divided(*patterns):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns] +
                                   [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def llama3(texts):
    tokenizer = byte_level(divided(LLAMA3), texts, ["<|begin_of_text|>", "<|endoftext|>"])
    tokenizer.add_tokens([AddedToken("<|im_end|>", normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<|begin_of_text|> $A",
                                                             special_tokens=[("<|begin_of_text|>", 0)])
    file = json.loads(tokenizer.to_str())
    file["model"]["ignore_merges"] = True
    return Tokenizer.from_str(json.dumps(file))


def qwen2(texts):
    tokenizer = byte_level(divided(QWEN), texts)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken("[MASK]", lstrip=True, rstrip=True), AddedToken("e\u0301", single_word=True)])
    return tokenizer


def deepseek(texts):
    return byte_level(divided(r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+", DEEPSEEK), texts)


def llama2(texts):
    names = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    lines = [line for text in texts for line in text.split("\n")]
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=VOCABULARY + 600, special_tokens=["<unk>", "<s>", "</s>"] + names, limit_alphabet=500,
        max_token_length=12, show_progress=False))
    file = json.loads(tokenizer.to_str())
    file["added_tokens"] = [token for token in file["added_tokens"] if token["content"] not in names]
    return Tokenizer.from_str(json.dumps(file))


def t5(texts):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(texts, trainers.UnigramTrainer(
        vocab_size=VOCABULARY + 1500, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>",
        show_progress=False))
    return tokenizer


def bert(texts):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()])
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(texts, trainers.WordPieceTrainer(
        vocab_size=VOCABULARY + 600, special_tokens=["[UNK]", "[CLS]", "[SEP]", "[MASK]"], limit_alphabet=600,
        show_progress=False))
    return tokenizer


HUGGING_FACE = {
    "gpt2": lambda texts: byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), texts),
    "llama3": llama3, "qwen2": qwen2, "deepseek": deepseek, "llama2": llama2, "t5": t5, "bert": bert}
TIKTOKEN = {"gpt2": GPT2, "cl100k": CL100K, "o200k": O200K, "llama3": LLAMA3, "qwen": QWEN, "kimi": KIMI}
# Those whose ids give a text back as it was.
EXACT = ("gpt2", "llama3", "deepseek")


def ranks_of(texts, pattern):
    """Tokens as bytes, by rank."""
    pattern = pattern.replace(r"\s++$", r"\s++(?!\S)").replace("{1,3}+", "{1,3}")  # in Oniguruma's syntax
    vocabulary = json.loads(byte_level(divided(pattern), texts, ()).to_str())["model"]["vocab"]
    byte_of = {character: byte for byte, character in zip(
        list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100)) +
        list(range(0x21)) + list(range(0x7F, 0xA1)) + [0xAD],
        [chr(c) for c in list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x144))])}
    return {bytes(byte_of[c] for c in token): rank for token, rank in vocabulary.items()}


def write_tiktoken(folder, ranks):
    with open(f"{folder}/tiktoken.model", "wb") as file:
        for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
            file.write(base64.b64encode(token) + b" %d\n" % rank)
    specials = {token: len(ranks) + i for i, token in enumerate(["<|endoftext|>", "<|im_end|>"])}
    with open(f"{folder}/tokenizer_config.json", "w", encoding="utf-8") as file:
        json.dump({"added_tokens_decoder": {i: {"content": token} for token, i in specials.items()}}, file)
    return specials


def write_texts(path, texts):
    with open(path, "wb") as file:
        for text in texts:
            file.write(struct.pack("<I", len(text)) + text)


def read_counted(path, width):
    with open(path, "rb") as file:
        while head := file.read(4):
            yield file.read(width * struct.unpack("<I", head)[0])


def make(folder, megabytes, strings):
    random_ = random.Random(14)
    size = int(megabytes * 1e6)
    texts = list(translations(size // 2))
    texts += made_texts(size - sum(len(text.encode("utf-8", "replace")) for text in texts), random_)
    random_.shuffle(texts)
    training, used = [], 0
    while used < min(TRAINING_BYTES, size):
        training.append(texts[len(training)])
        used += len(training[-1].encode("utf-8", "replace"))
    for special in ("<unk>", "<s>", "</s>"):  # the trainer of Unigram would learn them once more
        training = [text.replace(special, "") for text in training]
    texts += fuzzed(strings, random_)
    raw = [text.encode("utf-8", "replace") for text in texts] + list(random_bytes(strings // 5, random_))
    write_texts(f"{folder}/texts.bin", raw)
    listed = []
    for name, train in HUGGING_FACE.items():
        os.makedirs(f"{folder}/hf_{name}", exist_ok=True)
        train(training).save(f"{folder}/hf_{name}/tokenizer.json")
        listed.append({"name": f"hf_{name}", "pattern": "", "exact": name in EXACT})
    for name, pattern in TIKTOKEN.items():
        os.makedirs(f"{folder}/tiktoken_{name}", exist_ok=True)
        write_tiktoken(f"{folder}/tiktoken_{name}", ranks_of(training, pattern))
        listed.append({"name": f"tiktoken_{name}", "pattern": name, "exact": True})
    with open(f"{folder}/models.json", "w", encoding="utf-8") as file:
        json.dump(listed, file)
    print(f"OK: {len(listed)} tokenizers, {len(raw)} texts of {sum(map(len, raw))} bytes")


def peer(folder, name):
    """A function from texts to ids."""
    if name.startswith("hf_"):
        tokenizer = Tokenizer.from_file(f"{folder}/{name}/tokenizer.json")
        return lambda texts: [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    with open(f"{folder}/{name}/tiktoken.model", "rb") as file:
        ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in file)}
    with open(f"{folder}/{name}/tokenizer_config.json", encoding="utf-8") as file:
        specials = {token["content"]: int(i) for i, token in json.load(file)["added_tokens_decoder"].items()}
    encoding = tiktoken.Encoding(name, pat_str=TIKTOKEN[name[len("tiktoken_"):]], mergeable_ranks=ranks,
                                 special_tokens=specials)
    return lambda texts: encoding.encode_batch(texts, allowed_special="all")


def compare(folder):
    with open(f"{folder}/models.json", encoding="utf-8") as file:
        listed = json.load(file)
    # Bytes that are no UTF-8 are U+FFFD, as Python has it.
    texts = [text.decode("utf-8", "replace") for text in read_counted(f"{folder}/texts.bin", 1)]
    for model in listed:
        encode, count, at = peer(folder, model["name"]), 0, 0
        found = read_counted(f"{folder}/{model['name']}/ids.bin", 4)
        for begin in range(0, len(texts), 1000):
            for text, expected in zip(texts[begin:begin + 1000], encode(texts[begin:begin + 1000])):
                ids = list(memoryview(next(found)).cast("i"))
                if ids != expected:
                    first = next((i for i, (a, b) in enumerate(zip(ids, expected)) if a != b),
                                 min(len(ids), len(expected)))
                    raise ValueError(f"{model['name']}: text {at} {text[:300]!r}: the {first}th id is "
                                     f"{ids[first:first + 5]}, the library's {expected[first:first + 5]}")
                count, at = count + len(ids), at + 1
        print(f"OK: {model['name']}: {count} ids of {at} texts")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("make")
    one.add_argument("folder")
    one.add_argument("megabytes", type=float)
    one.add_argument("strings", type=int)
    commands.add_parser("compare").add_argument("folder")
    arguments = parser.parse_args()
    if arguments.command == "make":
        make(arguments.folder, arguments.megabytes, arguments.strings)
    else:
        compare(arguments.folder)


if __name__ == "__main__":
    main()
