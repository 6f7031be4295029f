"""The equations of the families' layers, in JAX: of their own, sharing nothing with Wyvern's code."""

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)


class Mode:
    """Types of activations and matrices, and of everything else."""

    def __init__(self, io, acc):
        self.io, self.acc = io, acc


F64 = Mode(jnp.float64, jnp.float64)


def is_small(n):
    return any(x in n for x in ["norm", "A_log", "dt_bias", "conv1d", ".bias"])


def linear(m, x, w, b=None):
    y = jax.lax.dot_general(
        x, w.astype(m.io), (((x.ndim - 1,), (1,)), ((), ())), preferred_element_type=m.acc
    )
    if b is not None:
        y = y + b.astype(m.acc)
    return y.astype(m.io)


def rms(m, x, w, eps):
    xf = x.astype(m.acc)
    return (
        xf * jax.lax.rsqrt(jnp.mean(xf**2, -1, keepdims=True) + eps) * w.astype(m.acc)
    ).astype(m.io)


def silu(x):
    return x * jax.nn.sigmoid(x)


def conv(m, x, w, use=True):  # x [T,D]
    xf = x.astype(m.acc)
    if not use:
        return silu(xf).astype(m.io)
    W = w.shape[-1]
    w = w.reshape(w.shape[0], W).astype(m.acc)
    T = x.shape[0]
    xp = jnp.concatenate([jnp.zeros((W - 1, x.shape[1]), m.acc), xf], 0)
    y = sum(w[:, i] * xp[i : i + T] for i in range(W))
    return silu(y).astype(m.io)


def l2(m, x):
    xf = x.astype(m.acc)
    return xf * jax.lax.rsqrt(jnp.sum(xf**2, -1, keepdims=True) + 1e-6)


def rope(m, x, theta):
    T, H, D = x.shape
    half = D // 2
    f = theta ** (-2 * np.arange(half) / D)
    a = np.arange(T)[:, None] * f
    c = jnp.asarray(np.cos(a)[:, None, :], m.acc)
    s = jnp.asarray(np.sin(a)[:, None, :], m.acc)
    xf = x.astype(m.acc)
    x1, x2 = xf[..., :half], xf[..., half:]
    return jnp.concatenate([x1 * c - x2 * s, x2 * c + x1 * s], -1).astype(m.io)


def delta(m, p, pre, h, c, fam):
    T = h.shape[0]
    H = c["num_heads"]
    D = c["hidden_size"]
    if fam == "delta_net":
        K = int(D * c["expand_k"]) // H
        V = int(D * c["expand_v"]) // H
        HV = H
    else:
        K = c["head_dim"]
        V = int(K * c["expand_v"])
        HV = c.get("num_v_heads") or H
    g_ = lambda n: p[pre + n]
    use = c["use_short_conv"]
    cw = lambda n: p.get(pre + n)
    q = conv(m, linear(m, h, g_("q_proj.weight")), cw("q_conv1d.weight"), use).reshape(T, H, K)
    k = conv(m, linear(m, h, g_("k_proj.weight")), cw("k_conv1d.weight"), use).reshape(T, H, K)
    v = (
        conv(m, linear(m, h, g_("v_proj.weight")), cw("v_conv1d.weight"), use)
        .reshape(T, HV, V)
        .astype(m.acc)
    )
    q, k = l2(m, q), l2(m, k)
    if c.get("use_beta", True):
        beta = jax.nn.sigmoid(linear(m, h, g_("b_proj.weight")).astype(m.acc))
        if c["allow_neg_eigval"]:
            beta = 2 * beta
    else:
        beta = jnp.ones((T, HV), m.acc)
    if fam == "delta_net":
        g = jnp.zeros((T, HV, 1), m.acc)
    elif fam == "gated_deltanet":
        a = linear(m, h, g_("a_proj.weight")).astype(m.acc) + g_("dt_bias").astype(m.acc)
        g = (-jnp.exp(g_("A_log").astype(m.acc)) * jax.nn.softplus(a))[..., None]
    else:
        if pre + "f_proj.weight" in p:  # one matrix
            f = linear(m, h, g_("f_proj.weight"))
        else:
            f = linear(m, linear(m, h, g_("f_proj.0.weight")), g_("f_proj.1.weight"))
        f = (f.astype(m.acc) + g_("dt_bias").astype(m.acc)).reshape(T, HV, K)
        A = jnp.exp(g_("A_log").astype(m.acc))[:, None]
        g = (
            c["lower_bound"] * jax.nn.sigmoid(A * f)
            if c.get("lower_bound") is not None
            else -A * jax.nn.softplus(f)
        )
    G = HV // H
    q = jnp.repeat(q, G, 1)
    k = jnp.repeat(k, G, 1)

    def step(S, t):
        qt, kt, vt, bt, gt = t
        S = S * jnp.exp(gt)[..., None]
        e = bt[:, None] * (vt - jnp.einsum("hkv,hk->hv", S, kt))
        S = S + kt[..., None] * e[:, None, :]
        return S, jnp.einsum("hkv,hk->hv", S, qt) * K**-0.5

    _, o = jax.lax.scan(step, jnp.zeros((HV, K, V), m.acc), (q, k, v, beta, g))
    o = rms(m, o.astype(m.io), g_("o_norm.weight"), c["norm_eps"]).astype(m.acc)
    if fam == "kda":
        if pre + "g_proj.weight" in p:  # one matrix
            z = linear(m, h, g_("g_proj.weight"))
        else:
            z = linear(m, h, g_("g_proj.0.weight"))
            z = linear(m, z, g_("g_proj.1.weight"), g_("g_proj.1.bias"))
        o = o * jax.nn.sigmoid(z.astype(m.acc).reshape(T, HV, V))
    elif c["use_gate"]:
        o = o * silu(linear(m, h, g_("g_proj.weight")).astype(m.acc).reshape(T, HV, V))
    return linear(m, o.astype(m.io).reshape(T, HV * V), g_("o_proj.weight"))


def gla(m, p, pre, h, c):
    T = h.shape[0]
    H = c["num_heads"]
    D = c["hidden_size"]
    K = int(D * c["expand_k"]) // H
    V = int(D * c["expand_v"]) // H

    def project(n, d):
        y = linear(m, h, p[pre + n + "_proj.weight"])
        if c["use_short_conv"]:
            y = conv(m, y, p[pre + n + "_conv1d.weight"])
        return y.astype(m.acc).reshape(T, H, d)

    q, k, v = project("q", K), project("k", K), project("v", V)
    x = linear(m, h, p[pre + "gk_proj.0.weight"])
    x = linear(m, x, p[pre + "gk_proj.1.weight"], p[pre + "gk_proj.1.bias"])
    g = jax.nn.log_sigmoid(x.astype(m.acc)) / 16
    if c["clamp_min"] is not None:
        g = jnp.where(g < c["clamp_min"], c["clamp_min"], g)
    g = g.reshape(T, H, K)

    def step(S, t):
        qt, kt, vt, gt = t
        S = S * jnp.exp(gt)[..., None] + kt[..., None] * vt[:, None, :]
        return S, jnp.einsum("hkv,hk->hv", S, qt) * K**-0.5

    _, o = jax.lax.scan(step, jnp.zeros((H, K, V), m.acc), (q, k, v, g))
    fused = c["fuse_norm"] and c["use_output_gate"]
    norm = p[pre + ("g_norm_swish_gate.weight" if fused else "g_norm.weight")]
    o = rms(m, o.astype(m.io), norm, c["norm_eps"]).astype(m.acc)
    if c["use_output_gate"]:
        o = o * silu(linear(m, h, p[pre + "g_proj.weight"]).astype(m.acc).reshape(T, H, V))
    return linear(m, o.astype(m.io).reshape(T, H * V), p[pre + "o_proj.weight"])


def attention(m, p, pre, h, a, D, llama=False):
    T = h.shape[0]
    H = a["num_heads"]
    HK = a.get("num_kv_heads") or H
    hd = a.get("head_dim") or D // H
    b = lambda n: p.get(pre + n + ".bias")
    q = linear(m, h, p[pre + "q_proj.weight"], b("q_proj")).reshape(T, H, hd)
    k = linear(m, h, p[pre + "k_proj.weight"], b("k_proj")).reshape(T, HK, hd)
    v = linear(m, h, p[pre + "v_proj.weight"], b("v_proj")).reshape(T, HK, hd)
    if a.get("qk_norm"):
        q = rms(m, q, p[pre + "q_norm.weight"], 1e-5)
        k = rms(m, k, p[pre + "k_norm.weight"], 1e-5)
    q, k = rope(m, q, a["rope_theta"]), rope(m, k, a["rope_theta"])
    k, v = jnp.repeat(k, H // HK, 1), jnp.repeat(v, H // HK, 1)
    s = jnp.einsum("ihd,jhd->hij", q.astype(m.acc), k.astype(m.acc)) * hd**-0.5
    i = np.arange(T)[:, None]
    j = np.arange(T)[None]
    ok = j <= i
    if a.get("window_size"):
        ok = ok & (j > i - a["window_size"])
    w = jax.nn.softmax(jnp.where(ok, s, -jnp.inf), -1)
    o = (
        jnp.einsum("hij,jhd->ihd", w.astype(m.io).astype(m.acc), v.astype(m.acc))
        .astype(m.io)
        .reshape(T, H * hd)
    )
    return linear(m, o, p[pre + "o_proj.weight"], b("o_proj"))
