#!/usr/bin/env python3
"""Runs exported folders in transformers: generation in several ways, which must agree, and training.

  generate_hf.py PROMPTS.json FOLDER...

PROMPTS.json is a list of prompts, each a list of ids. Prints, a line for each folder, the greedy
continuations by 24 ids as JSON. Each is made token by token over a cache, without a cache, in a batch
padded on the left; beams too are the same with a cache and without one. In fp64 logits must be the
same in one step and in several, and loss and gradients with gradient checkpointing and without it.
"""

import json
import sys

import torch
from transformers import AutoModelForCausalLM

TOKENS = 24


def agree(a, b, what):
    worst = (a - b).abs().max() / b.abs().max()
    if not worst < 1e-10:
        raise SystemExit(f"{what}: differ by {float(worst):.2e} of the largest")


def generate(model, prompt, **options):
    # Without a mask, transformers takes ids that are pad_token_id for padding.
    ids = torch.tensor([prompt])
    return model.generate(ids, attention_mask=torch.ones_like(ids), **options)


def continuations(model, prompts):
    greedy = {"max_new_tokens": TOKENS, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    alone = [generate(model, p, **greedy)[0, len(p):].tolist() for p in prompts]
    for p, expected in zip(prompts, alone):
        found = generate(model, p, use_cache=False, **greedy)[0, len(p):].tolist()
        if found != expected:
            raise SystemExit(f"without a cache: {found}, with one {expected}")
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    found = model.generate(ids, attention_mask=mask, **greedy)[:, width:].tolist()
    if found != alone:
        raise SystemExit(f"in a batch: {found}, alone {alone}")
    beams = model.generate(ids, attention_mask=mask, num_beams=3, num_return_sequences=2, **greedy)
    uncached = model.generate(ids, attention_mask=mask, num_beams=3, num_return_sequences=2,
                              use_cache=False, **greedy)
    if beams.tolist() != uncached.tolist():
        raise SystemExit("beams differ with a cache and without one")
    return alone


def in_pieces(model, ids):
    whole = model(ids).logits
    cache, pieces = None, []
    for piece in ids.split([1, 17, 1, ids.shape[1] - 19], dim=1):
        name = {} if cache is None else {CACHE: cache}
        out = model(piece, use_cache=True, **name)
        cache = out[CACHE]
        pieces.append(out.logits)
    agree(torch.cat(pieces, dim=1), whole, "logits in pieces")
    padded = torch.cat([ids, ids[:, :5]], dim=1)
    mask = torch.cat([torch.ones_like(ids), torch.zeros_like(ids[:, :5])], dim=1)
    agree(model(padded, attention_mask=mask).logits[:, :ids.shape[1]], whole, "padding on the right")


def gradients(model, ids):
    model.zero_grad()
    out = model(ids, labels=ids)
    out.loss.backward()
    return out.loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])


def trains(model, ids):
    model.train()
    loss, grads = gradients(model, ids)
    getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    again, grads_again = gradients(model, ids)
    agree(again, loss, "the loss with gradient checkpointing")
    agree(grads_again, grads, "gradients with gradient checkpointing")


prompts = json.load(open(sys.argv[1]))
torch.manual_seed(0)
for folder in sys.argv[2:]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=True)
    CACHE = sys.modules[type(model).__module__].CACHE_NAME
    model.eval()
    ids = torch.randint(model.config.vocab_size, (2, 90))
    with torch.no_grad():
        print(json.dumps(continuations(model, prompts)), flush=True)
        in_pieces(model.double(), ids)  # rounding that a norm amplifies is no difference
    trains(model, ids)
