#!/usr/bin/env python3
"""Reads GGUF files with llama.cpp's own library and compares them with an exported folder of the same model.

  read_gguf.py FOLDER GGUF...     prints `OK: ARCHITECTURE, N tensors, N keys` for each

Every tensor must be the folder's, changed as llama.cpp wants it and rounded to the file's type, bit for bit; there may
be no other. The keys that describe the model must follow from config.json.
"""

import json
import os
import sys

import gguf
import numpy
import safetensors

FP32, FP16, BF16 = 0, 1, 32  # general.file_type


def load(folder):
    tensors = {}
    with safetensors.safe_open(os.path.join(folder, "model.safetensors"), framework="np") as file:
        for name in file.keys():
            tensors[name] = file.get_tensor(name)
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        return tensors, json.load(file)


def rounded(values, kind):
    values = numpy.ascontiguousarray(values, dtype="<f4")
    if kind == gguf.GGMLQuantizationType.F16:
        return values.astype("<f2")
    if kind == gguf.GGMLQuantizationType.BF16:
        bits = values.view("<u4")
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return values


def attention_keys(config, rotating):
    return {
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": config["num_key_value_heads"],
        "attention.key_length": config["head_dim"],
        "attention.value_length": config["head_dim"],
        "rope.dimension_count": rotating,
        "rope.freq_base": config["rope_theta"],
    }


LAYER = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def dense(name, values, config):
    """One tensor of a layer of llama or qwen3."""
    part, kind = name.rsplit(".", 1)
    if config["model_type"] == "llama" and part in ("self_attn.q_proj", "self_attn.k_proj"):
        # Pairs that rotate lie half a head apart in the folder, side by side in the file.
        halves = values.reshape(-1, 2, config["head_dim"] // 2, *values.shape[1:])
        values = halves.swapaxes(1, 2).reshape(values.shape)
    yield f"{LAYER[part]}.{kind}", values


def dense_keys(config):
    return attention_keys(config, config["head_dim"])


def tiled(values, config, dim, axis=0):
    """Value heads of a key head are neighbours in the folder; in qwen35's files they lie a row of key heads apart."""
    heads, groups = config["linear_num_value_heads"], config["linear_num_key_heads"]
    split = values.reshape(*values.shape[:axis], groups, heads // groups, dim, *values.shape[axis + 1 :])
    return split.swapaxes(axis, axis + 1).reshape(values.shape)


def qwen35(name, values, config):
    dim = config["linear_value_head_dim"]
    keys = 2 * config["linear_num_key_heads"] * config["linear_key_head_dim"]
    if name == "linear_attn.in_proj_qkv.weight":
        yield "attn_qkv.weight", numpy.concatenate([values[:keys], tiled(values[keys:], config, dim)])
    elif name == "linear_attn.in_proj_z.weight":
        yield "attn_gate.weight", tiled(values, config, dim)
    elif name in ("linear_attn.in_proj_b.weight", "linear_attn.in_proj_a.weight"):
        yield "ssm_beta.weight" if "_b." in name else "ssm_alpha.weight", tiled(values, config, 1)
    elif name == "linear_attn.conv1d.weight":
        yield "ssm_conv1d.weight", numpy.concatenate([values[:keys, 0], tiled(values[keys:, 0], config, dim)])
    elif name in ("linear_attn.A_log", "linear_attn.dt_bias"):
        yield from qwen3next(name, tiled(values, config, 1), config)
    elif name == "linear_attn.out_proj.weight":
        yield "ssm_out.weight", tiled(values, config, dim, axis=1)
    else:
        yield from qwen3next(name, values, config)


def qwen3next(name, values, config):
    heads, value_heads = config["linear_num_key_heads"], config["linear_num_value_heads"]
    key, value = config["linear_key_head_dim"], config["linear_value_head_dim"]
    others = {
        "post_attention_layernorm.weight": "post_attention_norm.weight",
        "mlp.gate.weight": "ffn_gate_inp.weight",
        "mlp.shared_expert_gate.weight": "ffn_gate_inp_shexp.weight",
        "mlp.shared_expert.gate_proj.weight": "ffn_gate_shexp.weight",
        "mlp.shared_expert.up_proj.weight": "ffn_up_shexp.weight",
        "mlp.shared_expert.down_proj.weight": "ffn_down_shexp.weight",
        "linear_attn.in_proj_ba.weight": "ssm_ba.weight",
        "linear_attn.dt_bias": "ssm_dt.bias",
        "linear_attn.norm.weight": "ssm_norm.weight",
        "linear_attn.out_proj.weight": "ssm_out.weight",
    }
    if name.endswith("norm.weight") and name != "linear_attn.norm.weight":
        values = values + numpy.float32(1)
    if name == "linear_attn.in_proj_qkvz.weight":
        group = value * value_heads // heads
        grouped = values.reshape(heads, -1, values.shape[1])
        q, k, v, z = numpy.split(grouped, [key, 2 * key, 2 * key + group], axis=1)
        flat = [x.reshape(-1, values.shape[1]) for x in (q, k, v, z)]
        yield "attn_qkv.weight", numpy.concatenate(flat[:3])
        yield "attn_gate.weight", flat[3]
    elif name == "linear_attn.conv1d.weight":
        yield "ssm_conv1d.weight", values[:, 0, :]
    elif name == "linear_attn.A_log":
        yield "ssm_a", -numpy.exp(values.astype("f8"))
    elif name in others:
        yield others[name], values
    else:
        yield from dense(name, values, config)


def hybrid_keys(config):
    recurrent = [kind == "linear_attention" for kind in config["layer_types"]]
    return {
        **attention_keys(config, rotating_dims(config)),
        "ssm.conv_kernel": config["linear_conv_kernel_dim"],
        "ssm.state_size": config["linear_key_head_dim"],
        "ssm.group_count": config["linear_num_key_heads"],
        "ssm.time_step_rank": config["linear_num_value_heads"],
        "ssm.inner_size": config["linear_num_value_heads"] * config["linear_value_head_dim"],
        "attention.recurrent_layers": recurrent,
    }


def rotating_dims(config):
    return int(config["head_dim"] * config.get("partial_rotary_factor", 1))


def qwen3next_keys(config):
    return {
        **hybrid_keys(config),
        "expert_count": config["num_experts"],
        "expert_used_count": config["num_experts_per_tok"],
        "expert_feed_forward_length": config["moe_intermediate_size"],
        "expert_shared_feed_forward_length": config["shared_expert_intermediate_size"],
    }


def qwen35_keys(config):
    # Every third pair of dims is of one section.
    sections = [len(range(first, rotating_dims(config) // 2, 3)) for first in range(3)]
    return {**hybrid_keys(config), "rope.dimension_sections": [*sections, 0]}


def kimi_linear(name, values, config):
    heads, nope, value = config["num_attention_heads"], config["qk_nope_head_dim"], config["v_head_dim"]
    others = {
        "block_sparse_moe.gate.weight": "ffn_gate_inp.weight",
        "block_sparse_moe.gate.e_score_correction_bias": "exp_probs_b.bias",
        "block_sparse_moe.shared_experts.gate_proj.weight": "ffn_gate_shexp.weight",
        "block_sparse_moe.shared_experts.up_proj.weight": "ffn_up_shexp.weight",
        "block_sparse_moe.shared_experts.down_proj.weight": "ffn_down_shexp.weight",
        "self_attn.f_a_proj.weight": "ssm_f_a.weight",
        "self_attn.f_b_proj.weight": "ssm_f_b.weight",
        "self_attn.g_a_proj.weight": "ssm_g_a.weight",
        "self_attn.g_b_proj.weight": "ssm_g_b.weight",
        "self_attn.b_proj.weight": "ssm_beta.weight",
        "self_attn.dt_bias": "ssm_dt.bias",
        "self_attn.o_norm.weight": "ssm_norm.weight",
        "self_attn.kv_a_proj_with_mqa.weight": "attn_kv_a_mqa.weight",
        "self_attn.kv_a_layernorm.weight": "attn_kv_a_norm.weight",
    }
    if name == "self_attn.kv_b_proj.weight":
        both = values.reshape(heads, nope + value, -1)
        yield "attn_k_b.weight", both[:, :nope].transpose(0, 2, 1)
        yield "attn_v_b.weight", both[:, nope:]
    elif name.endswith("_conv1d.weight"):
        yield f"ssm_conv1d_{name[len('self_attn.')]}.weight", values.swapaxes(0, 1)[:, :, None, :]
    elif name == "self_attn.A_log":
        yield "ssm_a", -numpy.exp(values.astype("f8"))
    elif name in others:
        yield others[name], values
    else:
        yield from dense(name, values, config)


def kimi_linear_keys(config):
    linear = config["linear_attn_config"]
    full = [layer + 1 in linear["full_attn_layers"] for layer in range(config["num_hidden_layers"])]
    latent, rope = config["kv_lora_rank"], config["qk_rope_head_dim"]
    keys = {
        "attention.head_count": config["num_attention_heads"],
        "attention.head_count_kv": [int(is_full) for is_full in full],
        "attention.kv_lora_rank": latent,
        "attention.key_length": latent + rope,
        "attention.value_length": latent,
        "attention.key_length_mla": config["qk_nope_head_dim"] + rope,
        "attention.value_length_mla": config["v_head_dim"],
        "rope.dimension_count": rope,
        "ssm.conv_kernel": linear["short_conv_kernel_size"],
        "kda.head_dim": linear["head_dim"],
        "expert_feed_forward_length": config["moe_intermediate_size"],
        "expert_shared_count": config["num_shared_experts"],
        "leading_dense_block_count": config["first_k_dense_replace"],
        "expert_weights_scale": config["routed_scaling_factor"],
        "expert_gating_func": {"softmax": 1, "sigmoid": 2}[config["moe_router_activation_func"]],
    }
    if config["num_experts"] is None:
        return {**keys, "expert_shared_count": 0}
    keys["expert_count"] = config["num_experts"]
    keys["expert_used_count"] = config["num_experts_per_token"]
    if config["topk_group"] < config["num_expert_group"]:
        keys["expert_group_count"] = config["num_expert_group"]
        keys["expert_group_used_count"] = config["topk_group"]
    return keys


# By model_type: the architecture, the tensors of a layer, the keys, and the experts' matrices in the folder.
MODELS = {
    "llama": ("llama", dense, dense_keys, {}),
    "qwen3": ("qwen3", dense, dense_keys, {}),
    "qwen3_next": ("qwen3next", qwen3next, qwen3next_keys, {"gate_proj": "gate", "up_proj": "up", "down_proj": "down"}),
    "qwen3_5_text": ("qwen35", qwen35, qwen35_keys, {}),
    "kimi_linear": ("kimi-linear", kimi_linear, kimi_linear_keys, {"w1": "gate", "w3": "up", "w2": "down"}),
}


def expected_tensors(tensors, config, of_layer, experts):
    plus_one = numpy.float32(1 if config["model_type"] in ("qwen3_next", "qwen3_5_text") else 0)
    result, stacks = {}, {}
    for name, values in tensors.items():
        if name == "model.embed_tokens.weight":
            result["token_embd.weight"] = values
        elif name == "lm_head.weight":
            result["output.weight"] = values
        elif name == "model.norm.weight":
            result["output_norm.weight"] = values + plus_one
        elif ".experts." in name:
            layer = name.split(".")[2]
            expert, matrix = name.split(".experts.")[1].split(".")[:2]
            stack = stacks.setdefault(f"blk.{layer}.ffn_{experts[matrix]}_exps.weight", {})
            stack[int(expert)] = values
        else:
            layer, rest = name[len("model.layers.") :].split(".", 1)
            for part, changed in of_layer(rest, values, config):
                result[f"blk.{layer}.{part}"] = changed
    for name, stack in stacks.items():
        result[name] = numpy.stack([stack[e] for e in range(len(stack))])
    return result


def check_tensors(reader, expected, file_type):
    names = {tensor.name for tensor in reader.tensors}
    if names != set(expected):
        raise ValueError(f"the file and the folder differ in {sorted(names ^ set(expected))}")
    chosen = {FP32: "F32", FP16: "F16", BF16: "BF16"}[file_type]
    for tensor in reader.tensors:
        name, values = tensor.name, expected[tensor.name]
        small = values.ndim < 2 or any(part in name for part in ("_norm.", "ffn_gate_inp", "ssm_conv1d"))
        small = small or name.endswith(".ssm_a")
        if tensor.tensor_type.name != ("F32" if small else chosen):
            raise ValueError(f"{name} is {tensor.tensor_type.name}")
        if list(reversed(tensor.shape.tolist())) != list(values.shape):
            raise ValueError(f"{name} has the shape {tensor.shape}, not {values.shape} reversed")
        if tensor.data.tobytes() != rounded(values, tensor.tensor_type).tobytes():
            raise ValueError(f"{name} has other values")
        if tensor.data_offset % 32 != 0:
            raise ValueError(f"{name} begins at byte {tensor.data_offset}")


def check_keys(keys, architecture, expected, config):
    expected = {
        "block_count": config["num_hidden_layers"],
        "context_length": config["max_position_embeddings"],
        "embedding_length": config["hidden_size"],
        "feed_forward_length": config["intermediate_size"],
        "vocab_size": config["vocab_size"],
        "attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        **expected,
    }
    found = {name[len(architecture) + 1 :]: value for name, value in keys.items() if name.startswith(architecture)}
    found.pop("full_attention_interval", None)  # of older readers
    if set(found) != set(expected):
        raise ValueError(f"the keys and config.json differ in {sorted(set(found) ^ set(expected))}")
    for name, value in expected.items():
        if found[name] != (float(numpy.float32(value)) if isinstance(value, float) else value):
            raise ValueError(f"{name} is {found[name]}, not {value}")


def main():
    folder, *paths = sys.argv[1:]
    tensors, config = load(folder)
    architecture, of_layer, keys_of, experts = MODELS[config["model_type"]]
    expected = expected_tensors(tensors, config, of_layer, experts)
    for path in paths:
        reader = gguf.GGUFReader(path)
        keys = {name: field.contents() for name, field in reader.fields.items()}
        if keys["general.architecture"] != architecture:
            raise ValueError(f"general.architecture is {keys['general.architecture']}")
        check_tensors(reader, expected, keys["general.file_type"])
        check_keys(keys, architecture, keys_of(config), config)
        print(f"OK: {architecture}, {len(reader.tensors)} tensors, {len(keys)} keys")


if __name__ == "__main__":
    main()
