#include <algorithm>
#include <cmath>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/runtime/status.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/mixers/mla/mla_config.h"
#include "trainer/hf/hf_config.h"
#include "trainer/hf/kimi_config.h"

namespace wyvern {
namespace {

using Reasons = std::vector<std::string>;

// Each layer's mixer with every default written out, so that equal mixers compare equal.
std::vector<MixerConfig> ResolvedLayers(const ModelConfig& m) {
  std::vector<MixerConfig> layers;
  for (int64_t i = 0; i < m.num_layers; ++i) {
    MixerConfig mixer = m.MixerOfLayer(i);
    if (auto* d = mixer.As<DeltaMixerConfig>()) {
      if (d->num_value_heads == 0) d->num_value_heads = d->num_heads;
      if (d->decay == DeltaDecay::kPerChannel && d->decay_rank == 0) d->decay_rank = d->value_dim;
    } else if (auto* a = mixer.As<AttentionMixerConfig>()) {
      if (a->num_kv_heads == 0) a->num_kv_heads = a->num_heads;
      if (a->head_dim == 0) a->head_dim = m.hidden_size / a->num_heads;
    }
    layers.push_back(std::move(mixer));
  }
  return layers;
}

// A factor e with int(total * e) == width in floating point, as the readers compute it; NaN if the
// quotient and its neighbours miss it.
double ExpandFactor(int64_t total, int64_t width) {
  const double e = static_cast<double>(width) / static_cast<double>(total);
  for (const double candidate : {e, std::nextafter(e, 1e9)}) {
    if (static_cast<int64_t>(static_cast<double>(total) * candidate) == width) return candidate;
  }
  return std::nan("");
}

// ---- what a family cannot express -------------------------------------------------------------

void CheckFlaAttention(const ModelConfig& m, const AttentionMixerConfig& a, bool hybrid,
                       Reasons* why) {
  if (a.head_dim * a.num_heads != m.hidden_size) {
    why->push_back(absl::StrCat("attention heads of ", a.head_dim, " x ", a.num_heads,
                                " do not make up hidden_size ", m.hidden_size));
  }
  if (!a.rope) why->push_back("its attention always rotates (rope: false)");
  if (a.output_bias) why->push_back("its attention has no output_bias");
  if (a.output_gate != OutputGate::kNone) why->push_back("its attention has no output_gate");
  if (a.qk_norm && hybrid) why->push_back("the attention layers of a hybrid have no qk_norm");
  if (a.qk_norm && a.qk_norm_eps != 1e-5) {
    why->push_back(absl::StrCat("its qk_norm_eps is 1e-5, not ", a.qk_norm_eps));
  }
}

void CheckDelta(const DeltaMixerConfig& d, HfFamily family, Reasons* why) {
  if (family == HfFamily::kDeltaNet) {
    if (d.num_value_heads != d.num_heads) why->push_back("it has no num_value_heads of its own");
    if (d.output_gate == OutputGate::kSigmoid) why->push_back("its output_gate is silu");
  } else if (!d.learned_beta) {
    why->push_back("its beta is always learned (learned_beta: false)");
  }
  if (family == HfFamily::kKda) {
    if (d.output_gate != OutputGate::kSigmoid || d.output_gate_rank != d.value_dim) {
      why->push_back(absl::StrCat("its output_gate is sigmoid with output_gate_rank = value_dim ",
                                  d.value_dim));
    }
    if (d.decay_rank != d.value_dim) {
      why->push_back(
          absl::StrCat("its decay_rank is value_dim ", d.value_dim, ", not ", d.decay_rank));
    }
    if (!d.output_gate_bias) why->push_back("its output gate has a bias (output_gate_bias)");
  } else {
    if (d.output_gate_rank > 0) why->push_back("its output gate is one matrix (output_gate_rank)");
    if (family == HfFamily::kGatedDeltaNet && d.output_gate == OutputGate::kSigmoid) {
      why->push_back("its output_gate is silu");
    }
  }
}

HfFamily FamilyOfDecay(DeltaDecay decay) {
  return decay == DeltaDecay::kNone      ? HfFamily::kDeltaNet
         : decay == DeltaDecay::kPerHead ? HfFamily::kGatedDeltaNet
                                         : HfFamily::kKda;
}

Reasons WhyNot(const ModelConfig& m, const std::vector<MixerConfig>& layers, HfFamily family) {
  if (family == HfFamily::kKimiLinear) return WhyNotKimi(m, layers);
  Reasons why;
  const bool attention_only = family == HfFamily::kTransformer || family == HfFamily::kLlama;
  const MixerConfig* first = nullptr;  // of the kind that the family has one configuration of
  int64_t first_layer = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto* delta = layers[i].As<DeltaMixerConfig>();
    if (layers[i].As<MlaMixerConfig>() != nullptr) {
      why.push_back(absl::StrCat("layer ", i + 1, " is mla"));
      return why;
    }
    if (attention_only ? delta != nullptr : delta == nullptr) {
      if (attention_only)
        why.push_back(absl::StrCat("layer ", i + 1, " is ", layers[i].type().name));
      continue;
    }
    if (first == nullptr) {
      first = &layers[i];
      first_layer = static_cast<int64_t>(i) + 1;
    } else if (!(layers[i] == *first)) {
      const std::string a = first->type().name, b = layers[i].type().name;
      why.push_back(absl::StrCat("layers ", first_layer, " and ", i + 1, " differ (",
                                 a == b ? absl::StrCat("two kinds of ", a) : a + " and " + b,
                                 "), and its config.json has room for one"));
      break;
    }
  }
  if (first == nullptr) {
    if (why.empty()) why.push_back("it has no layer of that kind");
    return why;
  }
  if (!attention_only) {
    CheckDelta(*first->As<DeltaMixerConfig>(), family, &why);
  }
  const AttentionMixerConfig* last = nullptr;
  for (const MixerConfig& layer : layers) {
    const auto* a = layer.As<AttentionMixerConfig>();
    if (a == nullptr || family == HfFamily::kLlama || (last != nullptr && *a == *last)) continue;
    CheckFlaAttention(m, *a, !attention_only, &why);
    last = a;
  }
  if (m.moe.has_value()) why.push_back("it has no mixture of experts (moe)");
  if (family != HfFamily::kLlama) {
    if (m.mlp_bias) why.push_back("its MLP has no bias (mlp_bias)");
  } else if (const auto* a = first->As<AttentionMixerConfig>()) {
    if (a->window > 0) why.push_back("its attention has no window");
    if (!a->rope) why.push_back("its attention always rotates (rope: false)");
    if (a->qk_norm) why.push_back("its attention has no qk_norm");
    if (a->qkv_bias != a->output_bias) {
      why.push_back("its attention_bias stands for qkv_bias and output_bias together");
    }
    if (a->output_gate != OutputGate::kNone) why.push_back("its attention has no output_gate");
  }
  return why;
}

absl::Status NotExpressible(HfFamily family, const Reasons& why) {
  return absl::FailedPreconditionError(
      absl::StrCat("a Hugging Face ", ModelType(family),
                   " folder cannot hold this model: ", absl::StrJoin(why, "; ")));
}

absl::StatusOr<HfFamily> ChooseFamily(const ModelConfig& m, const std::vector<MixerConfig>& layers,
                                      std::optional<HfFamily> wanted) {
  std::vector<HfFamily> candidates;
  for (const MixerConfig& layer : layers) {
    if (layer.As<MlaMixerConfig>() != nullptr) {
      candidates = {HfFamily::kKimiLinear};
      break;
    }
    const auto* d = layer.As<DeltaMixerConfig>();
    if (d == nullptr) continue;
    if (candidates.empty()) candidates = {FamilyOfDecay(d->decay)};
  }
  if (candidates.empty()) candidates = {HfFamily::kLlama, HfFamily::kTransformer};
  if (wanted.has_value()) candidates = {*wanted};
  absl::Status status;
  for (const HfFamily family : candidates) {
    const Reasons why = WhyNot(m, layers, family);
    if (why.empty()) return family;
    const absl::Status refusal = NotExpressible(family, why);
    status = status.ok() ? refusal
                         : absl::FailedPreconditionError(
                               absl::StrCat(status.message(), "\n", refusal.message()));
  }
  return status;
}

// ---- writing ----------------------------------------------------------------------------------

const char* Architecture(HfFamily family) {
  switch (family) {
    case HfFamily::kDeltaNet:
      return "DeltaNetForCausalLM";
    case HfFamily::kGatedDeltaNet:
      return "GatedDeltaNetForCausalLM";
    case HfFamily::kKda:
      return "KDAForCausalLM";
    case HfFamily::kTransformer:
      return "TransformerForCausalLM";
    case HfFamily::kLlama:
      return "LlamaForCausalLM";
    case HfFamily::kKimiLinear:
      return "KimiLinearForCausalLM";
  }
  return "?";
}

nlohmann::json WindowJson(int64_t window) {
  return window > 0 ? nlohmann::json(window) : nlohmann::json(nullptr);
}

absl::Status WriteDelta(const ModelConfig& m, const DeltaMixerConfig& d, HfFamily family,
                        nlohmann::json* c) {
  nlohmann::json& config = *c;
  config["num_heads"] = d.num_heads;
  config["use_short_conv"] = d.conv_width > 0;
  config["conv_size"] = d.conv_width > 0 ? d.conv_width : 4;
  config["allow_neg_eigval"] = d.negative_eigenvalues;
  config["attn_mode"] = "chunk";
  const bool total = family == HfFamily::kDeltaNet;  // its factors are relative to hidden_size
  const double expand_k = total ? ExpandFactor(m.hidden_size, d.num_heads * d.key_dim) : 1;
  const double expand_v = total ? ExpandFactor(m.hidden_size, d.num_heads * d.value_dim)
                                : ExpandFactor(d.key_dim, d.value_dim);
  if (std::isnan(expand_k) || std::isnan(expand_v)) {
    return NotExpressible(family, {absl::StrCat("no expansion factor gives key_dim ", d.key_dim,
                                                " and value_dim ", d.value_dim)});
  }
  config["expand_v"] = expand_v;
  if (total) {
    config["expand_k"] = expand_k;
    config["use_gate"] = d.output_gate != OutputGate::kNone;
    config["use_beta"] = d.learned_beta;
    config["use_output_norm"] = true;
    config["qk_activation"] = "silu";
    config["qk_norm"] = "l2";
    return absl::OkStatus();
  }
  config["head_dim"] = d.key_dim;
  config["num_v_heads"] = d.num_value_heads == d.num_heads ? nlohmann::json(nullptr)
                                                           : nlohmann::json(d.num_value_heads);
  if (family == HfFamily::kGatedDeltaNet) {
    config["use_gate"] = d.output_gate != OutputGate::kNone;
  } else {
    config["safe_gate"] = d.gate_lower_bound.has_value();
    config["lower_bound"] = d.gate_lower_bound.has_value() ? nlohmann::json(*d.gate_lower_bound)
                                                           : nlohmann::json(nullptr);
  }
  return absl::OkStatus();
}

// null, one spec, or a list of specs, one for each distinct attention.
nlohmann::json HybridJson(const std::vector<MixerConfig>& layers) {
  std::vector<std::pair<AttentionMixerConfig, std::vector<int64_t>>> specs;
  for (size_t i = 0; i < layers.size(); ++i) {
    const auto* a = layers[i].As<AttentionMixerConfig>();
    if (a == nullptr) continue;
    const auto same = [&](const auto& spec) { return spec.first == *a; };
    auto it = std::find_if(specs.begin(), specs.end(), same);
    if (it == specs.end()) it = specs.insert(specs.end(), {*a, {}});
    it->second.push_back(static_cast<int64_t>(i));
  }
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [a, numbers] : specs) {
    list.push_back({{"layers", numbers},
                    {"num_heads", a.num_heads},
                    {"num_kv_heads", a.num_kv_heads},
                    {"qkv_bias", a.qkv_bias},
                    {"window_size", WindowJson(a.window)},
                    {"rope_theta", a.rope_theta}});
  }
  if (list.empty()) return nullptr;
  return list.size() == 1 ? list[0] : list;
}

void WriteAttention(const AttentionMixerConfig& a, HfFamily family, nlohmann::json* c) {
  nlohmann::json& config = *c;
  if (family == HfFamily::kTransformer) {
    config["num_heads"] = a.num_heads;
    config["num_kv_heads"] = a.num_kv_heads;
    config["qkv_bias"] = a.qkv_bias;
    config["qk_norm"] = a.qk_norm;
    config["window_size"] = WindowJson(a.window);
    config["rope_theta"] = a.rope_theta;
    config["elementwise_affine"] = true;
    return;
  }
  config["num_attention_heads"] = a.num_heads;
  config["num_key_value_heads"] = a.num_kv_heads;
  config["head_dim"] = a.head_dim;
  config["attention_bias"] = a.qkv_bias;
  config["attention_dropout"] = 0.0;
  config["pretraining_tp"] = 1;
  // Both vocabularies: transformers 5 reads the first, version 4 the others.
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", a.rope_theta}};
  config["rope_theta"] = a.rope_theta;
  config["rope_scaling"] = nullptr;
}

}  // namespace

absl::StatusOr<HfConfigFile> WriteHfConfig(const ModelConfig& model,
                                           const HfWriteOptions& options) {
  const std::vector<MixerConfig> layers = ResolvedLayers(model);
  ASSIGN_OR_RETURN(const HfFamily family, ChooseFamily(model, layers, options.family));
  HfConfigFile file{.family = family};
  nlohmann::json& c = file.config;
  c["architectures"] = nlohmann::json::array({Architecture(family)});
  c["model_type"] = ModelType(family);
  c["dtype"] = options.dtype;
  c["torch_dtype"] = options.dtype;  // the same for transformers 4
  c["vocab_size"] = model.vocab_size;
  c["hidden_size"] = model.hidden_size;
  c["num_hidden_layers"] = model.num_layers;
  c["intermediate_size"] = model.IntermediateSize();
  c["initializer_range"] = model.initializer_range;
  // The head of kimi_linear is never tied; it is written as a copy.
  c["tie_word_embeddings"] = model.tie_embeddings && family != HfFamily::kKimiLinear;
  c["max_position_embeddings"] = 2048;  // size of the readers' RoPE tables, no limit of ours
  c["pad_token_id"] =
      model.padding_id < 0 ? nlohmann::json(nullptr) : nlohmann::json(model.padding_id);
  c["bos_token_id"] = nullptr;
  c["eos_token_id"] = nullptr;
  c["use_cache"] = true;
  if (family == HfFamily::kKimiLinear) {
    WriteKimi(model, layers, &c);
  } else if (family == HfFamily::kLlama) {
    c["rms_norm_eps"] = model.norm_eps;
    c["hidden_act"] = "silu";
    c["mlp_bias"] = model.mlp_bias;
  } else {
    c["norm_eps"] = model.norm_eps;
    c["hidden_act"] = "swish";
    c["hidden_ratio"] = 4;
  }
  if (family == HfFamily::kLlama || family == HfFamily::kTransformer) {
    WriteAttention(*layers[0].As<AttentionMixerConfig>(), family, &c);
  } else if (family != HfFamily::kKimiLinear) {
    for (const MixerConfig& layer : layers) {
      const auto* d = layer.As<DeltaMixerConfig>();
      if (d == nullptr) continue;
      RETURN_IF_ERROR(WriteDelta(model, *d, family, &c));
      break;
    }
    c["attn"] = HybridJson(layers);
  }
  const std::set<std::string> free_keys = {"bos_token_id", "eos_token_id",
                                           "max_position_embeddings", "model_max_length"};
  for (const auto& [key, value] : options.keep.items()) {
    if (!c.contains(key) || free_keys.count(key) > 0) c[key] = value;
  }
  return file;
}

}  // namespace wyvern
