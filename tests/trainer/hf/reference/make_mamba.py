"""Makes the mamba2 folders beside it, as make.py does the others and with its help.

    pip install jax numpy safetensors && python make_mamba.py .
"""

import sys

import jax
import jax.numpy as jnp

import make
from equations import linear, rms, silu


def sizes(c):
    """Heads, their dim, groups, the states' dim, channels of values, of keys, and of all three."""
    H, P, G, N = (c[k] for k in ("num_heads", "head_dim", "n_groups", "state_size"))
    return H, P, G, N, H * P, G * N, H * P + 2 * G * N


def mixer(m, p, pre, h, c):
    T = h.shape[0]
    H, P, G, N, HP, GN, channels = sizes(c)
    low, high = c["time_step_limit"]
    y = linear(m, h, p[pre + "in_proj.weight"], p.get(pre + "in_proj.bias"))
    z, xbc, dt = jnp.split(y, [HP, HP + channels], -1)
    w = p[pre + "conv1d.weight"][:, 0]
    W = w.shape[1]
    before = jnp.concatenate([jnp.zeros((W - 1, channels), m.acc), xbc], 0)
    xbc = sum(w[:, i] * before[i : i + T] for i in range(W))
    if c["use_conv_bias"]:
        xbc = xbc + p[pre + "conv1d.bias"]
    x, B, C = jnp.split(silu(xbc), [HP, HP + GN], -1)
    x = x.reshape(T, H, P)
    B, C = (jnp.repeat(a.reshape(T, G, N), H // G, 1) for a in (B, C))
    dt = jax.nn.softplus(dt + p[pre + "dt_bias"])
    dt = jnp.where(dt < low, low, dt)
    if isinstance(high, float):
        dt = jnp.where(dt > high, high, dt)
    A = -jnp.exp(p[pre + "A_log"])

    def step(S, t):
        xt, Bt, Ct, d = t
        S = S * jnp.exp(d * A)[:, None, None] + (d[:, None] * xt)[..., None] * Bt[:, None]
        return S, jnp.einsum("hpn,hn->hp", S, Ct)

    _, o = jax.lax.scan(step, jnp.zeros((H, P, N), m.acc), (x, B, C, dt))
    o = (o + p[pre + "D"][:, None] * x).reshape(T, HP) * silu(z)
    o = rms(m, o.reshape(T, G, -1), jnp.ones(HP // G), c["layer_norm_epsilon"]).reshape(T, HP)
    o = o * p[pre + "norm.weight"]
    return linear(m, o, p[pre + "out_proj.weight"], p.get(pre + "out_proj.bias"))


def logits_fn(m, p, c, ids):
    emb = p["backbone.embeddings.weight"]
    x = emb[ids]
    norm = lambda x, n: rms(m, x, p[n], c["layer_norm_epsilon"])
    for i in range(c["num_hidden_layers"]):
        pre = f"backbone.layers.{i}."
        x = x + mixer(m, p, pre + "mixer.", norm(x, pre + "norm.weight"), c)
    return linear(m, norm(x, "backbone.norm_f.weight"), p.get("lm_head.weight", emb))


def base(**kw):
    c = dict(
        model_type="mamba2",
        hidden_size=24,
        num_hidden_layers=2,
        vocab_size=32,
        layer_norm_epsilon=1e-5,
        tie_word_embeddings=False,
        pad_token_id=0,
        expand=2,
        num_heads=6,
        head_dim=8,
        state_size=10,
        n_groups=1,
        conv_kernel=4,
        use_conv_bias=True,
        use_bias=False,
        time_step_limit=[0.0, {"__float__": "Infinity"}],
        hidden_act="silu",
    )
    c.update(kw)
    return c


CASES = {
    # Groups, biases of the projections alone, tied.
    "mamba2-groups": base(
        n_groups=3, use_bias=True, use_conv_bias=False, tie_word_embeddings=True, conv_kernel=3
    ),
    # The limits hold some steps at either end.
    "mamba2-limits": base(expand=1, num_heads=4, head_dim=6, time_step_limit=[0.01, 0.04]),
}


def shapes(c):
    D, V = c["hidden_size"], c["vocab_size"]
    H, _, _, _, HP, _, channels = sizes(c)
    s = {"backbone.embeddings.weight": (V, D), "backbone.norm_f.weight": (D,)}
    if not c["tie_word_embeddings"]:
        s["lm_head.weight"] = (V, D)
    for i in range(c["num_hidden_layers"]):
        p = f"backbone.layers.{i}."
        s[p + "norm.weight"] = (D,)
        a = p + "mixer."
        s[a + "in_proj.weight"] = (HP + channels + H, D)
        s[a + "out_proj.weight"] = (D, HP)
        if c["use_bias"]:
            s[a + "in_proj.bias"], s[a + "out_proj.bias"] = (HP + channels + H,), (D,)
        s[a + "conv1d.weight"] = (channels, 1, c["conv_kernel"])
        if c["use_conv_bias"]:
            s[a + "conv1d.bias"] = (channels,)
        s[a + "A_log"] = s[a + "dt_bias"] = s[a + "D"] = (H,)
        s[a + "norm.weight"] = (HP,)
    return s


def draw(n, sh, r):
    if n.endswith("mixer.D"):
        return r.normal(1, 0.3, sh)
    if n.endswith("conv1d.bias"):
        return r.normal(0, 0.2, sh)
    return make.draw(n, sh, r)


if __name__ == "__main__":
    make.logits_fn = logits_fn
    make.write(sys.argv[1], CASES, shapes, draw)
