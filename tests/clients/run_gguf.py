#!/usr/bin/env python3
"""Runs a GGUF file by llama.cpp on the CPU, in fp32 but for its weights, and compares it with what Wyvern computes.

  run_gguf.py GGUF CASES.json     prints the largest RMS difference of log-probabilities, of any case

Each case has a text, its token ids, and the log-probability of every token behind it. llama.cpp must divide the text
into the same ids.
"""

import json
import math
import sys
import urllib.request

import xllamacpp


def start(path):
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx = 256
    params.n_parallel = 1
    params.warmup = False
    params.cpuparams.n_threads = 1
    params.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_F32
    params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(params)


def tokenize(server, text):
    body = json.dumps({"content": text, "add_special": True}).encode()
    request = urllib.request.Request(
        server.listening_address + "/tokenize", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["tokens"]


def logprobs(server, text, size):
    # Whatever is written, the probabilities are the model's; those of a token without a text are not told.
    wanted = {"n_predict": 1, "n_probs": size, "temperature": -1, "logit_bias": [["a", 1000]], "cache_prompt": False}
    answer = server.handle_completions({"prompt": text, **wanted})
    if "choices" not in answer:
        raise ValueError(f"llama.cpp refuses {text!r}: {answer}")
    first = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    values = [math.nan] * size
    for token in first:
        values[token["id"]] = token["logprob"]
    return values


def main():
    path, cases = sys.argv[1:]
    server = start(path)
    worst = 0
    with open(cases, encoding="utf-8") as file:
        cases = json.load(file)
    for case in cases:
        ids = tokenize(server, case["text"])
        if ids != case["ids"]:
            raise ValueError(f"{case['text']!r} is {ids}, not {case['ids']}")
        ours = case["logprobs"]
        theirs = logprobs(server, case["text"], len(ours))
        error = math.sqrt(sum((a - b) ** 2 for a, b in zip(ours, theirs)) / len(ours))
        worst = max(worst, error)
        if math.isnan(error):
            raise ValueError(f"{case['text']!r}: a token has no probability")
    print(worst)


if __name__ == "__main__":
    main()
