"""Wyvern's language models for transformers, in plain PyTorch.

    AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True)

`wyvern export CHECKPOINT FOLDER --family wyvern` writes this file beside the weights. One class
serves any mix of DeltaNet, Gated DeltaNet, Kimi Delta Attention, gated linear attention, Mamba-2,
softmax attention and multi-head latent attention, with MLPs, experts or neither. config.json describes the model
under "wyvern", in the keys of Wyvern's own configuration; a key that this file does not know is an
error. In fp32 the logits are those of Wyvern within rounding. In bf16 and fp16 on CUDA the rules run
in the kernels of flash-linear-attention where that is installed.

Shapes: B sequences, T tokens, S keys, D width, H heads, K and V dims of a head, C tokens of a chunk.
"""

import functools
import math
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

FULL_RANK = -1  # a decay_rank
# transformers 5 renames the outputs' and generate's `past_key_values`.
CACHE_NAME = "cache" if hasattr(CausalLMOutputWithPast, "cache") else "past_key_values"


class WyvernConfig(PretrainedConfig):
    model_type = "wyvern"
    keys_to_ignore_at_inference = ["past_key_values", "cache"]

    def __init__(self, vocab_size=32000, hidden_size=2048, num_hidden_layers=24,
                 intermediate_size=5632, initializer_range=0.02, use_cache=True,
                 tie_word_embeddings=False, pad_token_id=None, bos_token_id=None,
                 eos_token_id=None, wyvern=None, **kwargs):
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.intermediate_size = intermediate_size
        self.initializer_range = initializer_range
        self.use_cache = use_cache
        self.wyvern = {} if wyvern is None else wyvern
        super().__init__(pad_token_id=pad_token_id, bos_token_id=bos_token_id,
                         eos_token_id=eos_token_id, tie_word_embeddings=tie_word_embeddings,
                         **kwargs)


class Keys:
    """Hands out the keys of a section, and refuses those that nobody took."""

    def __init__(self, path, section):
        self.path, self.left = path, dict(section)

    def take(self, key, *default):
        if key not in self.left and not default:
            raise ValueError(f"config.json: {self.path}.{key}: the key is missing")
        return self.left.pop(key, *default)

    def one_of(self, key, names, *default):
        value = self.take(key, *default)
        if value not in names:
            raise ValueError(f"config.json: {self.path}.{key}: expected one of {', '.join(names)}, "
                             f"found {value!r}")
        return value

    def finish(self):
        for key in self.left:
            raise ValueError(f"config.json: {self.path}.{key}: modeling_wyvern.py does not know this "
                             "key; export the model again with the Wyvern that trained it")


# ---- pieces ---------------------------------------------------------------------------------------


def accumulated(x):
    """x in the type in which Wyvern sums: fp32 at least."""
    return x if x.dtype == torch.float64 else x.float()


ACTIVATIONS = {"silu": F.silu, "sigmoid": torch.sigmoid}


class RmsNorm(nn.Module):
    """RMS norm over the last axis; if centred at zero, weight + 1 scales."""

    def __init__(self, dim, eps, zero_centered=False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim))
        self.eps, self.zero_centered = eps, zero_centered

    def forward(self, x, gate=None, activation=None):
        y = accumulated(x)
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps)
        weight = accumulated(self.weight)
        y = y * (weight + 1 if self.zero_centered else weight)
        if gate is not None:
            y = y * activation(accumulated(gate))
        return y.to(x.dtype)


class ShortConvolution(nn.Module):
    """Causal depthwise convolution; `tail` [B, D, W - 1] holds the inputs before x."""

    def __init__(self, dim, width, bias=False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, 1, width))
        self.bias = nn.Parameter(torch.empty(dim)) if bias else None

    def forward(self, x, tail):
        dim, _, width = self.weight.shape
        x = x.transpose(1, 2)
        if tail is None:
            tail = x.new_zeros(x.shape[0], dim, width - 1)
        x = torch.cat([tail, x], dim=2)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        y = F.conv1d(x, self.weight.to(x.dtype), bias, groups=dim)
        return y.transpose(1, 2), x[:, :, x.shape[2] - (width - 1):]


def rotate(x, batch, theta, begin, dim):
    """RoPE of x [B, T, H, D] on halves of the dims [begin, begin + dim)."""
    cos, sin = batch.angles(theta, dim)
    a, b = accumulated(x[..., begin:begin + dim]).chunk(2, dim=-1)
    rotated = torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x.dtype)
    return torch.cat([x[..., :begin], rotated, x[..., begin + dim:]], dim=-1)


def attend(q, k, v, batch, window):
    """Softmax attention of q [B, T, H, D] over k, v [B, S, HK, ..], whose last keys are q's own."""
    group = q.shape[2] // k.shape[2]
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if group > 1:
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    T, S = q.shape[2], k.shape[2]
    mask = batch.attention_mask(T, S, window)
    o = F.scaled_dot_product_attention(q, k, v, attn_mask=mask,
                                       is_causal=mask is None and T > 1,
                                       scale=q.shape[-1] ** -0.5)
    return o.transpose(1, 2).flatten(2)


# ---- the rules ------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def fla_ops():
    """flash-linear-attention's kernels; None where it is not installed or does not load."""
    try:
        from fla.ops.delta_rule import chunk_delta_rule, fused_recurrent_delta_rule
        from fla.ops.gated_delta_rule import (chunk_gated_delta_rule,
                                              fused_recurrent_gated_delta_rule)
        from fla.ops.gla import chunk_gla, fused_recurrent_gla
        from fla.ops.kda import chunk_kda, fused_recurrent_kda
    except Exception:  # Triton raises errors of many kinds where it finds no GPU.
        return None
    return {"delta_net": (chunk_delta_rule, fused_recurrent_delta_rule),
            "gated_delta_net": (chunk_gated_delta_rule, fused_recurrent_gated_delta_rule),
            "kda": (chunk_kda, fused_recurrent_kda),
            "gla": (chunk_gla, fused_recurrent_gla)}


def run_rule(kind, q, k, v, g, beta, state, keep_state):
    """The recurrence of a mixer: S' = Diag(exp(g)) S; S = S' + k e^T; o = K^-1/2 S^T q.

    e = beta (v - S'^T k) for the delta rules, and v without beta. q, k [B, T, H, K], v [B, T, H, V],
    g [B, T, H, G] with G = 1 or K, or None without decay, beta [B, T, H]; state [B, H, K, V] in fp32
    or None for zeros. Returns o [B, T, H, V], and the last state if it is to be kept.
    """
    # In fp32 these kernels round to TF32, or refuse.
    ops = fla_ops() if v.is_cuda and v.dtype in (torch.bfloat16, torch.float16) else None
    if ops is not None:
        single = q.shape[1] == 1 and not torch.is_grad_enabled()
        options = {"initial_state": state, "output_final_state": keep_state}
        if beta is not None:
            options["beta"] = beta.to(v.dtype)
        if g is not None:
            name = "gk" if kind == "gla" and single else "g"
            options[name] = g.squeeze(-1) if kind == "gated_delta_net" else g
        return ops[kind][single](q=q.to(v.dtype), k=k.to(v.dtype), v=v, **options)
    q, k, v_ = (accumulated(x).transpose(1, 2) for x in (q, k, v))
    g = torch.zeros_like(q[..., :1]) if g is None else accumulated(g).transpose(1, 2)
    beta = None if beta is None else accumulated(beta).transpose(1, 2)
    if state is None:
        state = q.new_zeros(q.shape[0], q.shape[1], q.shape[3], v_.shape[3])
    rule = one_token if q.shape[2] == 1 else chunks
    o, state = rule(q * q.shape[-1] ** -0.5, k, v_, g, beta, state)
    return o.transpose(1, 2).to(v.dtype), state if keep_state else None


def one_token(q, k, v, g, beta, state):
    """run_rule of one token; here [B, H, 1, ..]."""
    state = state * g.exp().transpose(-1, -2)
    if beta is not None:
        v = beta.unsqueeze(-1) * (v - k @ state)
    state = state + k.transpose(-1, -2) @ v
    return q @ state, state


def decayed_products(a, b, total):
    """sum over d of a[i, d] b[j, d] exp(total[i, d] - total[j, d]) for j <= i, else 0: [.., C, C]."""
    C = total.shape[-2]
    later = torch.ones(C, C, dtype=torch.bool, device=a.device).triu(1)
    # The differences are taken before exp: each factor alone may overflow.
    if total.shape[-1] == 1:
        gap = (total - total.transpose(-1, -2)).masked_fill(later, -math.inf)
        return (a @ b.transpose(-1, -2)) * gap.exp()
    gap = (total.unsqueeze(-2) - total.unsqueeze(-3)).masked_fill(later.unsqueeze(-1), -math.inf)
    return (a.unsqueeze(-2) * b.unsqueeze(-3) * gap.exp()).sum(-1)


def chunks(q, k, v, g, beta, state):
    """run_rule in chunks, each a few products of matrices (arXiv 2406.06484); here [B, H, T, ..]."""
    size = 64 if g.shape[-1] == 1 else 16  # decayed_products of channels takes C^2 K memory
    outputs = []
    for begin in range(0, q.shape[2], size):
        part = slice(begin, begin + size)
        q_c, k_c, e = q[:, :, part], k[:, :, part], v[:, :, part]
        total = g[:, :, part].cumsum(2)
        decay = total.exp()
        if beta is not None:
            b = beta[:, :, part].unsqueeze(-1)
            within = (b * decayed_products(k_c, k_c, total)).tril(-1)
            e = torch.linalg.solve_triangular(within, b * (e - (k_c * decay) @ state), upper=False,
                                              unitriangular=True)
        outputs.append((q_c * decay) @ state + decayed_products(q_c, k_c, total) @ e)
        last = total[:, :, -1:]
        state = (last.exp().transpose(-1, -2) * state
                 + (k_c * (last - total).exp()).transpose(-1, -2) @ e)
    return torch.cat(outputs, dim=2), state


# ---- mixers ---------------------------------------------------------------------------------------


class LinearMixer(nn.Module):
    """What the delta rules and gated linear attention share: q, k, v, convolutions, gate, output."""

    def __init__(self, config, keys, norm_eps):
        super().__init__()
        D = config.hidden_size
        self.H = keys.take("num_heads")
        self.HV = keys.take("num_value_heads", 0) or self.H
        self.K, self.V = keys.take("key_dim"), keys.take("value_dim")
        self.conv_width = keys.take("conv_width")
        widths = {"q": self.H * self.K, "k": self.H * self.K, "v": self.HV * self.V}
        for name, width in widths.items():
            setattr(self, f"{name}_proj", nn.Linear(D, width, bias=False))
            if self.conv_width > 0:
                setattr(self, f"{name}_conv", ShortConvolution(width, self.conv_width))
        gate = keys.one_of("output_gate", ["none", "silu", "sigmoid"])
        self.activation = ACTIVATIONS.get(gate)
        rank, width = keys.take("output_gate_rank", 0), self.HV * self.V
        bias = keys.take("output_gate_bias", True)
        if gate != "none" and rank > 0:
            self.gate_down = nn.Linear(D, rank, bias=False)
            self.gate_up = nn.Linear(rank, width, bias=bias)
        elif gate != "none":
            self.gate_proj = nn.Linear(D, width, bias=False)
        self.output_norm = RmsNorm(self.V, norm_eps)
        self.o_proj = nn.Linear(width, D, bias=False)

    def project(self, x, name, cache, activation):
        y = getattr(self, f"{name}_proj")(x)
        if self.conv_width > 0:
            tail = None if cache is None else cache.get(name)
            y, tail = getattr(self, f"{name}_conv")(y, tail)
            if cache is not None:
                cache[name] = tail
        return activation(y)

    def gate(self, x):
        if self.activation is None:
            return None
        y = self.gate_proj(x) if hasattr(self, "gate_proj") else self.gate_up(self.gate_down(x))
        return y.unflatten(-1, (self.HV, self.V))

    def mix(self, kind, x, q, k, v, g, beta, cache):
        state = None if cache is None else cache.get("state")
        o, state = run_rule(kind, q, k, v, g, beta, state, cache is not None)
        if cache is not None:
            cache["state"] = state
        y = self.output_norm(o, self.gate(x), self.activation)
        return self.o_proj(y.flatten(2))


class DeltaMixer(LinearMixer):
    """DeltaNet, Gated DeltaNet and Kimi Delta Attention (arXiv 2406.06484, 2412.06464, 2510.26692)."""

    def __init__(self, config, norm_eps, zero_centered, keys, kind):
        eps = keys.take("output_norm_eps", None)
        super().__init__(config, keys, norm_eps if eps is None else eps)
        D, HV, K = config.hidden_size, self.HV, self.K
        self.kind = kind
        self.beta_scale = 2 if keys.take("negative_eigenvalues") else 1
        if keys.take("learned_beta"):
            self.beta_proj = nn.Linear(D, HV, bias=False)
        self.l2_norm_eps = keys.take("l2_norm_eps", 1e-6)
        self.lower_bound = keys.take("gate_lower_bound")
        rank = keys.take("decay_rank") or self.V
        if kind == "gated_delta_net":
            self.decay_proj = nn.Linear(D, HV, bias=False)
        elif kind == "kda" and rank == FULL_RANK:
            self.decay_proj = nn.Linear(D, HV * K, bias=False)
        elif kind == "kda":
            self.decay_down = nn.Linear(D, rank, bias=False)
            self.decay_up = nn.Linear(rank, HV * K, bias=False)
        if kind != "delta_net":
            self.a_log = nn.Parameter(torch.empty(HV))
            self.dt_bias = nn.Parameter(torch.empty(HV * (K if kind == "kda" else 1)))

    def log_decay(self, x):
        """[B, T, HV, G], or None without decay."""
        if self.kind == "delta_net":
            return None
        x = self.decay_proj(x) if hasattr(self, "decay_proj") else self.decay_up(self.decay_down(x))
        x = (accumulated(x) + accumulated(self.dt_bias)).unflatten(-1, (self.HV, -1))
        a = accumulated(self.a_log).exp().unsqueeze(-1)
        if self.lower_bound is not None:
            return self.lower_bound * torch.sigmoid(a * x)
        return -a * F.softplus(x)

    def forward(self, x, batch, cache):
        x = batch.without_padding(x)
        q, k, v = (self.project(x, name, cache, F.silu).unflatten(-1, (-1, dim))
                   for name, dim in (("q", self.K), ("k", self.K), ("v", self.V)))
        q, k = (y * torch.rsqrt(y.square().sum(-1, keepdim=True) + self.l2_norm_eps)
                for y in (accumulated(q), accumulated(k)))
        if self.HV > self.H:
            q, k = (y.repeat_interleave(self.HV // self.H, dim=2) for y in (q, k))
        if hasattr(self, "beta_proj"):
            beta = self.beta_scale * torch.sigmoid(accumulated(self.beta_proj(x)))
        else:
            beta = q.new_ones(q.shape[:3])
        return self.mix(self.kind, x, q, k, v, self.log_decay(x), beta, cache)


class GlaMixer(LinearMixer):
    """Gated linear attention (arXiv 2312.06635)."""

    def __init__(self, config, norm_eps, zero_centered, keys, kind):
        super().__init__(config, keys, norm_eps)
        rank = keys.take("decay_rank")
        self.decay_down = nn.Linear(config.hidden_size, rank, bias=False)
        self.decay_up = nn.Linear(rank, self.H * self.K, bias=True)
        self.normalizer = keys.take("decay_normalizer")
        self.min_log_decay = keys.take("min_log_decay")

    def forward(self, x, batch, cache):
        x = batch.without_padding(x)
        activation = F.silu if self.conv_width > 0 else nn.Identity()
        q, k, v = (self.project(x, name, cache, activation).unflatten(-1, (self.H, dim))
                   for name, dim in (("q", self.K), ("k", self.K), ("v", self.V)))
        g = F.logsigmoid(accumulated(self.decay_up(self.decay_down(x)))) / self.normalizer
        if self.min_log_decay is not None:
            g = g.clamp(min=self.min_log_decay)
        return self.mix("gla", x, q, k, v, g.unflatten(-1, (self.H, self.K)), None, cache)


class Mamba2Mixer(nn.Module):
    """Mamba-2 (arXiv 2405.21060): gated linear attention with a decay per head."""

    def __init__(self, config, norm_eps, zero_centered, keys, kind):
        super().__init__()
        self.H, self.P = keys.take("num_heads"), keys.take("head_dim")
        self.N, self.G = keys.take("state_dim"), keys.take("num_groups")
        values, states, bias = self.H * self.P, self.G * self.N, keys.take("bias")
        self.sizes = [values, states, states]
        for name, width in (("gate", values), ("v", values), ("k", states), ("q", states),
                            ("dt", self.H)):
            setattr(self, f"{name}_proj", nn.Linear(config.hidden_size, width, bias=bias))
        self.conv = ShortConvolution(sum(self.sizes), keys.take("conv_width"),
                                     keys.take("conv_bias"))
        self.a_log = nn.Parameter(torch.empty(self.H))
        self.dt_bias = nn.Parameter(torch.empty(self.H))
        self.skip = nn.Parameter(torch.empty(self.H))
        self.limits = keys.take("min_dt"), keys.take("max_dt")
        self.output_norm = RmsNorm(values, norm_eps)
        self.o_proj = nn.Linear(values, config.hidden_size, bias=bias)

    def forward(self, x, batch, cache):
        x = batch.without_padding(x)
        u = torch.cat([self.v_proj(x), self.k_proj(x), self.q_proj(x)], dim=-1)
        u, tail = self.conv(batch.without_padding(u), None if cache is None else cache.get("conv"))
        v, k, q = F.silu(u).split(self.sizes, dim=-1)
        v = v.unflatten(-1, (self.H, self.P))
        k, q = (y.unflatten(-1, (self.G, self.N)).repeat_interleave(self.H // self.G, dim=2)
                for y in (k, q))
        step = F.softplus(accumulated(self.dt_proj(x)) + accumulated(self.dt_bias))
        step = batch.without_padding(step.clamp(*self.limits))  # padding neither decays nor writes
        g = (-accumulated(self.a_log).exp() * step).unsqueeze(-1)
        if q.is_cuda:  # the kernels take a decay per channel
            g = g.expand(-1, -1, -1, self.N).contiguous()
        state = None if cache is None else cache.get("state")
        written = (accumulated(v) * step.unsqueeze(-1)).to(v.dtype)
        o, state = run_rule("gla", q * self.N ** 0.5, k, written, g, None, state, cache is not None)
        if cache is not None:
            cache["conv"], cache["state"] = tail, state
        y = accumulated(o) + accumulated(self.skip).unsqueeze(-1) * accumulated(v)
        y = y.flatten(2) * F.silu(accumulated(self.gate_proj(x)))
        y = y.unflatten(-1, (self.G, -1))
        y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.output_norm.eps)
        return self.o_proj((y.flatten(2) * accumulated(self.output_norm.weight)).to(x.dtype))


class SoftmaxMixer(nn.Module):
    """What both kinds of softmax attention share: the cache of keys, the gate, the output."""

    def finish(self, x, q, k, v, batch, cache, window):
        if cache is not None:
            if "k" in cache:
                k, v = torch.cat([cache["k"], k], dim=1), torch.cat([cache["v"], v], dim=1)
            # The next token sees itself and window - 1 keys before.
            begin = max(0, k.shape[1] - (window - 1)) if window > 0 else 0
            cache["k"], cache["v"] = k[:, begin:], v[:, begin:]
        o = attend(q, k, v, batch, window)
        if hasattr(self, "gate_proj"):
            gate = torch.sigmoid(self.gate_proj(x)).unflatten(-1, (q.shape[2], -1))
            o = (o.unflatten(-1, (q.shape[2], -1)) * gate).flatten(2)
        return self.o_proj(o)

    def add_output(self, keys, D, H, width, bias):
        """A gate of each of the `width` channels, or of each of the H heads."""
        by_head = keys.one_of("output_gate_scope", ["channel", "head"], "channel") == "head"
        if keys.one_of("output_gate", ["none", "sigmoid"]) == "sigmoid":
            self.gate_proj = nn.Linear(D, H if by_head else width, bias=False)
        self.o_proj = nn.Linear(width, D, bias=bias)


class AttentionMixer(SoftmaxMixer):
    """Causal softmax attention, full or over a sliding window."""

    def __init__(self, config, norm_eps, zero_centered, keys, kind):
        super().__init__()
        D, H = config.hidden_size, keys.take("num_heads")
        HK = keys.take("num_kv_heads") or H
        self.dim = keys.take("head_dim") or D // H
        self.window = keys.take("window")
        self.rope, self.theta = keys.take("rope"), keys.take("rope_theta")
        self.rotary_dim = keys.take("rotary_dim", 0) or self.dim
        bias = keys.take("qkv_bias")
        for name, heads in (("q", H), ("k", HK), ("v", HK)):
            setattr(self, f"{name}_proj", nn.Linear(D, heads * self.dim, bias=bias))
        scope = keys.one_of("qk_norm_scope", ["head", "token"], "head")
        eps = keys.take("qk_norm_eps")
        self.norm_of_token = scope == "token"
        if keys.take("qk_norm"):
            self.q_norm, self.k_norm = (
                RmsNorm(heads * self.dim if self.norm_of_token else self.dim, eps, zero_centered)
                for heads in (H, HK))
        self.add_output(keys, D, H, H * self.dim, keys.take("output_bias"))

    def heads(self, x, name, batch):
        y = getattr(self, f"{name}_proj")(x)
        norm = getattr(self, f"{name}_norm", None)
        if norm is not None and self.norm_of_token:
            y = norm(y)
        y = y.unflatten(-1, (-1, self.dim))
        if norm is not None and not self.norm_of_token:
            y = norm(y)
        return rotate(y, batch, self.theta, 0, self.rotary_dim) if self.rope else y

    def forward(self, x, batch, cache):
        q, k = self.heads(x, "q", batch), self.heads(x, "k", batch)
        v = self.v_proj(x).unflatten(-1, (-1, self.dim))
        return self.finish(x, q, k, v, batch, cache, self.window)


class MlaMixer(SoftmaxMixer):
    """Multi-head latent attention (arXiv 2405.04434)."""

    def __init__(self, config, norm_eps, zero_centered, keys, kind):
        super().__init__()
        D, H = config.hidden_size, keys.take("num_heads")
        q_rank, self.rank = keys.take("q_lora_rank"), keys.take("kv_lora_rank")
        self.own, self.shared = keys.take("qk_nope_dim"), keys.take("qk_rope_dim")
        self.H, self.V, eps = H, keys.take("value_dim"), keys.take("latent_norm_eps")
        self.rope, self.theta = keys.take("rope"), keys.take("rope_theta")
        width = H * (self.own + self.shared)
        if q_rank > 0:
            self.q_a_proj = nn.Linear(D, q_rank, bias=False)
            self.q_norm = RmsNorm(q_rank, eps)
            self.q_b_proj = nn.Linear(q_rank, width, bias=False)
        else:
            self.q_proj = nn.Linear(D, width, bias=False)
        self.kv_a_proj = nn.Linear(D, self.rank + self.shared, bias=False)
        self.kv_norm = RmsNorm(self.rank, eps)
        # Its rows: the keys' own parts of all heads, then the values of all heads.
        self.kv_b_proj = nn.Linear(self.rank, H * (self.own + self.V), bias=False)
        self.add_output(keys, D, H, H * self.V, bias=False)

    def forward(self, x, batch, cache):
        q = self.q_proj(x) if hasattr(self, "q_proj") else self.q_b_proj(
            self.q_norm(self.q_a_proj(x)))
        q = q.unflatten(-1, (self.H, -1))
        latent, shared = self.kv_a_proj(x).split([self.rank, self.shared], dim=-1)
        shared = shared.unsqueeze(2)
        if self.rope:
            q = rotate(q, batch, self.theta, self.own, self.shared)
            shared = rotate(shared, batch, self.theta, 0, self.shared)
        own, v = self.kv_b_proj(self.kv_norm(latent)).split(
            [self.H * self.own, self.H * self.V], dim=-1)
        k = torch.cat([own.unflatten(-1, (self.H, -1)), shared.expand(-1, -1, self.H, -1)], dim=-1)
        return self.finish(x, q, k, v.unflatten(-1, (self.H, -1)), batch, cache, window=0)


MIXERS = {"delta_net": DeltaMixer, "gated_delta_net": DeltaMixer, "kda": DeltaMixer,
          "gla": GlaMixer, "mamba2": Mamba2Mixer, "attention": AttentionMixer, "mla": MlaMixer}


# ---- MLP and experts ------------------------------------------------------------------------------


class Mlp(nn.Module):
    def __init__(self, dim, width, bias):
        super().__init__()
        self.gate_proj = nn.Linear(dim, width, bias=bias)
        self.up_proj = nn.Linear(dim, width, bias=bias)
        self.down_proj = nn.Linear(width, dim, bias=bias)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Router(nn.Module):
    def __init__(self, num_experts, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_experts, dim))
        self.register_buffer("bias", torch.zeros(num_experts))


class Projection(nn.Module):
    def __init__(self, num_experts, out, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_experts, out, dim))


class Moe(nn.Module):
    """A mixture of experts, without a balance loss: fine-tuning leaves the router's bias as it is."""

    def __init__(self, dim, keys):
        super().__init__()
        E, width = keys.take("num_experts"), keys.take("intermediate_size")
        self.k, self.renormalize = keys.take("experts_per_token"), keys.take("renormalize")
        self.scale = keys.take("scale")
        self.softmax = keys.one_of("router", ["sigmoid", "softmax"]) == "softmax"
        self.groups, self.top_groups = keys.take("groups"), keys.take("top_groups")
        self.router = Router(E, dim)
        self.experts = nn.ModuleDict({"gate": Projection(E, width, dim),
                                      "up": Projection(E, width, dim),
                                      "down": Projection(E, dim, width)})
        shared, shared_gate = keys.take("shared_experts"), keys.take("shared_gate", False)
        if shared > 0:
            self.shared = Mlp(dim, shared * width, bias=False)
            if shared_gate:
                self.shared_gate = nn.Linear(dim, 1, bias=False)

    def route(self, x):
        """The k experts of each row of x and their weights, in fp32. Ties go to the lower number."""
        logits = accumulated(x) @ accumulated(self.router.weight).T
        scores = logits.softmax(-1) if self.softmax else logits.sigmoid()
        choice = scores.detach() + accumulated(self.router.bias)
        if self.top_groups < self.groups:
            by_group = choice.unflatten(-1, (self.groups, -1))
            best = by_group.topk(min(2, by_group.shape[-1]), dim=-1).values.sum(-1)
            order = best.sort(dim=-1, descending=True, stable=True).indices[:, self.top_groups:]
            left_out = torch.zeros_like(best, dtype=torch.bool).scatter(1, order, True)
            choice = by_group.masked_fill(left_out.unsqueeze(-1), -math.inf).flatten(1)
        chosen = choice.sort(dim=-1, descending=True, stable=True).indices[:, :self.k]
        weights = scores.gather(1, chosen)
        if self.renormalize:
            weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
        return chosen, weights * self.scale

    def forward(self, x):
        rows = x.flatten(0, 1)
        chosen, weights = self.route(rows)
        y = torch.zeros_like(accumulated(rows))
        gate, up, down = (self.experts[name].weight.unbind(0) for name in ("gate", "up", "down"))
        for e in chosen.unique().tolist():
            row, place = (chosen == e).nonzero(as_tuple=True)
            h = F.silu(rows[row] @ gate[e].T) * (rows[row] @ up[e].T)
            y = y.index_add(0, row, accumulated(h @ down[e].T) * weights[row, place].unsqueeze(-1))
        y = y.to(x.dtype).view_as(x)
        if not hasattr(self, "shared"):
            return y
        shared = self.shared(x)
        if hasattr(self, "shared_gate"):
            shared = shared * torch.sigmoid(self.shared_gate(x))
        return y + shared


# ---- model ----------------------------------------------------------------------------------------


class Batch:
    """Where the tokens of a step stand: positions for RoPE, and what attention may see."""

    def __init__(self, x, mask, positions, past):
        B, T = x.shape[:2]
        self.past, self.device, self.dtype = past, x.device, accumulated(x[:0]).dtype
        if mask is not None:
            self.check(mask, B, T)
            mask = None if bool(mask.all()) else mask.bool()
        self.mask = mask  # [B, past + T], or None: nothing is padding
        if positions is None:
            positions = (torch.arange(past, past + T, device=x.device).unsqueeze(0)
                         if mask is None else (mask.long().cumsum(-1) - 1).clamp(min=0)[:, past:])
        elif mask is None and T > 1 and bool((positions.diff(dim=-1) != 1).any()):
            raise ValueError("position_ids: several documents in one row are not served; give each a "
                             "row of its own")
        self.positions = positions
        self.kept_angles, self.kept_masks = {}, {}

    def check(self, mask, B, T):
        if mask.dim() != 2 or mask.shape[0] != B or mask.shape[1] != self.past + T:
            raise ValueError(f"attention_mask: expected the shape [{B}, {self.past + T}], of the cached "
                             f"tokens and the new ones, found {list(mask.shape)}")
        changes = mask.bool().to(torch.int8).diff(dim=-1)
        if bool(((changes == 1).sum(-1) > 1 - mask[:, 0].bool().to(torch.int64)).any()):
            raise ValueError("attention_mask: padding may stand before or behind a sequence, not within")
        if self.past > 0 and not bool(mask[:, self.past - 1:].all()):
            raise ValueError("attention_mask: a cache continues no sequence that is padded on the right; "
                             "pad on the left (tokenizer.padding_side = \"left\")")

    def without_padding(self, x):
        """Zeros in the place of padding leave the state of a linear mixer and its convolution zero."""
        if self.mask is None:
            return x
        return x * self.mask[:, self.past:].unsqueeze(-1).to(x.dtype)

    def angles(self, theta, dim):
        """Cosines and sines [B or 1, T, 1, dim / 2], of angles in fp64 as Wyvern forms them."""
        if (theta, dim) not in self.kept_angles:
            device = "cpu" if self.device.type == "mps" else self.device  # which has no fp64
            steps = torch.arange(0, dim, 2, dtype=torch.float64, device=device)
            angle = self.positions.to(device, torch.float64).unsqueeze(-1) * theta ** (-steps / dim)
            self.kept_angles[theta, dim] = tuple(
                y.to(self.dtype).to(self.device).unsqueeze(2) for y in (angle.cos(), angle.sin()))
        return self.kept_angles[theta, dim]

    def attention_mask(self, T, S, window):
        """Which of the last S keys a query may see, [B or 1, 1, T, S]; None: a plain causal mask."""
        if self.mask is None and (window == 0 or S <= window) and (S == T or T == 1):
            return None
        if (T, S, window) not in self.kept_masks:
            query = torch.arange(self.past, self.past + T, device=self.device).unsqueeze(1)
            key = torch.arange(self.past + T - S, self.past + T, device=self.device)
            seen = key <= query
            if window > 0:
                seen = seen & (query - key < window)
            seen = seen[None, None]
            if self.mask is not None:
                # Padding sees itself: a softmax over nothing would be NaN.
                seen = seen & (self.mask[:, None, None, -S:] | (key == query))
            self.kept_masks[T, S, window] = seen
        return self.kept_masks[T, S, window]


class WyvernCache(Cache):
    """States of the layers: a dictionary of tensors each, whose first axis is the batch."""

    is_compileable = False
    is_croppable = False

    def __init__(self, num_layers):
        super().__init__(layers=[])
        self.states = [{} for _ in range(num_layers)]
        self.num_tokens = 0

    def __len__(self):
        return len(self.states)

    def get_seq_length(self, layer_idx=0):
        return self.num_tokens

    def get_max_cache_shape(self, layer_idx=0):
        return -1  # no limit

    def select(self, index):
        for state in self.states:
            for name, x in state.items():
                state[name] = x.index_select(0, index.to(x.device))

    def reorder_cache(self, beam_idx):
        self.select(beam_idx)

    def batch_select_indices(self, indices):
        self.select(indices)

    def batch_repeat_interleave(self, repeats):
        for state in self.states:
            for name, x in state.items():
                state[name] = x.repeat_interleave(repeats, dim=0)

    def reset(self):
        self.states = [{} for _ in self.states]
        self.num_tokens = 0

    def crop(self, *args, **kwargs):
        raise ValueError("a WyvernCache cannot forget its last tokens, which assisted decoding needs")

    activate_past_recording = crop


class WyvernBlock(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x)) if there is one; with post_norm the norms behind."""

    def __init__(self, config, name, keys, layer):
        super().__init__()
        eps, zero_centered, D = keys.norm_eps, keys.zero_centered, config.hidden_size
        section = Keys(f"wyvern.mixers.{name}", keys.mixers[name])
        kind = section.one_of("type", list(MIXERS))
        self.post_norm = section.take("post_norm", False)
        self.mixer_norm = RmsNorm(D, eps, zero_centered)
        self.mixer = MIXERS[kind](config, eps, zero_centered, section, kind)
        section.finish()
        if not keys.mlp:
            return
        self.mlp_norm = RmsNorm(D, eps, zero_centered)
        if keys.has_experts(layer):
            section = Keys("wyvern.moe", keys.moe)
            section.take("first_dense"), section.take("every")
            self.moe = Moe(D, section)
            section.finish()
        else:
            self.mlp = Mlp(D, config.intermediate_size, keys.mlp_bias)

    def forward(self, x, batch, cache):
        if self.post_norm:
            x = x + self.mixer_norm(self.mixer(x, batch, cache))
        else:
            x = x + self.mixer(self.mixer_norm(x), batch, cache)
        if not hasattr(self, "mlp_norm"):
            return x
        mlp = self.moe if hasattr(self, "moe") else self.mlp
        if self.post_norm:
            return x + self.mlp_norm(mlp(x))
        return x + mlp(self.mlp_norm(x))


class ModelKeys(SimpleNamespace):
    """The keys of config.json's section `wyvern`, and which layer has what."""

    @classmethod
    def of(cls, config):
        keys = Keys("wyvern", config.wyvern)
        model = cls(norm_eps=keys.take("norm_eps"), mlp=keys.take("mlp", True),
                    mlp_bias=keys.take("mlp_bias", False),
                    zero_centered=keys.take("zero_centered_norms", False),
                    mixers=keys.take("mixers"), pattern=keys.take("pattern"), at=keys.take("at"),
                    moe=keys.take("moe", None))
        keys.finish()
        return model

    def mixer_of(self, layer):
        for name, layers in self.at.items():
            if layer + 1 in layers:
                return name
        return self.pattern[layer % len(self.pattern)]

    def has_experts(self, layer):
        return (self.moe is not None and layer >= self.moe["first_dense"]
                and layer % self.moe["every"] == 0)


class WyvernPreTrainedModel(PreTrainedModel):
    config_class = WyvernConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["WyvernBlock"]
    _skip_keys_device_placement = ["past_key_values", "cache"]
    _supports_sdpa = True
    _is_stateful = True  # no assisted decoding

    def post_init(self):
        """Keeps in fp32 what Wyvern keeps in it, as far as the model has it."""
        parts = {part for name, _ in self.named_parameters() for part in name.split(".")}
        self._keep_in_fp32_modules_strict = [
            name for name in ("a_log", "dt_bias", "skip", "router") if name in parts]
        super().post_init()

    def _init_weights(self, module):
        """Wyvern's initial values, where the weights give none."""
        def fill(name, values):
            parameter = getattr(module, name, None)
            if isinstance(parameter, nn.Parameter) and not getattr(parameter, "_is_hf_initialized",
                                                                   False):
                with torch.no_grad():
                    parameter.copy_(values(torch.empty_like(parameter, dtype=torch.float32)))

        if isinstance(module, RmsNorm):
            fill("weight", torch.zeros_like if module.zero_centered else torch.ones_like)
            return
        fill("weight", lambda x: x.normal_(0, self.config.initializer_range))
        fill("bias", torch.zeros_like)
        fill("skip", torch.ones_like)
        if isinstance(module, Mamba2Mixer):
            fill("a_log", lambda x: x.uniform_(1, 16).log_())
        elif isinstance(module, DeltaMixer):
            least = 1 if module.kind == "kda" else 0
            fill("a_log", torch.zeros_like if module.lower_bound is not None
                 else lambda x: x.uniform_(least, 16).log_())
        # The inverse of softplus at a step between 0.001 and 0.1.
        fill("dt_bias", lambda x: x.uniform_(math.log(0.001), math.log(0.1)).exp_().expm1_().log_())


class WyvernModel(WyvernPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        keys = ModelKeys.of(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(WyvernBlock(config, keys.mixer_of(i), keys, i)
                                    for i in range(config.num_hidden_layers))
        self.norm = RmsNorm(config.hidden_size, keys.norm_eps, keys.zero_centered)
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self):
        return self.embed_tokens

    def set_input_embeddings(self, value):
        self.embed_tokens = value

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
                inputs_embeds=None, use_cache=None, output_attentions=None,
                output_hidden_states=None, return_dict=None, cache=None, **kwargs):
        if output_attentions:
            raise ValueError("output_attentions: the attention weights are not kept")
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("expected one of input_ids and inputs_embeds")
        cache = past_key_values if cache is None else cache
        if use_cache is None:
            use_cache = self.config.use_cache and not self.training
        checkpointing = self.gradient_checkpointing and self.training
        if checkpointing:
            use_cache = False
        if cache is not None and not isinstance(cache, WyvernCache):
            raise ValueError(f"{CACHE_NAME}: expected a WyvernCache, found {type(cache).__name__}")
        if cache is None and use_cache:
            cache = WyvernCache(len(self.layers))
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        past = 0 if cache is None else cache.num_tokens
        batch = Batch(x, attention_mask, position_ids, past)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        hidden_states = (x,) if output_hidden_states else None
        for i, layer in enumerate(self.layers):
            if checkpointing:
                x = self._gradient_checkpointing_func(layer.__call__, x, batch, None)
            else:
                x = layer(x, batch, None if cache is None else cache.states[i])
            if output_hidden_states and i + 1 < len(self.layers):
                hidden_states += (x,)
        if cache is not None:
            cache.num_tokens += x.shape[1]
        x = self.norm(x)
        if output_hidden_states:
            hidden_states += (x,)
        outputs = BaseModelOutputWithPast(last_hidden_state=x, hidden_states=hidden_states,
                                          **{CACHE_NAME: cache if use_cache else None})
        return outputs if return_dict in (None, True) else outputs.to_tuple()


class WyvernForCausalLM(WyvernPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.model = WyvernModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.model.embed_tokens

    def set_input_embeddings(self, value):
        self.model.embed_tokens = value

    def get_output_embeddings(self):
        return self.lm_head

    def set_output_embeddings(self, value):
        self.lm_head = value

    def _prepare_cache_for_generation(self, generation_config, model_kwargs, *args, **kwargs):
        """In the place of transformers' caches of keys alone: forward makes a WyvernCache."""
        if generation_config.cache_implementation is not None:
            raise ValueError("cache_implementation: only a WyvernCache holds the states of this model")

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None,
                inputs_embeds=None, labels=None, use_cache=None, output_attentions=None,
                output_hidden_states=None, return_dict=None, logits_to_keep=0, cache=None, **kwargs):
        outputs = self.model(input_ids=input_ids, attention_mask=attention_mask,
                             position_ids=position_ids, past_key_values=past_key_values,
                             inputs_embeds=inputs_embeds, use_cache=use_cache,
                             output_attentions=output_attentions,
                             output_hidden_states=output_hidden_states, cache=cache)
        x = outputs.last_hidden_state
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(x[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels,
                                      vocab_size=self.config.vocab_size, **kwargs)
        result = CausalLMOutputWithPast(loss=loss, logits=logits,
                                        hidden_states=outputs.hidden_states,
                                        **{CACHE_NAME: outputs.get(CACHE_NAME)})
        return result if return_dict in (None, True) else result.to_tuple()
