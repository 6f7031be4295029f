#include "trainer/model_json.h"

#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

using Json = nlohmann::json;

constexpr const char* kGateNames[] = {"none", "silu", "sigmoid"};
constexpr const char* kRouterNames[] = {"sigmoid", "softmax"};

// Each struct's keys stand here once; the writer and the reader below both visit them.
template <typename Visitor, typename Config>
void VisitDelta(Visitor& visit, Config& c) {
  visit("num_heads", c.num_heads);
  visit("num_value_heads", c.num_value_heads);
  visit("key_dim", c.key_dim);
  visit("value_dim", c.value_dim);
  visit("conv_width", c.conv_width);
  visit("learned_beta", c.learned_beta);
  visit("negative_eigenvalues", c.negative_eigenvalues);
  visit("gate_lower_bound", c.gate_lower_bound);
  visit("decay_rank", c.decay_rank);
  visit("output_gate", c.output_gate);
  visit("output_gate_rank", c.output_gate_rank);
  visit.Added("output_gate_bias", c.output_gate_bias, true);
}

template <typename Visitor, typename Config>
void VisitAttention(Visitor& visit, Config& c) {
  visit("num_heads", c.num_heads);
  visit("num_kv_heads", c.num_kv_heads);
  visit("head_dim", c.head_dim);
  visit("window", c.window);
  visit("rope", c.rope);
  visit("rope_theta", c.rope_theta);
  visit("qkv_bias", c.qkv_bias);
  visit("output_bias", c.output_bias);
  visit("qk_norm", c.qk_norm);
  visit("qk_norm_eps", c.qk_norm_eps);
  visit("output_gate", c.output_gate);
}

template <typename Visitor, typename Config>
void VisitMla(Visitor& visit, Config& c) {
  visit("num_heads", c.num_heads);
  visit("q_lora_rank", c.q_lora_rank);
  visit("kv_lora_rank", c.kv_lora_rank);
  visit("qk_nope_dim", c.qk_nope_dim);
  visit("qk_rope_dim", c.qk_rope_dim);
  visit("value_dim", c.value_dim);
  visit("latent_norm_eps", c.latent_norm_eps);
  visit("rope", c.rope);
  visit("rope_theta", c.rope_theta);
  visit("output_gate", c.output_gate);
}

template <typename Visitor, typename Config>
void VisitMoe(Visitor& visit, Config& c) {
  visit("num_experts", c.num_experts);
  visit("experts_per_token", c.experts_per_token);
  visit("intermediate_size", c.intermediate_size);
  visit("shared_experts", c.shared_experts);
  visit("first_dense", c.first_dense);
  visit("every", c.every);
  visit("router", c.router);
  visit("renormalize", c.renormalize);
  visit("scale", c.scale);
  visit("groups", c.groups);
  visit("top_groups", c.top_groups);
}

template <typename Visitor, typename Config>
void VisitModel(Visitor& visit, Config& c) {
  visit("vocab_size", c.vocab_size);
  visit("hidden_size", c.hidden_size);
  visit("num_layers", c.num_layers);
  visit("intermediate_size", c.intermediate_size);
  visit("mlp_bias", c.mlp_bias);
  visit("tie_embeddings", c.tie_embeddings);
  visit("norm_eps", c.norm_eps);
  visit("initializer_range", c.initializer_range);
  visit("padding_id", c.padding_id);
  visit("mixers", c.mixers);
  visit("pattern", c.pattern);
  visit("at", c.at);
  visit("moe", c.moe);
}

struct Writer {
  Json json = Json::object();

  template <typename T>
  void operator()(const char* key, const T& value) {
    json[key] = value;
  }
  // A key that older files lack, where it would have had this value.
  template <typename T>
  void Added(const char* key, const T& value, const T& before) {
    if (value != before) (*this)(key, value);
  }
  void operator()(const char* key, const OutputGate& gate) {
    json[key] = kGateNames[static_cast<int>(gate)];
  }
  void operator()(const char* key, const RouterScore& router) {
    json[key] = kRouterNames[static_cast<int>(router)];
  }
  // A model without experts has no such key, as before there were any.
  void operator()(const char* key, const std::optional<MoeConfig>& moe) {
    if (!moe.has_value()) return;
    Writer writer;
    VisitMoe(writer, *moe);
    json[key] = std::move(writer.json);
  }
  void operator()(const char* key, const std::optional<double>& value) {
    json[key] = value.has_value() ? Json(*value) : Json();
  }
  void operator()(const char* key, const std::map<std::string, MixerConfig>& mixers) {
    json[key] = Json::object();
    for (const auto& [name, mixer] : mixers) {
      Writer writer;
      writer.json["type"] = TypeName(mixer);
      if (const auto* delta = std::get_if<DeltaMixerConfig>(&mixer)) {
        VisitDelta(writer, *delta);
      } else if (const auto* mla = std::get_if<MlaMixerConfig>(&mixer)) {
        VisitMla(writer, *mla);
      } else {
        VisitAttention(writer, std::get<AttentionMixerConfig>(mixer));
      }
      json[key][name] = std::move(writer.json);
    }
  }
};

// Keeps the first error; what follows it is skipped.
struct Reader {
  const Json& json;
  std::string path;
  std::set<std::string> known = {};
  absl::Status status = {};

  const Json* Find(const std::string& key) {
    known.insert(key);
    if (!status.ok()) return nullptr;
    const auto found = json.find(key);
    if (found == json.end()) {
      status = absl::InvalidArgumentError(absl::StrCat(path, ".", key, ": the key is missing"));
      return nullptr;
    }
    return &*found;
  }
  void Expect(const std::string& key, const char* what, const Json& found) {
    status = absl::InvalidArgumentError(
        absl::StrCat(path, ".", key, ": expected ", what, ", found ", found.dump()));
  }
  // Call last.
  absl::Status Finish() {
    if (!status.ok()) return status;
    for (const auto& [key, value] : json.items()) {
      if (known.count(key) == 0) {
        return absl::InvalidArgumentError(absl::StrCat(path, ".", key, ": unknown key"));
      }
    }
    return absl::OkStatus();
  }

  template <typename T>
  void Added(const char* key, T& value, const T& before) {
    value = before;
    if (json.contains(key)) (*this)(key, value);
  }

  void operator()(const char* key, int64_t& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_number_integer()) return Expect(key, "an integer", *found);
    value = found->get<int64_t>();
  }
  void operator()(const char* key, double& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_number()) return Expect(key, "a number", *found);
    value = found->get<double>();
  }
  void operator()(const char* key, bool& value) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_boolean()) return Expect(key, "true or false", *found);
    value = found->get<bool>();
  }
  void operator()(const char* key, std::optional<double>& value) {
    const Json* found = Find(key);
    if (found == nullptr || found->is_null()) return;
    if (!found->is_number()) return Expect(key, "a number or null", *found);
    value = found->get<double>();
  }
  void operator()(const char* key, OutputGate& gate) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    for (int i = 0; i < 3; ++i) {
      if (*found == kGateNames[i]) {
        gate = static_cast<OutputGate>(i);
        return;
      }
    }
    Expect(key, "none, silu or sigmoid", *found);
  }
  void operator()(const char* key, RouterScore& router) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    for (int i = 0; i < 2; ++i) {
      if (*found == kRouterNames[i]) {
        router = static_cast<RouterScore>(i);
        return;
      }
    }
    Expect(key, "sigmoid or softmax", *found);
  }
  void operator()(const char* key, std::optional<MoeConfig>& moe) {
    if (!json.contains(key)) return;
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_object()) return Expect(key, "an object", *found);
    Reader reader{*found, absl::StrCat(path, ".", key)};
    VisitMoe(reader, moe.emplace());
    status = reader.Finish();
  }
  void operator()(const char* key, std::vector<std::string>& names) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_array()) return Expect(key, "a list of names", *found);
    names.clear();
    for (const Json& name : *found) {
      if (!name.is_string()) return Expect(key, "a list of names", *found);
      names.push_back(name.get<std::string>());
    }
  }
  void operator()(const char* key, std::map<std::string, std::vector<int64_t>>& at) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    const char* what = "lists of layer numbers by name";
    if (!found->is_object()) return Expect(key, what, *found);
    at.clear();
    for (const auto& [name, layers] : found->items()) {
      if (!layers.is_array()) return Expect(key, what, *found);
      std::vector<int64_t>& numbers = at[name];
      for (const Json& layer : layers) {
        if (!layer.is_number_integer()) return Expect(key, what, *found);
        numbers.push_back(layer.get<int64_t>());
      }
    }
  }
  void operator()(const char* key, std::map<std::string, MixerConfig>& mixers) {
    const Json* found = Find(key);
    if (found == nullptr) return;
    if (!found->is_object()) return Expect(key, "mixers by name", *found);
    mixers.clear();
    for (const auto& [name, value] : found->items()) {
      if (!value.is_object()) return Expect(key, "mixers by name", *found);
      Reader reader{value, absl::StrCat(path, ".", key, ".", name)};
      mixers[name] = reader.ReadMixer();
      status = reader.Finish();
      if (!status.ok()) return;
    }
  }
  MixerConfig ReadMixer() {
    const Json* type = Find("type");
    if (type == nullptr) return {};
    if (*type == "attention") {
      AttentionMixerConfig attention;
      VisitAttention(*this, attention);
      return attention;
    }
    if (*type == "mla") {
      MlaMixerConfig mla;
      VisitMla(*this, mla);
      return mla;
    }
    DeltaMixerConfig delta;
    if (*type == "delta_net") {
      delta.decay = DeltaDecay::kNone;
    } else if (*type == "gated_delta_net") {
      delta.decay = DeltaDecay::kPerHead;
    } else if (*type == "kda") {
      delta.decay = DeltaDecay::kPerChannel;
    } else {
      Expect("type", "delta_net, gated_delta_net, kda, attention or mla", *type);
    }
    VisitDelta(*this, delta);
    return delta;
  }
};

}  // namespace

Json ModelConfigToJson(const ModelConfig& config) {
  Writer writer;
  VisitModel(writer, config);
  return std::move(writer.json);
}

absl::StatusOr<ModelConfig> ModelConfigFromJson(const Json& json) {
  if (!json.is_object()) return absl::InvalidArgumentError("model: expected an object");
  Reader reader{json, "model"};
  ModelConfig config;
  VisitModel(reader, config);
  RETURN_IF_ERROR(reader.Finish());
  const std::vector<std::string> faults = config.Validate();
  if (!faults.empty()) return absl::InvalidArgumentError(absl::StrJoin(faults, "; "));
  return config;
}

std::string FirstDifference(const Json& expected, const Json& found, const std::string& path) {
  if (expected == found) return "";
  if (expected.is_object() && found.is_object()) {
    std::set<std::string> keys;
    for (const auto& [key, value] : expected.items()) keys.insert(key);
    for (const auto& [key, value] : found.items()) keys.insert(key);
    for (const std::string& key : keys) {
      const std::string inner = absl::StrCat(path, ".", key);
      if (!found.contains(key)) {
        return absl::StrCat(inner, ": expected ", expected[key].dump(), ", found nothing");
      }
      if (!expected.contains(key)) {
        return absl::StrCat(inner, ": expected nothing, found ", found[key].dump());
      }
      std::string difference = FirstDifference(expected[key], found[key], inner);
      if (!difference.empty()) return difference;
    }
  }
  return absl::StrCat(path, ": expected ", expected.dump(), ", found ", found.dump());
}

}  // namespace wyvern
