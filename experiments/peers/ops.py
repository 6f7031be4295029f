#!/usr/bin/env python3
"""Times the peers' ops at the shapes of `wyvern bench ops`, one JSON row a direction.

    experiments/peers/ops.py [--op NAME] [--framework fla|torch] [--case START]

Peers: flash-linear-attention's chunked delta rules (Triton), PyTorch's fused attention and products.
What is not installed, or refuses to run, gives a row with `error`. `op` and `case` are Wyvern's, so
that compare.py can put the two beside each other. bf16; the first call of a Triton op compiles and
tunes it, which takes minutes: keep TRITON_CACHE_DIR and set TRITON_CACHE_AUTOTUNING=1.
"""

import argparse
import time

import torch
import torch.nn.functional as F
from common import DEVICE, median_ms, print_row

TOKENS, HEADS, HEAD_DIM = 32768, 16, 128
WIDTH, HIDDEN, VOCAB = 2048, 5632, 32000
LENGTHS = (2048, 32768)  # of a sequence


def draw(*shape, mean=0.0, stddev=1.0, dtype=torch.bfloat16):
    values = torch.randn(*shape, device=DEVICE, dtype=torch.float32) * stddev + mean
    return values.to(dtype).requires_grad_()


def measure(framework, peer, op, case, make):
    """`make` gives a function without arguments and the tensors it is differentiated by. Backward is
    timed on one graph, which it keeps."""
    row = {"framework": framework, "peer": peer, "op": op, "case": case}
    try:
        begin = time.time()
        forward, inputs = make()
        y = forward()
        gradient = torch.randn_like(y)

        def backward():
            torch.autograd.grad(y, inputs, gradient, retain_graph=True)

        backward()
        torch.cuda.synchronize()
        first_s = time.time() - begin
        print_row({**row, "direction": "forward", "ms": median_ms(forward), "first_s": first_s})
        print_row({**row, "direction": "backward", "ms": median_ms(backward)})
    except Exception as error:  # any peer may be absent or refuse this card: the others go on
        print_row({**row, "error": f"{type(error).__name__}: {error}"[:300]})
    torch.cuda.empty_cache()


def delta_rule(kind, length):
    """flash-linear-attention's chunk ops, L2 norm (and gate) inside. beta is given, not its logit."""
    shape = (TOKENS // length, length, HEADS, HEAD_DIM)
    q, k, v = draw(*shape), draw(*shape), draw(*shape)
    beta = torch.rand(*shape[:3], device=DEVICE, dtype=torch.bfloat16).requires_grad_()
    common = {"use_qk_l2norm_in_kernel": True}
    if kind == "delta":
        from fla.ops.delta_rule import chunk_delta_rule

        return lambda: chunk_delta_rule(q, k, v, beta, **common)[0], [q, k, v, beta]
    if kind == "gdn":
        from fla.ops.gated_delta_rule import chunk_gated_delta_rule

        g = F.logsigmoid(torch.randn(*shape[:3], device=DEVICE)).requires_grad_()
        return lambda: chunk_gated_delta_rule(q, k, v, g, beta, **common)[0], [q, k, v, g, beta]
    from fla.ops.kda import chunk_kda

    gate = draw(*shape)
    a_log = draw(HEADS, mean=2.08, stddev=0.5, dtype=torch.float32)
    dt_bias = draw(HEADS * HEAD_DIM, mean=-4.6, dtype=torch.float32)
    common.update(A_log=a_log, dt_bias=dt_bias, use_gate_in_kernel=True)
    if kind == "kda, bounded":
        common.update(safe_gate=True, lower_bound=-5.0)
    return (lambda: chunk_kda(q, k, v, gate, beta, **common)[0],
            [q, k, v, gate, beta, a_log, dt_bias])


def attention(backend, length):
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q, k, v = (draw(TOKENS // length, HEADS, length, HEAD_DIM) for _ in range(3))

    def forward():
        with sdpa_kernel(getattr(SDPBackend, backend)):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    return forward, [q, k, v]


def matmul(inner, outer):
    x, weight = draw(TOKENS, inner), draw(outer, inner, stddev=0.02)
    return lambda: F.linear(x, weight), [x, weight]


def rms_norm():
    x, weight = draw(TOKENS, WIDTH), draw(WIDTH, mean=1.0, stddev=0.1)
    return lambda: F.rms_norm(x, (WIDTH,), weight, 1e-6), [x, weight]


def swiglu():
    gate, up = draw(TOKENS, HIDDEN), draw(TOKENS, HIDDEN)
    return lambda: F.silu(gate) * up, [gate, up]


def head(fused):
    x, weight = draw(TOKENS, WIDTH), draw(VOCAB, WIDTH, stddev=0.02)
    targets = torch.randint(0, VOCAB, (TOKENS,), device=DEVICE)
    if not fused:
        return lambda: F.cross_entropy(F.linear(x, weight).float(), targets), [x, weight]
    from fla.modules.fused_linear_cross_entropy import FusedLinearCrossEntropyLoss

    loss = FusedLinearCrossEntropyLoss()
    return lambda: loss(x, targets, weight), [x, weight]


def rows():
    """(framework, peer, op, case, make) of every measurement."""
    for length in LENGTHS:
        docs = f"{TOKENS // length} x {length}"
        for kind, name in (("delta", "chunk_delta_rule"), ("gdn", "chunk_gated_delta_rule"),
                           ("kda", "chunk_kda"), ("kda, bounded", "chunk_kda, safe gate")):
            yield ("fla", name, "gated_delta_rule", f"{kind}, {docs} x {HEADS} x {HEAD_DIM}",
                   lambda kind=kind, length=length: delta_rule(kind, length))
        for backend, name in (("CUDNN_ATTENTION", "SDPA, cuDNN"),
                              ("FLASH_ATTENTION", "SDPA, FlashAttention-2")):
            yield ("torch", name, "attention", docs,
                   lambda backend=backend, length=length: attention(backend, length))
    for inner, outer in ((WIDTH, WIDTH), (WIDTH, HIDDEN), (HIDDEN, WIDTH)):
        yield ("torch", "F.linear", "matmul", f"{TOKENS} x {inner} to {outer}",
               lambda inner=inner, outer=outer: matmul(inner, outer))
    yield "torch", "F.rms_norm", "rms_norm", f"[{TOKENS}, {WIDTH}]", rms_norm
    yield "torch", "silu(gate) * up", "swiglu", f"[{TOKENS}, {HIDDEN}]", swiglu
    case = f"{TOKENS} x {WIDTH}, {VOCAB} classes"
    yield "torch", "linear, cross_entropy", "linear_cross_entropy", case, lambda: head(False)
    yield ("fla", "FusedLinearCrossEntropyLoss", "linear_cross_entropy", case, lambda: head(True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--op", help="only this op, by Wyvern's name")
    parser.add_argument("--framework", choices=("fla", "torch"), help="only this framework's")
    parser.add_argument("--case", default="", help="only cases that start so")
    args = parser.parse_args()
    torch.manual_seed(0)
    for framework, peer, op, case, make in rows():
        if (args.op in (None, op) and args.framework in (None, framework)
                and case.startswith(args.case)):
            measure(framework, peer, op, case, make)


if __name__ == "__main__":
    main()
