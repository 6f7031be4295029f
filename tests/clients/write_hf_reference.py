#!/usr/bin/env python3
"""Runs exported folders in their own library and keeps the results for `wyvern parity FOLDER`.

  write_hf_reference.py FOLDER... [--device cuda] [--tokens 150] [--batch 2]

Loads each FOLDER with transformers, or with flash-linear-attention registered in transformers, or
with the code of its own that Wyvern wrote, in fp32 with TF32 off, and writes
FOLDER/reference.safetensors: input_ids, logits, loss, the gradient of every tensor, and the losses
and gradient norms of six AdamW steps. Every key of model.safetensors must be taken by the library,
and none may be missing.
"""

import argparse
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

BUFFERS = ("e_score_correction_bias", "expert_bias", "router.bias")  # in the files, and without a gradient


def load(folder, device):
    try:
        import fla  # noqa: F401  (registers its models)
    except ImportError:
        pass
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=True)
    faults = {k: v for k, v in info.items() if v and k != "error_msgs"}
    if faults:
        raise SystemExit(f"the library and the folder disagree: {faults}")
    return model.to(device).train()


def forward(model, ids):
    logits = model(input_ids=ids, use_cache=False).logits.float()
    loss = torch.nn.functional.cross_entropy(
        logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))
    return logits, loss


def gradients(model):
    """The gradient of every parameter, under the names and in the shapes of the library's files."""
    with torch.no_grad():
        for parameter in model.parameters():
            value = parameter.detach().clone()
            parameter.copy_(parameter.grad)
            parameter.grad = value
        with tempfile.TemporaryDirectory() as scratch:
            model.save_pretrained(scratch)
            stored = load_file(scratch + "/model.safetensors")
        for parameter in model.parameters():
            parameter.copy_(parameter.grad)
    return {"grad." + k: v for k, v in stored.items() if not k.endswith(BUFFERS)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", metavar="FOLDER")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tokens", type=int, default=150)
    parser.add_argument("--batch", type=int, default=2)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    for folder in options.folders:
        write_reference(folder, options)


def write_reference(folder, options):
    model = load(folder, options.device)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(model.config.vocab_size, (options.batch, options.tokens),
                        generator=generator).to(options.device)
    logits, loss = forward(model, ids)
    loss.backward()
    result = {"input_ids": ids, "logits": logits.detach(), "loss": loss.detach().reshape(1)}
    result |= gradients(model)

    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    losses, norms = [], []
    for _ in range(6):
        optimizer.zero_grad()
        _, loss = forward(model, ids)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        losses.append(loss.detach())
        optimizer.step()
    result["train.loss"] = torch.stack(losses)
    result["train.grad_norm"] = torch.stack(norms)
    save_file({k: v.detach().cpu().contiguous() for k, v in result.items()},
              folder + "/reference.safetensors")
    print(f"loss {float(result['loss']):.6f}; now run: wyvern parity {folder}")


if __name__ == "__main__":
    main()
