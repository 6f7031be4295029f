"""Makes the folders beside it: small models of configurations that the golden folders lack.

An implementation of the families' equations of its own, in JAX and fp64, that shares nothing with
Wyvern's code: logits, loss, every gradient and six AdamW steps, in the layout of `wyvern parity`.

    pip install jax numpy safetensors && python make.py .
"""

import json
import math
import os
import sys
import zlib

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from equations import F64, attention, delta, gla, is_small, linear, rms, silu


def logits_fn(m, p, c, ids):
    fam = c["model_type"]
    llama = fam == "llama"
    D = c["hidden_size"]
    emb = p["model.embed_tokens.weight" if llama else "model.embeddings.weight"]
    e = emb
    if c.get("pad_token_id") is not None:
        mask = jnp.arange(emb.shape[0])[:, None] == c["pad_token_id"]
        e = jnp.where(mask, jax.lax.stop_gradient(emb), emb)
    eps = c["rms_norm_eps"] if llama else c["norm_eps"]
    x = e.astype(m.io)[ids]
    n1, n2, at = (
        ("input_layernorm", "post_attention_layernorm", "self_attn")
        if llama
        else ("attn_norm", "mlp_norm", "attn")
    )
    specs = c.get("attn") or []
    if isinstance(specs, dict):
        specs = [specs]
    for i in range(c["num_hidden_layers"]):
        pre = f"model.layers.{i}."
        h = rms(m, x, p[pre + n1 + ".weight"], eps)
        spec = next((s for s in specs if i in s["layers"]), None)
        if llama:
            y = attention(
                m,
                p,
                pre + at + ".",
                h,
                dict(
                    num_heads=c["num_attention_heads"],
                    num_kv_heads=c["num_key_value_heads"],
                    head_dim=c["head_dim"],
                    rope_theta=c["rope_theta"],
                ),
                D,
            )
        elif fam == "transformer":
            y = attention(m, p, pre + "attn.", h, c, D)
        elif spec:
            y = attention(m, p, pre + "attn.", h, spec, D)
        elif fam == "gla":
            y = gla(m, p, pre + "attn.", h, c)
        else:
            y = delta(m, p, pre + "attn.", h, c, fam)
        x = x + y
        h = rms(m, x, p[pre + n2 + ".weight"], eps)
        q = pre + "mlp."
        bb = lambda n: p.get(q + n + ".bias")
        z = (
            silu(linear(m, h, p[q + "gate_proj.weight"], bb("gate_proj")).astype(m.acc))
            * linear(m, h, p[q + "up_proj.weight"], bb("up_proj")).astype(m.acc)
        ).astype(m.io)
        x = x + linear(m, z, p[q + "down_proj.weight"], bb("down_proj"))
    x = rms(m, x, p["model.norm.weight"], eps)
    return linear(m, x, p["lm_head.weight"] if "lm_head.weight" in p else emb)


def loss_fn(m, p, c, ids):
    lg = jax.vmap(lambda i: logits_fn(m, p, c, i))(ids)
    l = lg.astype(m.acc)
    lp = jax.nn.log_softmax(l[:, :-1], -1)
    ll = jnp.take_along_axis(lp, ids[:, 1:, None], -1)[..., 0]
    return -jnp.mean(ll), lg


def run(m, c, weights, ids, steps=6):
    master = {k: jnp.asarray(v, m.acc) for k, v in weights.items()}
    vg = jax.jit(
        jax.value_and_grad(
            lambda p: loss_fn(
                m, {k: (v if is_small(k) else v.astype(m.io)) for k, v in p.items()}, c, ids
            ),
            has_aux=True,
        )
    )
    (loss, lg), g = vg(master)
    out = dict(
        loss=float(loss),
        logits=np.asarray(lg.astype(m.acc), np.float64),
        grad={k: np.asarray(v, np.float64) for k, v in g.items()},
    )
    M = {k: 0 * v for k, v in master.items()}
    V = {k: 0 * v for k, v in master.items()}
    ls = []
    ns = []
    for s in range(steps):
        if s:
            (loss, _), g = vg(master)
        n = math.sqrt(sum(float(jnp.sum(v.astype(jnp.float64) ** 2)) for v in g.values()))
        ls.append(float(loss))
        ns.append(n)
        sc = min(1, 1 / (n + 1e-6))
        for k in master:
            gr = g[k] * sc
            M[k] = 0.9 * M[k] + 0.1 * gr
            V[k] = 0.95 * V[k] + 0.05 * gr * gr
            w = master[k] * (1 - 1e-3 * 0.1) if master[k].ndim >= 2 else master[k]
            master[k] = w - 1e-3 * (M[k] / (1 - 0.9 ** (s + 1))) / (
                jnp.sqrt(V[k] / (1 - 0.95 ** (s + 1))) + 1e-8
            )
    out["losses"], out["norms"] = ls, ns
    return out


def base(fam, **kw):
    c = dict(
        model_type=fam,
        hidden_size=24,
        num_hidden_layers=2,
        vocab_size=32,
        intermediate_size=32,
        pad_token_id=None,
        tie_word_embeddings=False,
        norm_eps=1e-6,
    )
    if fam == "llama":
        del c["norm_eps"]
        c.update(rms_norm_eps=1e-5)
    if fam in ("delta_net", "gated_deltanet", "kda"):
        c.update(num_heads=2, use_short_conv=True, conv_size=4, allow_neg_eigval=False, attn=None)
    if fam == "delta_net":
        c.update(expand_k=1.0, expand_v=1.0, use_gate=False, use_beta=True)
    if fam == "gated_deltanet":
        c.update(head_dim=8, expand_v=2.0, num_v_heads=None, use_gate=True)
    if fam == "kda":
        c.update(head_dim=12, expand_v=1.0, num_v_heads=None, safe_gate=False, lower_bound=None)
    if fam == "gla":
        c.update(
            num_heads=2,
            expand_k=0.5,
            expand_v=1.0,
            use_short_conv=False,
            conv_size=4,
            use_output_gate=True,
            clamp_min=None,
            fuse_norm=True,
            attn=None,
        )
    c.update(kw)
    return c


CASES = {
    "delta_net-global": base(
        "delta_net",
        num_hidden_layers=3,
        attn=dict(
            layers=[1],
            num_heads=3,
            num_kv_heads=3,
            qkv_bias=False,
            window_size=None,
            rope_theta=10000.0,
        ),
    ),
    "delta_net-expanded": base(
        "delta_net",
        expand_k=0.5,
        expand_v=1.5,
        use_gate=True,
        use_short_conv=False,
        use_beta=False,
        pad_token_id=0,
        tie_word_embeddings=True,
    ),
    "gated_deltanet-gva": base("gated_deltanet", num_v_heads=6, allow_neg_eigval=True),
    "gated_deltanet-hybrid": base(
        "gated_deltanet",
        num_hidden_layers=3,
        use_gate=False,
        attn=[
            dict(
                layers=[0],
                num_heads=2,
                num_kv_heads=1,
                qkv_bias=True,
                window_size=5,
                rope_theta=500.0,
            ),
            dict(
                layers=[2],
                num_heads=3,
                num_kv_heads=3,
                qkv_bias=False,
                window_size=None,
                rope_theta=10000.0,
            ),
        ],
    ),
    "kda-safe-gate": base("kda", safe_gate=True, lower_bound=-3.0, num_v_heads=4, expand_v=0.5),
    "kda-neg-eigval": base("kda", allow_neg_eigval=True, conv_size=3),
    "gla-clamp": base(
        "gla",
        num_hidden_layers=3,
        expand_k=0.75,
        use_short_conv=True,
        conv_size=3,
        clamp_min=-0.06,
        attn=dict(
            layers=[1],
            num_heads=3,
            num_kv_heads=3,
            qkv_bias=False,
            window_size=None,
            rope_theta=10000.0,
        ),
    ),
    "gla-no-gate": base("gla", use_output_gate=False, tie_word_embeddings=True),
    "transformer-qk-norm": base(
        "transformer",
        num_heads=4,
        num_kv_heads=2,
        qkv_bias=True,
        qk_norm=True,
        window_size=7,
        rope_theta=1000.0,
        pad_token_id=5,
    ),
    "llama-biases": base(
        "llama",
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        attention_bias=True,
        mlp_bias=True,
        rope_theta=20000.0,
        tie_word_embeddings=True,
    ),
}


def shapes(c):
    fam = c["model_type"]
    llama = fam == "llama"
    D, V, I = c["hidden_size"], c["vocab_size"], c["intermediate_size"]
    s = {}
    s["model.embed_tokens.weight" if llama else "model.embeddings.weight"] = (V, D)
    if not c["tie_word_embeddings"]:
        s["lm_head.weight"] = (V, D)
    s["model.norm.weight"] = (D,)
    specs = c.get("attn") or []
    specs = [specs] if isinstance(specs, dict) else specs
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        s[p + ("input_layernorm" if llama else "attn_norm") + ".weight"] = (D,)
        s[p + ("post_attention_layernorm" if llama else "mlp_norm") + ".weight"] = (D,)
        for n, sh in (("gate_proj", (I, D)), ("up_proj", (I, D)), ("down_proj", (D, I))):
            s[p + f"mlp.{n}.weight"] = sh
            if c.get("mlp_bias"):
                s[p + f"mlp.{n}.bias"] = sh[:1]
        a = p + ("self_attn." if llama else "attn.")
        spec = next((x for x in specs if i in x["layers"]), None)
        if llama:
            spec = dict(
                num_heads=c["num_attention_heads"],
                num_kv_heads=c["num_key_value_heads"],
                head_dim=c["head_dim"],
                qkv_bias=c["attention_bias"],
                o=c["attention_bias"],
            )
        if fam == "transformer":
            spec = c
        if spec:
            H, HK = spec["num_heads"], spec["num_kv_heads"]
            hd = spec.get("head_dim") or D // H
            for n, o in (("q", H), ("k", HK), ("v", HK)):
                s[a + n + "_proj.weight"] = (o * hd, D)
                if spec["qkv_bias"]:
                    s[a + n + "_proj.bias"] = (o * hd,)
            s[a + "o_proj.weight"] = (D, H * hd)
            if spec.get("o"):
                s[a + "o_proj.bias"] = (D,)
            if spec.get("qk_norm"):
                s[a + "q_norm.weight"] = s[a + "k_norm.weight"] = (hd,)
            continue
        H = c["num_heads"]
        if fam in ("delta_net", "gla"):
            K = int(D * c["expand_k"]) // H
            Vd = int(D * c["expand_v"]) // H
            HV = H
        else:
            K = c["head_dim"]
            Vd = int(K * c["expand_v"])
            HV = c["num_v_heads"] or H
        for n, w in (("q", H * K), ("k", H * K), ("v", HV * Vd)):
            s[a + n + "_proj.weight"] = (w, D)
            if c["use_short_conv"]:
                s[a + n + "_conv1d.weight"] = (w, 1, c["conv_size"])
        s[a + "o_proj.weight"] = (D, HV * Vd)
        if fam == "gla":
            s[a + "gk_proj.0.weight"] = (16, D)
            s[a + "gk_proj.1.weight"] = (H * K, 16)
            s[a + "gk_proj.1.bias"] = (H * K,)
            if c["use_output_gate"]:
                s[a + "g_proj.weight"] = (H * Vd, D)
            fused = c["fuse_norm"] and c["use_output_gate"]
            s[a + ("g_norm_swish_gate.weight" if fused else "g_norm.weight")] = (Vd,)
            continue
        s[a + "o_norm.weight"] = (Vd,)
        if c.get("use_beta", True):
            s[a + "b_proj.weight"] = (HV, D)
        if fam == "gated_deltanet":
            s[a + "a_proj.weight"] = (HV, D)
            s[a + "A_log"] = s[a + "dt_bias"] = (HV,)
        if fam == "kda":
            s[a + "f_proj.0.weight"] = (Vd, D)
            s[a + "f_proj.1.weight"] = (HV * K, Vd)
            s[a + "A_log"] = (HV,)
            s[a + "dt_bias"] = (HV * K,)
            s[a + "g_proj.0.weight"] = (Vd, D)
            s[a + "g_proj.1.weight"] = (HV * Vd, Vd)
            s[a + "g_proj.1.bias"] = (HV * Vd,)
        elif c["use_gate"]:
            s[a + "g_proj.weight"] = (HV * Vd, D)
    return s


def draw(n, sh, r):
    if "norm" in n:
        return r.normal(1, 0.1, sh)
    if "conv1d" in n:
        return r.normal(0, 0.5, sh)
    if n.endswith("A_log"):
        return np.log(r.uniform(1, 16, sh))
    if n.endswith("dt_bias"):
        return r.normal(-4, 1, sh)
    if n.endswith(".bias"):
        return r.normal(0, 0.1, sh)
    return r.normal(0, 0.2, sh)


def write(out, cases, shapes, draw):
    for name, c in cases.items():
        r = np.random.default_rng(zlib.crc32(name.encode()))
        w = {n: draw(n, sh, r).astype(np.float32) for n, sh in shapes(c).items()}
        ids = r.integers(0, c["vocab_size"], (2, 24))
        o = run(F64, c, w, jnp.asarray(ids, jnp.int32))
        d = f"{out}/{name}"
        os.makedirs(d, exist_ok=True)
        json.dump(c, open(d + "/config.json", "w"), indent=1)
        open(d + "/config.json", "a").write("\n")
        save_file(w, d + "/model.safetensors", metadata={"format": "pt"})
        ref = dict(
            input_ids=ids.astype(np.int64),
            logits=o["logits"].astype(np.float32),
            loss=np.array([o["loss"]], np.float32),
            **{
                "grad." + k: v.astype(np.float32)
                for k, v in o["grad"].items()
                if not k.endswith(("correction_bias", "expert_bias"))  # buffers
            },
        )
        ref["train.loss"] = np.array(o["losses"], np.float32)
        ref["train.grad_norm"] = np.array(o["norms"], np.float32)
        save_file(ref, d + "/reference.safetensors", metadata={"format": "pt"})
        print(name, o["losses"], flush=True)


if __name__ == "__main__":
    write(sys.argv[1], CASES, shapes, draw)
