"""Makes the kimi_linear folders beside it, as make.py does the others and with its help.

    pip install jax numpy safetensors && python make_kimi.py .
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

import make
from equations import delta, linear, rms, silu


def kda(m, p, pre, h, c):
    """KDA under the names of the hub, without a bias in its output gate."""
    lin = c["linear_attn_config"]
    names = {
        "f_proj.0.weight": "f_a_proj.weight",
        "f_proj.1.weight": "f_b_proj.weight",
        "g_proj.0.weight": "g_a_proj.weight",
        "g_proj.1.weight": "g_b_proj.weight",
    }
    q = {n: w for n, w in p.items() if n.startswith(pre)}
    for new, old in names.items():
        if pre + old in p:
            q[pre + new] = p[pre + old]
    width = lin["num_heads"] * lin["head_dim"]
    q[pre + "g_proj.1.bias"] = jnp.zeros(width, m.acc)
    q[pre + "A_log"] = p[pre + "A_log"].reshape(-1)
    cc = dict(
        num_heads=lin["num_heads"],
        hidden_size=c["hidden_size"],
        head_dim=lin["head_dim"],
        expand_v=1.0,
        use_short_conv=True,
        allow_neg_eigval=False,
        norm_eps=c["rms_norm_eps"],
        lower_bound=lin.get("gate_lower_bound"),
    )
    return delta(m, q, pre, h, cc, "kda")


def pairs(m, x, theta):
    """RoPE of [T, heads, dims] whose dims 2 i and 2 i + 1 rotate together."""
    T, _, R = x.shape
    a = np.arange(T)[:, None, None] * theta ** (-np.arange(0, R, 2) / R)
    cos, sin = jnp.asarray(np.cos(a), m.acc), jnp.asarray(np.sin(a), m.acc)
    x = x.reshape(*x.shape[:2], R // 2, 2)
    x1, x2 = x[..., 0], x[..., 1]
    return jnp.stack([x1 * cos - x2 * sin, x2 * cos + x1 * sin], -1).reshape(T, -1, R)


def mla(m, p, pre, h, c, theta=None):
    T = h.shape[0]
    H, dn, dr, dv = (
        c[k]
        for k in ("num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    )
    r = c["kv_lora_rank"]
    if c["q_lora_rank"]:
        low = rms(m, linear(m, h, p[pre + "q_a_proj.weight"]), p[pre + "q_a_layernorm.weight"], 1e-6)
        q = linear(m, low, p[pre + "q_b_proj.weight"])
    else:
        q = linear(m, h, p[pre + "q_proj.weight"])
    q = q.reshape(T, H, dn + dr)
    both = linear(m, h, p[pre + "kv_a_proj_with_mqa.weight"])
    low = rms(m, both[:, :r], p[pre + "kv_a_layernorm.weight"], 1e-6)
    kv = linear(m, low, p[pre + "kv_b_proj.weight"]).reshape(T, H, dn + dv)
    shared = both[:, None, r:]
    if theta:
        shared = pairs(m, shared, theta)
        q = jnp.concatenate([q[..., :dn], pairs(m, q[..., dn:], theta)], -1)
    shared = jnp.broadcast_to(shared, (T, H, dr))
    k = jnp.concatenate([kv[..., :dn], shared], -1)
    s = jnp.einsum("ihd,jhd->hij", q, k) * (dn + dr) ** -0.5
    s = jnp.where(np.tril(np.ones((T, T), bool)), s, -jnp.inf)
    o = jnp.einsum("hij,jhd->ihd", jax.nn.softmax(s, -1), kv[..., dn:])
    if pre + "g_proj.weight" in p:  # a gate a channel, or a head
        o = o * jax.nn.sigmoid(linear(m, h, p[pre + "g_proj.weight"])).reshape(T, H, -1)
    return linear(m, o.reshape(T, H * dv), p[pre + "o_proj.weight"])


def swiglu(m, p, gate, up, down, h):
    return linear(m, silu(linear(m, h, p[gate])) * linear(m, h, p[up]), p[down])


def experts(m, p, pre, h, c):
    T = h.shape[0]
    E, k = c["num_experts"], c["num_experts_per_token"]
    logits = linear(m, h, p[pre + "gate.weight"])
    sigmoid = c["moe_router_activation_func"] == "sigmoid"
    sc = jax.nn.sigmoid(logits) if sigmoid else jax.nn.softmax(logits, -1)
    choice = jax.lax.stop_gradient(sc + p[pre + "gate.e_score_correction_bias"])
    G, kept = c["num_expert_group"], c["topk_group"]
    if G > 1:
        by_group = choice.reshape(T, G, E // G)
        score = jnp.sum(jax.lax.top_k(by_group, 2)[0], -1)
        best = jax.lax.top_k(score, kept)[1]
        open_ = jnp.zeros((T, G), bool).at[jnp.arange(T)[:, None], best].set(True)
        choice = jnp.where(jnp.repeat(open_, E // G, 1), choice, -jnp.inf)
    chosen = jax.lax.top_k(choice, k)[1]
    w = jnp.take_along_axis(sc, chosen, 1)
    if c["moe_renormalize"]:
        w = w / (jnp.sum(w, -1, keepdims=True) + 1e-20)
    w = w * c["routed_scaling_factor"]
    every = jnp.stack(
        [
            swiglu(m, p, *(f"{pre}experts.{e}.{n}.weight" for n in ("w1", "w3", "w2")), h)
            for e in range(E)
        ],
        1,
    )
    y = jnp.sum(w[..., None] * jnp.take_along_axis(every, chosen[..., None], 1), 1)
    if c["num_shared_experts"]:
        s = pre + "shared_experts."
        names = (s + n + "_proj.weight" for n in ("gate", "up", "down"))
        y = y + swiglu(m, p, *names, h)
    return y


def is_moe(c, i):
    return i >= c["first_k_dense_replace"] and i % c["moe_layer_freq"] == 0


def logits_fn(m, p, c, ids):
    emb = p["model.embed_tokens.weight"]
    e = emb
    if c["pad_token_id"] is not None:
        mask = jnp.arange(emb.shape[0])[:, None] == c["pad_token_id"]
        e = jnp.where(mask, jax.lax.stop_gradient(emb), emb)
    x = e[ids]
    eps = c["rms_norm_eps"]
    for i in range(c["num_hidden_layers"]):
        pre = f"model.layers.{i}."
        h = rms(m, x, p[pre + "input_layernorm.weight"], eps)
        full = i + 1 in c["linear_attn_config"]["full_attn_layers"]
        x = x + (mla if full else kda)(m, p, pre + "self_attn.", h, c)
        h = rms(m, x, p[pre + "post_attention_layernorm.weight"], eps)
        if is_moe(c, i):
            x = x + experts(m, p, pre + "block_sparse_moe.", h, c)
        else:
            names = (f"{pre}mlp.{n}_proj.weight" for n in ("gate", "up", "down"))
            x = x + swiglu(m, p, *names, h)
    x = rms(m, x, p["model.norm.weight"], eps)
    return linear(m, x, p.get("lm_head.weight", emb))


def base(**kw):
    c = dict(
        model_type="kimi_linear",
        hidden_size=24,
        num_hidden_layers=3,
        vocab_size=32,
        intermediate_size=40,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        pad_token_id=None,
        hidden_act="silu",
        linear_attn_config=dict(
            num_heads=2,
            head_dim=8,
            short_conv_kernel_size=4,
            kda_layers=[1, 2],
            full_attn_layers=[3],
        ),
        num_attention_heads=2,
        num_key_value_heads=2,
        q_lora_rank=None,
        kv_lora_rank=12,
        qk_nope_head_dim=8,
        qk_rope_head_dim=4,
        v_head_dim=6,
        mla_use_nope=True,
        num_experts=6,
        num_experts_per_token=2,
        num_shared_experts=1,
        moe_intermediate_size=12,
        moe_router_activation_func="sigmoid",
        moe_renormalize=True,
        routed_scaling_factor=2.446,
        first_k_dense_replace=1,
        moe_layer_freq=1,
        use_grouped_topk=True,
        num_expert_group=1,
        topk_group=1,
    )
    c.update(kw)
    return c


CASES = {
    # The vocabulary of the published file; tied, padded, no shared expert.
    "kimi_linear-published": base(
        tie_word_embeddings=True, pad_token_id=31, num_shared_experts=0
    ),
    # Queries in two steps, expert groups, weights as they are, every other layer sparse.
    "kimi_linear-groups": base(
        q_lora_rank=10,
        num_experts=8,
        num_experts_per_token=3,
        num_expert_group=4,
        topk_group=2,
        num_shared_experts=2,
        moe_renormalize=False,
        first_k_dense_replace=0,
        moe_layer_freq=2,
        linear_attn_config=dict(
            num_heads=3,
            head_dim=6,
            short_conv_kernel_size=3,
            kda_layers=[2],
            full_attn_layers=[1, 3],
        ),
    ),
    # The keys of Kimi K3: bounded decays, gates of one matrix, gated MLA, which the last layers are.
    "kimi_linear-gates": base(
        num_hidden_layers=5,
        q_lora_rank=10,
        mla_use_output_gate=True,
        linear_attn_config=dict(
            num_heads=2,
            head_dim=8,
            short_conv_kernel_size=4,
            gate_lower_bound=-5.0,
            use_full_rank_gate=True,
            kda_layers=[1, 2, 3],
            full_attn_layers=[4, 5],
        ),
    ),
    "kimi_linear-softmax": base(moe_router_activation_func="softmax", num_hidden_layers=3),
}


def shapes(c):
    D, V = c["hidden_size"], c["vocab_size"]
    lin = c["linear_attn_config"]
    H, d, W = lin["num_heads"], lin["head_dim"], lin["short_conv_kernel_size"]
    s = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,)}
    if not c["tie_word_embeddings"]:
        s["lm_head.weight"] = (V, D)

    def mlp(pre, width, names=("gate_proj", "up_proj", "down_proj")):
        for n, sh in zip(names, ((width, D), (width, D), (D, width))):
            s[f"{pre}{n}.weight"] = sh

    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        s[p + "input_layernorm.weight"] = s[p + "post_attention_layernorm.weight"] = (D,)
        a = p + "self_attn."
        if i + 1 in lin["full_attn_layers"]:
            nh, dn, dr, dv = (
                c[k]
                for k in (
                    "num_attention_heads",
                    "qk_nope_head_dim",
                    "qk_rope_head_dim",
                    "v_head_dim",
                )
            )
            r, rq = c["kv_lora_rank"], c["q_lora_rank"]
            if rq:
                s[a + "q_a_proj.weight"] = (rq, D)
                s[a + "q_a_layernorm.weight"] = (rq,)
                s[a + "q_b_proj.weight"] = (nh * (dn + dr), rq)
            else:
                s[a + "q_proj.weight"] = (nh * (dn + dr), D)
            s[a + "kv_a_proj_with_mqa.weight"] = (r + dr, D)
            s[a + "kv_a_layernorm.weight"] = (r,)
            s[a + "kv_b_proj.weight"] = (nh * (dn + dv), r)
            s[a + "o_proj.weight"] = (D, nh * dv)
            if c.get("mla_use_output_gate"):
                s[a + "g_proj.weight"] = (nh * dv, D)
        else:
            for n in "qkv":
                s[f"{a}{n}_proj.weight"] = (H * d, D)
                s[f"{a}{n}_conv1d.weight"] = (H * d, 1, W)
            full_rank = lin.get("use_full_rank_gate")
            if full_rank:
                s[a + "g_proj.weight"] = (H * d, D)
            for n in "f" if full_rank else "fg":
                s[f"{a}{n}_a_proj.weight"] = (d, D)
                s[f"{a}{n}_b_proj.weight"] = (H * d, d)
            s[a + "A_log"] = (1, 1, H, 1)
            s[a + "dt_bias"] = (H * d,)
            s[a + "b_proj.weight"] = (H, D)
            s[a + "o_norm.weight"] = (d,)
            s[a + "o_proj.weight"] = (D, H * d)
        if not is_moe(c, i):
            mlp(p + "mlp.", c["intermediate_size"])
            continue
        b = p + "block_sparse_moe."
        s[b + "gate.weight"] = (c["num_experts"], D)
        s[b + "gate.e_score_correction_bias"] = (c["num_experts"],)
        for e in range(c["num_experts"]):
            mlp(f"{b}experts.{e}.", c["moe_intermediate_size"], ("w1", "w3", "w2"))
        if c["num_shared_experts"]:
            mlp(b + "shared_experts.", c["moe_intermediate_size"] * c["num_shared_experts"])
    return s


def draw(n, sh, r):
    return r.normal(0, 0.05, sh) if n.endswith("correction_bias") else make.draw(n, sh, r)


if __name__ == "__main__":
    make.logits_fn = logits_fn
    make.write(sys.argv[1], CASES, shapes, draw)
