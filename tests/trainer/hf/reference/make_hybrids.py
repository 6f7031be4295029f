"""Makes the folders of mistral, olmo_hybrid, qwen3, qwen3_5 and qwen3_next beside it, as make.py
does the others and with its help.

    pip install jax numpy safetensors && python make_hybrids.py .
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

import make
from equations import conv, l2, linear, rms, rope, silu


def partial_rope(m, x, theta, dims):
    return jnp.concatenate([rope(m, x[..., :dims], theta), x[..., dims:]], -1)


def attention(m, p, pre, h, c, window):
    T = h.shape[0]
    H, HK, hd = c["num_attention_heads"], c["num_key_value_heads"], head_dim(c)
    q = linear(m, h, p[pre + "q_proj.weight"])
    k = linear(m, h, p[pre + "k_proj.weight"])
    if olmo(c):  # over all heads
        q = rms(m, q, p[pre + "q_norm.weight"], c["rms_norm_eps"])
        k = rms(m, k, p[pre + "k_norm.weight"], c["rms_norm_eps"])
    k = k.reshape(T, HK, hd)
    v = linear(m, h, p[pre + "v_proj.weight"]).reshape(T, HK, hd)
    gate = None
    if gated(c):
        q, gate = jnp.split(q.reshape(T, H, 2 * hd), 2, -1)
    q = q.reshape(T, H, hd)
    if c["model_type"] != "mistral" and not olmo(c):
        q = rms(m, q, scale(c, p[pre + "q_norm.weight"]), c["rms_norm_eps"])
        k = rms(m, k, scale(c, p[pre + "k_norm.weight"]), c["rms_norm_eps"])
    if c["rope_theta"]:
        dims = int(hd * c.get("partial_rotary_factor", 1.0))
        q, k = (partial_rope(m, x, c["rope_theta"], dims) for x in (q, k))
    k, v = jnp.repeat(k, H // HK, 1), jnp.repeat(v, H // HK, 1)
    s = jnp.einsum("ihd,jhd->hij", q, k) * hd**-0.5
    i, j = np.arange(T)[:, None], np.arange(T)[None]
    seen = (j <= i) & (j > i - window) if window else j <= i
    o = jnp.einsum("hij,jhd->ihd", jax.nn.softmax(jnp.where(seen, s, -jnp.inf), -1), v)
    if gate is not None:
        o = o * jax.nn.sigmoid(gate)
    return linear(m, o.reshape(T, H * hd), p[pre + "o_proj.weight"])


def projections(m, p, pre, h, c):
    """q, k, v, z, b, a, each [T, heads, ...]."""
    T = h.shape[0]
    H, HV = c["linear_num_key_heads"], c["linear_num_value_heads"]
    K, V = c["linear_key_head_dim"], c["linear_value_head_dim"]
    if olmo(c):
        return [linear(m, h, p[pre + f"{n}_proj.weight"]) for n in "qkvgba"]
    if c["model_type"] == "qwen3_5_text":
        qkv = linear(m, h, p[pre + "in_proj_qkv.weight"])
        q, k, v = jnp.split(qkv, [H * K, 2 * H * K], -1)
        z, b, a = (linear(m, h, p[pre + f"in_proj_{n}.weight"]) for n in "zba")
        return q, k, v, z, b, a
    G = HV // H
    qkvz = linear(m, h, p[pre + "in_proj_qkvz.weight"]).reshape(T, H, 2 * K + 2 * G * V)
    parts = jnp.split(qkvz, [K, 2 * K, 2 * K + G * V], -1)
    ba = linear(m, h, p[pre + "in_proj_ba.weight"]).reshape(T, H, 2 * G)
    parts += jnp.split(ba, 2, -1)
    return [x.reshape(T, -1) for x in parts]


def delta(m, p, pre, h, c):
    T = h.shape[0]
    H, HV = c["linear_num_key_heads"], c["linear_num_value_heads"]
    K, V = c["linear_key_head_dim"], c["linear_value_head_dim"]
    q, k, v, z, b, a = projections(m, p, pre, h, c)
    taps = [p[pre + f"{n}_conv1d.weight"] for n in "qkv"] if olmo(c) else [p[pre + "conv1d.weight"]]
    qkv = conv(m, jnp.concatenate([q, k, v], -1), jnp.concatenate(taps))
    q, k, v = jnp.split(qkv, [H * K, 2 * H * K], -1)
    q, k = (jnp.repeat(l2(m, x.reshape(T, H, K)), HV // H, 1) for x in (q, k))
    beta = jax.nn.sigmoid(b) * (2 if c.get("linear_allow_neg_eigval") else 1)
    g = -jnp.exp(p[pre + "A_log"]) * jax.nn.softplus(a + p[pre + "dt_bias"])

    def step(S, t):
        qt, kt, vt, bt, gt = t
        S = S * jnp.exp(gt)[:, None, None]
        e = bt[:, None] * (vt - jnp.einsum("hkv,hk->hv", S, kt))
        S = S + kt[..., None] * e[:, None, :]
        return S, jnp.einsum("hkv,hk->hv", S, qt) * K**-0.5

    start = jnp.zeros((HV, K, V), m.acc)
    _, o = jax.lax.scan(step, start, (q, k, v.reshape(T, HV, V), beta, g))
    norm, out = ("o_norm", "o_proj") if olmo(c) else ("norm", "out_proj")
    eps = 1e-5 if olmo(c) else c["rms_norm_eps"]
    o = rms(m, o, p[pre + norm + ".weight"], eps) * silu(z.reshape(T, HV, V))
    return linear(m, o.reshape(T, HV * V), p[pre + out + ".weight"])


def swiglu(m, p, pre, h):
    up = silu(linear(m, h, p[pre + "gate_proj.weight"])) * linear(m, h, p[pre + "up_proj.weight"])
    return linear(m, up, p[pre + "down_proj.weight"])


def experts(m, p, pre, h, c):
    scores = jax.nn.softmax(linear(m, h, p[pre + "gate.weight"]), -1)
    w, chosen = jax.lax.top_k(scores, c["num_experts_per_tok"])
    if c["norm_topk_prob"]:
        w = w / jnp.sum(w, -1, keepdims=True)
    every = jnp.stack([swiglu(m, p, f"{pre}experts.{e}.", h) for e in range(c["num_experts"])], 1)
    y = jnp.sum(w[..., None] * jnp.take_along_axis(every, chosen[..., None], 1), 1)
    open_ = jax.nn.sigmoid(linear(m, h, p[pre + "shared_expert_gate.weight"]))
    return y + open_ * swiglu(m, p, pre + "shared_expert.", h)


def olmo(c):
    return c["model_type"] == "olmo_hybrid"


def head_dim(c):
    return c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]


def gated(c):
    return c["model_type"] in ("qwen3_next", "qwen3_5_text")


def scale(c, w):
    return 1 + w if gated(c) else w


def norm_names(c, i):
    if not olmo(c):
        return "input_layernorm", "post_attention_layernorm"
    if is_linear(c, i):
        return "attention_layer_norm", "feedforward_layer_norm"
    return "post_attention_layernorm", "post_feedforward_layernorm"


def is_moe(c, i):
    return c["model_type"] == "qwen3_next" and i not in c["mlp_only_layers"]


def window_of(c, i):
    if c["model_type"] == "mistral":
        return c["sliding_window"]
    kinds = c.get("layer_types")
    return c["sliding_window"] if kinds and kinds[i] == "sliding_attention" else None


def is_linear(c, i):
    if olmo(c):
        return c["layer_types"][i] == "linear_attention"
    return gated(c) and (i + 1) % c["full_attention_interval"] != 0


def logits_fn(m, p, c, ids):
    x = p["model.embed_tokens.weight"][ids]
    norm = lambda x, n: rms(m, x, scale(c, p[n + ".weight"]), c["rms_norm_eps"])
    for i in range(c["num_hidden_layers"]):
        pre = f"model.layers.{i}."
        if olmo(c) and not is_linear(c, i):  # norms behind
            y = attention(m, p, pre + "self_attn.", x, c, None)
            x = x + norm(y, pre + "post_attention_layernorm")
            x = x + norm(swiglu(m, p, pre + "mlp.", x), pre + "post_feedforward_layernorm")
            continue
        before, behind = norm_names(c, i)
        h = norm(x, pre + before)
        if is_linear(c, i):
            x = x + delta(m, p, pre + "linear_attn.", h, c)
        else:
            x = x + attention(m, p, pre + "self_attn.", h, c, window_of(c, i))
        h = norm(x, pre + behind)
        x = x + (experts(m, p, pre + "mlp.", h, c) if is_moe(c, i) else swiglu(m, p, pre + "mlp.", h))
    x = norm(x, "model.norm")
    return linear(m, x, p.get("lm_head.weight", p["model.embed_tokens.weight"]))


def base(fam, **kw):
    c = dict(
        model_type=fam,
        hidden_size=24,
        num_hidden_layers=3,
        vocab_size=32,
        intermediate_size=40,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        pad_token_id=None,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        rope_theta=5000.0,
    )
    if olmo(c):
        del c["head_dim"]
    if gated(c):
        c.update(partial_rotary_factor=0.5, full_attention_interval=2)
    if gated(c) or olmo(c):
        c.update(
            linear_conv_kernel_dim=3,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            linear_key_head_dim=6,
            linear_value_head_dim=10,
        )
    c.update(kw)
    return c


CASES = {
    "mistral-window": base("mistral", sliding_window=7),
    # Without positions, as published; beta up to 2.
    "olmo_hybrid-nope": base(
        "olmo_hybrid",
        rope_theta=None,
        layer_types=["full_attention", "linear_attention", "linear_attention"],
        linear_allow_neg_eigval=True,
    ),
    "qwen3-window": base(
        "qwen3",
        use_sliding_window=True,
        sliding_window=6,
        layer_types=["full_attention", "sliding_attention", "full_attention"],
    ),
    "qwen3_5-tied": base("qwen3_5_text", tie_word_embeddings=True, num_hidden_layers=2),
    # The published vocabulary; the first layer dense, weights as they are.
    "qwen3_next-dense-first": base(
        "qwen3_next",
        mlp_only_layers=[0],
        decoder_sparse_step=1,
        num_experts=5,
        num_experts_per_tok=3,
        moe_intermediate_size=8,
        shared_expert_intermediate_size=16,
        norm_topk_prob=False,
    ),
}


def shapes(c):
    D, V = c["hidden_size"], c["vocab_size"]
    s = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,)}
    if not c["tie_word_embeddings"]:
        s["lm_head.weight"] = (V, D)

    def mlp(pre, width):
        s[pre + "gate_proj.weight"] = s[pre + "up_proj.weight"] = (width, D)
        s[pre + "down_proj.weight"] = (D, width)

    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        for n in norm_names(c, i):
            s[p + n + ".weight"] = (D,)
        if is_linear(c, i):
            a = p + "linear_attn."
            H, HV = c["linear_num_key_heads"], c["linear_num_value_heads"]
            keys, values = H * c["linear_key_head_dim"], HV * c["linear_value_head_dim"]
            if olmo(c):
                for n, width in zip("qkvgba", (keys, keys, values, values, HV, HV)):
                    s[a + f"{n}_proj.weight"] = (width, D)
                for n, width in zip("qkv", (keys, keys, values)):
                    s[a + f"{n}_conv1d.weight"] = (width, 1, c["linear_conv_kernel_dim"])
                s[a + "A_log"] = s[a + "dt_bias"] = (HV,)
                s[a + "o_norm.weight"] = (c["linear_value_head_dim"],)
                s[a + "o_proj.weight"] = (D, values)
                mlp(p + "mlp.", c["intermediate_size"])
                continue
            if c["model_type"] == "qwen3_next":
                s[a + "in_proj_qkvz.weight"] = (2 * keys + 2 * values, D)
                s[a + "in_proj_ba.weight"] = (2 * HV, D)
            else:
                s[a + "in_proj_qkv.weight"] = (2 * keys + values, D)
                s[a + "in_proj_z.weight"] = (values, D)
                s[a + "in_proj_b.weight"] = s[a + "in_proj_a.weight"] = (HV, D)
            s[a + "conv1d.weight"] = (2 * keys + values, 1, c["linear_conv_kernel_dim"])
            s[a + "A_log"] = s[a + "dt_bias"] = (HV,)
            s[a + "norm.weight"] = (c["linear_value_head_dim"],)
            s[a + "out_proj.weight"] = (D, values)
        else:
            a = p + "self_attn."
            q = c["num_attention_heads"] * head_dim(c)
            kv = c["num_key_value_heads"] * head_dim(c)
            s[a + "q_proj.weight"] = (2 * q if gated(c) else q, D)
            s[a + "k_proj.weight"] = s[a + "v_proj.weight"] = (kv, D)
            s[a + "o_proj.weight"] = (D, q)
            if olmo(c):
                s[a + "q_norm.weight"], s[a + "k_norm.weight"] = (q,), (kv,)
            elif c["model_type"] != "mistral":
                s[a + "q_norm.weight"] = s[a + "k_norm.weight"] = (head_dim(c),)
        b = p + "mlp."
        if not is_moe(c, i):
            mlp(b, c["intermediate_size"])
            continue
        s[b + "gate.weight"] = (c["num_experts"], D)
        for e in range(c["num_experts"]):
            mlp(f"{b}experts.{e}.", c["moe_intermediate_size"])
        mlp(b + "shared_expert.", c["shared_expert_intermediate_size"])
        s[b + "shared_expert_gate.weight"] = (1, D)
    return s


def draw_for(name):
    def draw(n, sh, r):
        w = make.draw(n, sh, r)
        # Norms but that of the delta rule's output scale by 1 + weight.
        centred = name.startswith(("qwen3_5", "qwen3_next")) and "norm" in n
        return w - 1 if centred and "linear_attn" not in n else w

    return draw


if __name__ == "__main__":
    make.logits_fn = logits_fn
    for name, case in CASES.items():
        make.write(sys.argv[1], {name: case}, shapes, draw_for(name))
