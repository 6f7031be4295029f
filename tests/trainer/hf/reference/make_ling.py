"""Makes the bailing_hybrid folders beside it, as make.py does the others and with make_kimi.py's
help.

    pip install jax numpy safetensors && python make_ling.py .
"""

import sys

import jax
import jax.numpy as jnp

import make
import make_kimi
from equations import linear, rms

# Ling's names and Kimi's.
NAMES = {
    ".attention.dense.": ".self_attn.o_proj.",
    ".attention.": ".self_attn.",
    ".mlp.experts.": ".block_sparse_moe.experts.",
    ".mlp.shared_experts.": ".block_sparse_moe.shared_experts.",
    ".mlp.gate.expert_bias": ".block_sparse_moe.gate.e_score_correction_bias",
    ".mlp.gate.weight": ".block_sparse_moe.gate.weight",
}


def kimi_name(n):
    for ours, theirs in NAMES.items():
        if ours in n:
            n = n.replace(ours, theirs)
            break
    if ".block_sparse_moe.experts." in n:
        for ours, theirs in {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}.items():
            n = n.replace(ours, theirs)
    return n


def is_full(c, i):
    if "layer_types" in c:
        return c["layer_types"][i] == "full_attention"
    return (i + 1) % c["layer_group_size"] == 0


def kimi_config(c):
    """The part of Kimi's vocabulary that make_kimi.py's layers read."""
    return dict(
        c,
        linear_attn_config=dict(
            num_heads=c["num_attention_heads"],
            head_dim=c["head_dim"],
            gate_lower_bound=c["kda_lower_bound"] if c["kda_safe_gate"] else None,
        ),
        num_experts_per_token=c["num_experts_per_tok"],
        num_expert_group=c["n_group"],
        moe_renormalize=c["norm_topk_prob"],
        moe_router_activation_func="sigmoid",
    )


def logits_fn(m, p, c, ids):
    p = {kimi_name(n): w for n, w in p.items()}
    k = kimi_config(c)
    emb = p["model.word_embeddings.weight"]
    if c["pad_token_id"] is not None:
        mask = jnp.arange(emb.shape[0])[:, None] == c["pad_token_id"]
        emb = jnp.where(mask, jax.lax.stop_gradient(emb), emb)
    x = emb[ids]
    norm = lambda x, n: rms(m, x, p[n + ".weight"], c["rms_norm_eps"])
    for i in range(c["num_hidden_layers"]):
        pre = f"model.layers.{i}."
        h = norm(x, pre + "input_layernorm")
        if is_full(c, i):
            x = x + make_kimi.mla(m, p, pre + "self_attn.", h, k, c["rope_theta"])
        else:
            x = x + make_kimi.kda(m, p, pre + "self_attn.", h, k)
        h = norm(x, pre + "post_attention_layernorm")
        if i >= c["first_k_dense_replace"]:
            x = x + make_kimi.experts(m, p, pre + "block_sparse_moe.", h, k)
        else:
            names = (f"{pre}mlp.{n}_proj.weight" for n in ("gate", "up", "down"))
            x = x + make_kimi.swiglu(m, p, *names, h)
    return linear(m, norm(x, "model.norm"), p["lm_head.weight"])


def base(**kw):
    c = dict(
        model_type="bailing_hybrid",
        hidden_size=24,
        num_hidden_layers=4,
        vocab_size=32,
        intermediate_size=40,
        rms_norm_eps=1e-6,
        tie_word_embeddings=False,
        pad_token_id=None,
        hidden_act="silu",
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        short_conv_kernel_size=4,
        layer_group_size=2,
        no_kda_lora=True,
        kda_safe_gate=True,
        kda_lower_bound=-5.0,
        q_lora_rank=None,
        kv_lora_rank=12,
        qk_nope_head_dim=8,
        qk_rope_head_dim=6,
        v_head_dim=10,
        rope_theta=5000.0,
        rope_interleave=True,
        gated_attention_proj_granularity_type="head_wise",
        num_experts=8,
        num_experts_per_tok=2,
        num_shared_experts=1,
        moe_intermediate_size=12,
        n_group=4,
        topk_group=2,
        norm_topk_prob=True,
        routed_scaling_factor=2.5,
        first_k_dense_replace=1,
        score_function="sigmoid",
        use_qk_norm=True,
    )
    c.update(kw)
    return c


CASES = {
    "bailing_hybrid-groups": base(pad_token_id=31),
    # Queries in two steps, unbounded decays, the last layers MLA, no experts.
    "bailing_hybrid-dense": base(
        num_hidden_layers=3,
        layer_types=["linear_attention", "full_attention", "full_attention"],
        q_lora_rank=10,
        kda_safe_gate=False,
        num_attention_heads=3,
        num_key_value_heads=3,
        head_dim=6,
        short_conv_kernel_size=3,
        first_k_dense_replace=3,
    ),
}


def shapes(c):
    D, V = c["hidden_size"], c["vocab_size"]
    H, d, W = c["num_attention_heads"], c["head_dim"], c["short_conv_kernel_size"]
    dn, dr, dv = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    r, rq = c["kv_lora_rank"], c["q_lora_rank"]
    s = {"model.word_embeddings.weight": (V, D), "model.norm.weight": (D,)}
    s["lm_head.weight"] = (V, D)

    def mlp(pre, width):
        s[pre + "gate_proj.weight"] = s[pre + "up_proj.weight"] = (width, D)
        s[pre + "down_proj.weight"] = (D, width)

    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        s[p + "input_layernorm.weight"] = s[p + "post_attention_layernorm.weight"] = (D,)
        a = p + "attention."
        if is_full(c, i):
            if rq:
                s[a + "q_a_proj.weight"] = (rq, D)
                s[a + "q_a_layernorm.weight"] = (rq,)
                s[a + "q_b_proj.weight"] = (H * (dn + dr), rq)
            else:
                s[a + "q_proj.weight"] = (H * (dn + dr), D)
            s[a + "kv_a_proj_with_mqa.weight"] = (r + dr, D)
            s[a + "kv_a_layernorm.weight"] = (r,)
            s[a + "kv_b_proj.weight"] = (H * (dn + dv), r)
            s[a + "g_proj.weight"] = (H, D)
            s[a + "dense.weight"] = (D, H * dv)
        else:
            for n in "qkv":
                s[f"{a}{n}_proj.weight"] = (H * d, D)
                s[f"{a}{n}_conv1d.weight"] = (H * d, 1, W)
            s[a + "f_proj.weight"] = s[a + "g_proj.weight"] = (H * d, D)
            s[a + "A_log"], s[a + "dt_bias"] = (H,), (H * d,)
            s[a + "b_proj.weight"] = (H, D)
            s[a + "o_norm.weight"] = (d,)
            s[a + "dense.weight"] = (D, H * d)
        b = p + "mlp."
        if i < c["first_k_dense_replace"]:
            mlp(b, c["intermediate_size"])
            continue
        s[b + "gate.weight"] = (c["num_experts"], D)
        s[b + "gate.expert_bias"] = (c["num_experts"],)
        for e in range(c["num_experts"]):
            mlp(f"{b}experts.{e}.", c["moe_intermediate_size"])
        mlp(b + "shared_experts.", c["moe_intermediate_size"] * c["num_shared_experts"])
    return s


def draw(n, sh, r):
    return r.normal(0, 0.05, sh) if n.endswith("expert_bias") else make.draw(n, sh, r)


if __name__ == "__main__":
    make.logits_fn = logits_fn
    make.write(sys.argv[1], CASES, shapes, draw)
