#!/usr/bin/env python3
"""Time and energy of a step by kind of kernel: budget.py RESULTS

Times are those of results/step_MODEL.json, from a trace. Energies are those of results/energy.jsonl, which loops one
op at 32,768 tokens: scaled to the step's 16,384 and its number of calls, products by their FLOPs, the optimizer by its
bytes at the mean energy a byte of the memory-bound ops. Prints Markdown.
"""
import collections
import json
import sys

KINDS = (("products", ("nvjet", "cutlass", "cublasLt")), ("attention", ("cudnn", "attention")),
         ("delta rule", ("delta",)), ("convolution", ("short_conv",)), ("gated norm", ("gated_rms",)),
         ("norm", ("rms_norm",)), ("SwiGLU", ("swiglu",)), ("AdamW, norm of the gradient", ("adamw", "grad_norm")),
         ("head's softmax", ("linear_cross",)), ("rotary", ("rope",)))
folder = sys.argv[1]
energy = {(r["op"], r["case"], r["direction"]): r for r in map(json.loads, open(f"{folder}/energy.jsonl"))}


def kind(name):
    return next((k for k, keys in KINDS if any(x in name for x in keys)), "other")


def joules(op, case=""):
    return sum(r["joules"] for (o, c, _), r in energy.items() if o == op and case in c)


products = [r for (o, _, _), r in energy.items() if o == "matmul"]
per_tflop = sum(r["joules"] for r in products) / sum(r["flops"] for r in products) * 1e12
streams = [r for (o, _, _), r in energy.items() if o in ("swiglu", "rms_norm", "short_conv", "gated_rms_norm")]
per_gb = sum(r["joules"] for r in streams) / sum(r["bytes"] for r in streams) * 1e9
print(f"{per_tflop:.3f} J a TFLOP of products, {per_gb:.3f} J a GB of memory-bound ops\n")
models = [m for m in ("delta_net_1.3b", "gated_deltanet_1.3b", "kda_1.3b", "transformer_1.3b")]
power = {r["model"]: r for r in map(json.loads, open(f"{folder}/step_power.jsonl"))}
columns = {}
for m in models:
    step = json.load(open(f"{folder}/step_{m}.json"))
    ms = collections.Counter()
    for k in step["kernels"]:
        ms[kind(k["name"])] += k["ms"]
    layers, half = 24, 0.5
    rule = {"delta_net_1.3b": "delta:16", "gated_deltanet_1.3b": "gdn:16", "kda_1.3b": "kda:16"}.get(m)
    # GDN has other widths: 12 heads of 128 to 256, whose energy is taken from their time, and a narrower MLP.
    gdn = m == "gated_deltanet_1.3b"
    estimate = {
        "products": (power[m]["product_flops"]) * 1e-12 * per_tflop,
        "delta rule": rule and layers * half * joules("gated_delta_rule", rule) if not gdn
        else ms["delta rule"] * 0.687,
        "attention": layers * half * joules("attention") if not rule else 0,
        "convolution": layers * half * joules("short_conv") if rule else 0,
        "norm": 49 * half * joules("rms_norm"),
        "SwiGLU": layers * half * joules("swiglu") * (4352 / 5632 if gdn else 1),
        "gated norm": layers * half * joules("gated_rms_norm") * (1.5 if gdn else 1) if rule else 0,
        "AdamW, norm of the gradient": power[m]["parameters"] * 34e-9 * per_gb}
    columns[m] = (ms, estimate, step, power[m])
print("| kind | " + " | ".join(f"{m}: ms | J" for m in models) + " |")
print("|---|" + "---|---|" * len(models))
names = [k for k, _ in KINDS] + ["other"]
for name in names:
    cells = []
    for m in models:
        ms, estimate, _, _ = columns[m]
        e = estimate.get(name) or 0
        cells.append(f"{ms[name]:.1f} | {e:.1f}" if e else f"{ms[name]:.1f} | " if ms[name] else " | ")
    print(f"| {name} | " + " | ".join(cells) + " |")
print("| no kernel | " + " | ".join(f"{columns[m][2]['idle_ms']:.1f} | " for m in models) + " |")
print("| sum | " + " | ".join(f"{columns[m][2]['step_ms']:.1f} | {sum(v for v in columns[m][1].values() if v):.0f}"
                              for m in models) + " |")
print("| measured without the trace | " + " | ".join(
    f"{columns[m][3]['step_ms']:.1f} | {columns[m][3]['step_ms'] * 1e-3 * columns[m][3]['watts_counter']:.0f}"
    for m in models) + " |")
