#include "trainer/hf/read_attention.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "data/io/json_members.h"
#include "layers/mixers/attention/attention_config.h"

namespace wyvern {
namespace {

// null: all tokens.
int64_t ReadWindow(KeyReader* r) {
  std::optional<int64_t> window;
  r->Int("window_size", &window);
  if (window.has_value() && *window < 1) {
    r->Fault("window_size", absl::StrCat("expected a positive number or null, got ", *window));
  }
  return std::max<int64_t>(window.value_or(0), 0);
}

// A name for the mixer that is not taken.
std::string FreeName(const ModelConfig& m, const std::string& wanted) {
  std::string name = wanted;
  for (int i = 2; m.mixers.count(name) > 0; ++i) name = absl::StrCat(wanted, "_", i);
  return name;
}

// One attention spec of a hybrid: its mixer, and the layers that it takes.
void ReadAttentionSpec(const nlohmann::json& spec, const std::string& prefix, ModelConfig* m,
                       std::vector<std::string>* faults, std::vector<std::string>* unread) {
  if (!spec.is_object()) {
    faults->push_back(absl::StrCat(prefix, " expected an object"));
    return;
  }
  KeyReader r(spec, prefix, faults);
  AttentionMixerConfig a;
  if (!r.Has("num_heads")) r.Fault("num_heads", "is missing");
  r.Int("num_heads", &a.num_heads);
  r.Count("num_kv_heads", &a.num_kv_heads);
  r.Bool("qkv_bias", &a.qkv_bias);
  r.Real("rope_theta", &a.rope_theta);
  a.window = ReadWindow(&r);
  const std::string name = FreeName(*m, a.window > 0 ? "sliding" : "attention");
  std::vector<int64_t> layers;
  const nlohmann::json& listed = r.Json("layers");
  if (!listed.is_array()) {
    r.Fault("layers", "expected a list of layer numbers");
  } else {
    for (const nlohmann::json& layer : listed) {
      const int64_t number = JsonInteger(layer).value_or(-1);
      if (number < 0 || number >= m->num_layers) {
        r.Fault("layers",
                absl::StrCat(DescribeJson(layer), " is not a layer from 0 to ", m->num_layers - 1));
      } else {
        layers.push_back(number + 1);
      }
    }
  }
  for (const std::string& key : r.Unread()) unread->push_back(key);
  if (layers.empty()) return;  // a spec for no layer
  m->mixers[name] = a;
  m->at[name] = layers;
}

// transformers 5 writes rope_parameters {rope_type, rope_theta}; version 4 wrote rope_theta and
// rope_scaling {rope_type or type, ...}.
double ReadRopeTheta(KeyReader* r, std::vector<std::string>* faults,
                     std::vector<std::string>* unread) {
  std::optional<double> outer, inner;
  r->Real("rope_theta", &outer);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const nlohmann::json& value = r->Json(key);
    if (value.is_null()) continue;
    if (!value.is_object()) {
      r->Fault(key, "expected an object");
      continue;
    }
    KeyReader rope(value, absl::StrCat(key, "."), faults);
    for (const char* type_key : {"rope_type", "type"}) {
      rope.Only(type_key, "default", "rotary embeddings are not scaled");
    }
    rope.Only("partial_rotary_factor", 1.0, "the whole head rotates");
    rope.Real("rope_theta", &inner);
    for (const std::string& unknown : rope.Unread()) unread->push_back(unknown);
  }
  if (outer.has_value() && inner.has_value() && *outer != *inner) {
    r->Fault("rope_theta",
             absl::StrCat(*outer, " contradicts rope_parameters.rope_theta ", *inner));
  }
  return inner.value_or(outer.value_or(10000));
}

}  // namespace

void ReadHybrid(const nlohmann::json& attn, ModelConfig* m, std::vector<std::string>* faults,
                std::vector<std::string>* unread) {
  if (attn.is_null()) return;
  if (m->num_layers < 1) return;  // a fault of the model's own
  if (!attn.is_array()) {
    ReadAttentionSpec(attn, "attn.", m, faults, unread);
  } else if (static_cast<int64_t>(attn.size()) > m->num_layers) {
    faults->push_back(
        absl::StrCat("attn: ", attn.size(), " entries for ", m->num_layers, " layers"));
  } else {
    for (size_t i = 0; i < attn.size(); ++i) {
      ReadAttentionSpec(attn[i], absl::StrCat("attn[", i, "]."), m, faults, unread);
    }
  }
  size_t num_attention = 0;
  for (const auto& [name, layers] : m->at) num_attention += layers.size();
  if (num_attention == static_cast<size_t>(m->num_layers)) {  // no layer is left to the others
    m->mixers.erase(m->pattern.front());
    m->pattern.clear();
  }
}

AttentionMixerConfig ReadTransformerAttention(KeyReader* r) {
  AttentionMixerConfig a{.num_heads = 32};
  r->Int("num_heads", &a.num_heads);
  r->Count("num_kv_heads", &a.num_kv_heads);
  r->Bool("qkv_bias", &a.qkv_bias);
  r->Bool("qk_norm", &a.qk_norm);  // of eps 1e-5, our default, whatever norm_eps says
  a.window = ReadWindow(r);
  r->Real("rope_theta", &a.rope_theta);
  r->Only("elementwise_affine", true, "norms have gains");
  return a;
}

AttentionMixerConfig ReadLlamaAttention(KeyReader* r, std::vector<std::string>* faults,
                                        std::vector<std::string>* unread) {
  AttentionMixerConfig a{.num_heads = 32};
  r->Int("num_attention_heads", &a.num_heads);
  r->Count("num_key_value_heads", &a.num_kv_heads);
  r->Count("head_dim", &a.head_dim);
  r->Bool("attention_bias", &a.qkv_bias);
  a.output_bias = a.qkv_bias;
  a.rope_theta = ReadRopeTheta(r, faults, unread);
  r->Only("attention_dropout", 0.0, "there is no dropout");
  r->Only("partial_rotary_factor", 1.0, "the whole head rotates");
  return a;
}

}  // namespace wyvern
