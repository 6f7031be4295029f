#!/usr/bin/env python3
"""Times training steps of the peers' models: one JSON row a model, like `wyvern bench step --json`.

    experiments/peers/train.py MODEL:SEQUENCESxLENGTH:eager|compile ...
    experiments/peers/train.py delta_net:8x2048:eager kda:8x2048:eager llama:8x2048:compile

delta_net, gated_deltanet, kda, transformer: flash-linear-attention's. llama: transformers'. Shapes
are those of configs/*_1.3b.yaml. Weights, gradients and AdamW's moments are bf16, which is how these
libraries train when asked for speed: Wyvern keeps fp32 masters, moments and gradients. A step is
forward, backward, clipping to a norm of 1, fused AdamW. Flags: --steps 10 --warmup 4.
"""

import argparse
import gc
import statistics
import time

import torch
from common import DEVICE, print_row

VOCAB = 32000
SHAPE = {"hidden_size": 2048, "num_hidden_layers": 24, "vocab_size": VOCAB, "use_cache": False}


def build(name):
    """(framework, model) with initial weights, on the default device."""
    if name == "llama":
        from transformers import LlamaConfig, LlamaForCausalLM

        config = LlamaConfig(intermediate_size=5632, num_attention_heads=16,
                             max_position_embeddings=32768, attn_implementation="sdpa", **SHAPE)
        return "transformers", LlamaForCausalLM(config)
    import fla.models
    from transformers import AutoModelForCausalLM

    configs = {
        "delta_net": (fla.models.DeltaNetConfig, {"num_heads": 16, "intermediate_size": 5632}),
        "gated_deltanet": (fla.models.GatedDeltaNetConfig,
                           {"num_heads": 12, "head_dim": 128, "expand_v": 2,
                            "intermediate_size": 4352}),
        "kda": (fla.models.KDAConfig,
                {"num_heads": 16, "head_dim": 128, "intermediate_size": 5632}),
        "transformer": (fla.models.TransformerConfig,
                        {"num_heads": 16, "intermediate_size": 5632}),
    }
    kind, extra = configs[name]
    return "fla", AutoModelForCausalLM.from_config(kind(**SHAPE, **extra))


def measure(name, sequences, length, mode, warmup, steps):
    row = {"model": name, "mode": mode, "sequences": sequences, "seq_len": length,
           "micro_batches": 1, "precision": "bf16, weights and moments too"}
    try:
        begin = time.time()
        torch.manual_seed(0)
        torch.cuda.reset_peak_memory_stats()
        with torch.device(DEVICE):  # drawing a billion weights on the CPU takes far longer
            row["framework"], model = build(name)
        model = model.to(DEVICE, torch.bfloat16).train()
        row["parameters"] = sum(p.numel() for p in model.parameters())
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        call = torch.compile(model) if mode == "compile" else model
        times, losses = [], []
        for _ in range(warmup + steps):
            ids = torch.randint(0, VOCAB, (sequences, length), device=DEVICE)
            torch.cuda.synchronize()
            start = time.time()
            loss = call(input_ids=ids, labels=ids).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            torch.cuda.synchronize()
            times.append(1e3 * (time.time() - start))
            row.setdefault("first_step_s", time.time() - begin)
        measured = times[warmup:]
        median = statistics.median(measured)
        row.update(steps=steps, step_ms=median, step_ms_min=min(measured),
                   step_ms_max=max(measured), tokens_per_s=sequences * length / median * 1e3,
                   peak_bytes=torch.cuda.max_memory_allocated(), first_loss=losses[0],
                   last_loss=losses[-1])
    except Exception as error:  # one model may be absent or too large: the others go on
        row["error"] = f"{type(error).__name__}: {error}"[:300]
    row.setdefault("framework", "transformers" if name == "llama" else "fla")
    print_row(row)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL:SEQUENCESxLENGTH:MODE")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=4)
    args = parser.parse_args()
    for spec in args.models:
        name, shape, mode = spec.split(":")
        sequences, length = map(int, shape.split("x"))
        measure(name, sequences, length, mode, args.warmup, args.steps)
        gc.collect()
        torch.cuda.empty_cache()
        torch._dynamo.reset()


if __name__ == "__main__":
    main()
