#include <algorithm>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "data/io/json_members.h"
#include "kernels/runtime/checked_math.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/mixers/mla/mla_config.h"
#include "trainer/hf/kimi_config.h"

namespace wyvern {
namespace {

using nlohmann::json;

// A size that has no default: the library's own are another model's.
void Size(KeyReader* r, const char* key, int64_t* value) {
  if (!r->Has(key)) {
    r->Fault(key, "is missing");
    return;
  }
  r->Int(key, value);
}

// The strings of a list that has one of two for every layer: whether it is the first one.
std::optional<std::vector<bool>> Kinds(KeyReader* r, const char* key, int64_t num_layers,
                                       const char* first, const char* second) {
  const json& list = r->Json(key);
  if (list.is_null()) return std::nullopt;
  const std::string expected =
      absl::StrCat("expected ", num_layers, " of \"", first, "\" and \"", second, "\"");
  std::vector<bool> kinds;
  if (list.is_array() && static_cast<int64_t>(list.size()) == num_layers) {
    for (const json& kind : list) {
      if (kind != first && kind != second) break;
      kinds.push_back(kind == first);
    }
  }
  if (static_cast<int64_t>(kinds.size()) != num_layers) {
    r->Fault(key, expected);
    return std::nullopt;
  }
  return kinds;
}

// Layer numbers from 1.
std::set<int64_t> Layers(KeyReader* r, const char* key, int64_t num_layers) {
  std::set<int64_t> layers;
  const json& list = r->Json(key);
  if (!list.is_null() && !list.is_array()) r->Fault(key, "expected a list of layer numbers");
  if (!list.is_array()) return layers;
  for (const json& layer : list) {
    const int64_t number = JsonInteger(layer).value_or(0);
    if (number < 1 || number > num_layers) {
      r->Fault(key, absl::StrCat(DescribeJson(layer), " is not a layer from 1 to ", num_layers));
    } else {
      layers.insert(number);
    }
  }
  return layers;
}

// The mixers, and which layers are latent attention: linear_attn_config has two lists from 1,
// transformers writes layer_types besides.
void ReadMixers(KeyReader* r, ModelConfig* m, std::vector<std::string>* faults,
                std::vector<std::string>* unread) {
  const json& linear = r->Json("linear_attn_config");
  if (!linear.is_object()) {
    r->Fault("linear_attn_config", "expected an object");
    return;
  }
  KeyReader inner(linear, "linear_attn_config.", faults);
  DeltaMixerConfig kda{.decay = DeltaDecay::kPerChannel,
                       .output_gate = OutputGate::kSigmoid,
                       .output_gate_bias = false};
  Size(&inner, "num_heads", &kda.num_heads);
  Size(&inner, "head_dim", &kda.key_dim);
  Size(&inner, "short_conv_kernel_size", &kda.conv_width);
  kda.value_dim = kda.decay_rank = kda.output_gate_rank = kda.key_dim;
  inner.Only("gate_lower_bound", nullptr, "decays are not bounded");
  const std::set<int64_t> kda_layers = Layers(&inner, "kda_layers", m->num_layers);
  std::set<int64_t> full_layers = Layers(&inner, "full_attn_layers", m->num_layers);
  const bool listed = inner.Has("kda_layers") || inner.Has("full_attn_layers");
  const auto types = Kinds(r, "layer_types", m->num_layers, "linear_attention", "full_attention");
  if (!listed && !types.has_value()) inner.Fault("kda_layers", "is missing");
  for (int64_t layer = 1; layer <= m->num_layers; ++layer) {
    if (listed && kda_layers.count(layer) == full_layers.count(layer)) {
      inner.Fault("kda_layers", absl::StrCat("layer ", layer, " stands in ",
                                             kda_layers.count(layer) > 0 ? "both" : "neither",
                                             " of kda_layers and full_attn_layers"));
    }
    if (!types.has_value()) continue;
    const bool full = !(*types)[layer - 1];
    if (!listed && full) full_layers.insert(layer);
    if (listed && full != (full_layers.count(layer) > 0)) {
      r->Fault("layer_types", absl::StrCat("contradicts linear_attn_config in layer ", layer));
    }
  }
  // Redundant copies.
  r->Only("linear_num_heads", kda.num_heads, "it contradicts linear_attn_config.num_heads");
  r->Only("linear_head_dim", kda.key_dim, "it contradicts linear_attn_config.head_dim");
  r->Only("linear_conv_kernel_dim", kda.conv_width,
          "it contradicts linear_attn_config.short_conv_kernel_size");
  for (const std::string& key : inner.Unread()) unread->push_back(key);

  MlaMixerConfig mla;
  Size(r, "num_attention_heads", &mla.num_heads);
  r->Only("num_key_value_heads", mla.num_heads, "latent attention has a key head for each head");
  r->Int("q_lora_rank", &mla.q_lora_rank);
  Size(r, "kv_lora_rank", &mla.kv_lora_rank);
  Size(r, "qk_nope_head_dim", &mla.qk_nope_dim);
  Size(r, "qk_rope_head_dim", &mla.qk_rope_dim);
  Size(r, "v_head_dim", &mla.value_dim);
  r->Only("qk_head_dim", SaturatedSum(mla.qk_nope_dim, mla.qk_rope_dim),
          "it contradicts qk_nope_head_dim + qk_rope_head_dim");
  r->Only("mla_use_nope", true, "latent attention does not rotate");

  if (static_cast<int64_t>(full_layers.size()) < m->num_layers) {
    m->mixers["kda"] = kda;
    m->pattern = {"kda"};
  }
  if (full_layers.empty()) return;
  m->mixers["mla"] = mla;
  if (m->pattern.empty()) {
    m->pattern = {"mla"};
  } else {
    m->at["mla"] = {full_layers.begin(), full_layers.end()};
  }
}

// first_dense and every of a list; false if no numbers give it.
bool FindRule(const std::vector<bool>& sparse, MoeConfig* moe) {
  const auto num_layers = static_cast<int64_t>(sparse.size());
  const int64_t first_sparse = std::find(sparse.begin(), sparse.end(), true) - sparse.begin();
  for (int64_t every = 1; every <= num_layers; ++every) {
    // The first layer behind the last multiple that is still dense.
    const int64_t first = first_sparse == 0 ? 0 : (first_sparse - 1) / every * every + 1;
    bool fits = true;
    for (int64_t i = 0; i < num_layers && fits; ++i) {
      fits = sparse[i] == (i >= first && i % every == 0);
    }
    if (!fits) continue;
    moe->first_dense = first;
    moe->every = every;
    return true;
  }
  return false;
}

void ReadExperts(KeyReader* r, ModelConfig* m) {
  const auto dense = Kinds(r, "mlp_layer_types", m->num_layers, "dense", "sparse");
  r->Ignore({"first_k_dense_replace", "moe_layer_freq", "moe_intermediate_size",
             "num_experts_per_token", "num_shared_experts", "moe_router_activation_func",
             "moe_renormalize", "routed_scaling_factor", "use_grouped_topk", "num_expert_group",
             "topk_group"});
  if (!r->Has("num_experts")) return;
  MoeConfig moe;
  r->Int("num_experts", &moe.num_experts);
  Size(r, "num_experts_per_token", &moe.experts_per_token);
  Size(r, "moe_intermediate_size", &moe.intermediate_size);
  moe.shared_experts = 0;
  r->Int("num_shared_experts", &moe.shared_experts);
  std::string score = "sigmoid";
  r->String("moe_router_activation_func", &score);
  if (score == "softmax") {
    moe.router = RouterScore::kSoftmax;
  } else if (score != "sigmoid") {
    r->Fault("moe_router_activation_func",
             absl::StrCat("\"", score, "\" is not supported: sigmoid or softmax"));
  }
  r->Bool("moe_renormalize", &moe.renormalize);
  r->Real("routed_scaling_factor", &moe.scale);
  bool grouped = true;
  r->Bool("use_grouped_topk", &grouped);
  if (grouped) {
    r->Int("num_expert_group", &moe.groups);
    r->Int("topk_group", &moe.top_groups);
  }
  if (dense.has_value()) {
    std::vector<bool> sparse = *dense;
    sparse.flip();
    if (!FindRule(sparse, &moe)) {
      r->Fault("mlp_layer_types",
               "is not supported: dense layers first, then every n-th layer sparse");
    }
    if (std::find(sparse.begin(), sparse.end(), true) == sparse.end()) return;
  } else {
    moe.first_dense = 0;
    r->Int("first_k_dense_replace", &moe.first_dense);
    r->Int("moe_layer_freq", &moe.every);
    if (moe.first_dense >= m->num_layers) return;  // no layer has experts
  }
  m->moe = moe;
}

}  // namespace

void ReadKimi(KeyReader* r, ModelConfig* m, std::vector<std::string>* faults,
              std::vector<std::string>* unread) {
  Size(r, "hidden_size", &m->hidden_size);
  Size(r, "num_hidden_layers", &m->num_layers);
  Size(r, "intermediate_size", &m->intermediate_size);
  if (m->intermediate_size < 1) {
    r->Fault("intermediate_size",
             absl::StrCat("expected a positive number, got ", m->intermediate_size));
  }
  if (!r->Has("rms_norm_eps")) r->Fault("rms_norm_eps", "is missing");
  r->Real("rms_norm_eps", &m->norm_eps);
  r->Only("hidden_act", "silu", "the MLP is SwiGLU");
  r->Only("attention_bias", false, "projections have no bias");
  r->Only("attention_dropout", 0.0, "there is no dropout");
  r->Only("num_nextn_predict_layers", 0, "there is no multi-token prediction");
  // Vestigial head_dim and positions; nothing rotates.
  r->Ignore({"head_dim", "rope_theta", "rope_scaling", "rope_parameters", "model_max_length",
             "pretraining_tp"});
  if (m->num_layers < 1 || m->num_layers > 4096) return;  // a fault of the model's own
  ReadMixers(r, m, faults, unread);
  ReadExperts(r, m);
}

}  // namespace wyvern
