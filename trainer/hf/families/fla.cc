#include "trainer/hf/families/fla.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "data/io/json_members.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {
namespace {

// First parts of what follows "blocks.N.", and of a mixer's own names; the others are the same.
constexpr RenamedPart kLayerParts[] = {{"mixer_norm.", "attn_norm."}};
constexpr RenamedPart kMixerParts[] = {
    {"q_conv.", "q_conv1d."},    {"k_conv.", "k_conv1d."},   {"v_conv.", "v_conv1d."},
    {"beta_proj.", "b_proj."},   {"decay_proj.", "a_proj."}, {"decay_down.", "f_proj.0."},
    {"decay_up.", "f_proj.1."},  {"a_log", "A_log"},         {"gate_proj.", "g_proj."},
    {"gate_down.", "g_proj.0."}, {"gate_up.", "g_proj.1."},  {"output_norm.", "o_norm."}};

// A name for the mixer that is not taken.
std::string FreeName(const ModelConfig& m, const std::string& wanted) {
  std::string name = wanted;
  for (int i = 2; m.mixers.count(name) > 0; ++i) name = absl::StrCat(wanted, "_", i);
  return name;
}

// One attention spec of a hybrid: its mixer, and the layers that it takes. `r` reads it.
void ReadAttentionSpec(KeyReader r, ModelConfig* m) {
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
  r.NoteUnknown();
  if (layers.empty()) return;  // a spec for no layer
  m->mixers[name] = a;
  m->at[name] = layers;
}

void CheckAttention(const ModelConfig& m, const AttentionMixerConfig& a, bool hybrid,
                    std::vector<std::string>* why) {
  if (a.head_dim * a.num_heads != m.hidden_size) {
    why->push_back(absl::StrCat("needs attention heads that make up hidden_size ", m.hidden_size,
                                ", not ", a.num_heads, " of head_dim ", a.head_dim));
  }
  CheckPlainAttention(a, why);
  if (a.output_bias) why->push_back("needs attention without output_bias");
  if (a.qk_norm && hybrid) why->push_back("needs attention without qk_norm in a hybrid");
  if (a.qk_norm && a.qk_norm_eps != 1e-5) {
    why->push_back(absl::StrCat("needs a qk_norm_eps of 1e-5, not ", a.qk_norm_eps));
  }
}

}  // namespace

void ReadFlaSizes(KeyReader* r, ModelConfig* m) {
  m->hidden_size = 2048;
  m->num_layers = 24;
  r->Int("hidden_size", &m->hidden_size);
  r->Int("num_hidden_layers", &m->num_layers);
  r->Real("norm_eps", &m->norm_eps);
  double ratio = 4;
  r->Real("hidden_ratio", &ratio);
  if (r->Has("intermediate_size")) {
    ReadIntermediateSize(r, m);
  } else {
    const double wide = std::floor(static_cast<double>(m->hidden_size) * ratio * 2 / 3);
    if (!(wide >= 1 && wide < 1e9)) {
      r->Fault("hidden_ratio", absl::StrCat(ratio, " gives no MLP width"));
    } else {
      m->intermediate_size = 256 * ((static_cast<int64_t>(wide) + 255) / 256);
    }
  }
  RequireSwiGlu(r);
  RefuseSlidingWindow(r);
  r->Only("use_l2warp", false, "it changes the gradient of the loss");
  r->Only("attnres_block_size", nullptr, "it changes the residual path");
  r->Ignore(
      {"attn_mode", "fuse_norm", "fuse_swiglu", "fuse_cross_entropy", "fuse_linear_cross_entropy"});
}

void WriteFlaSizes(const ModelConfig& m, nlohmann::json* config) {
  (*config)["norm_eps"] = m.norm_eps;
  (*config)["hidden_act"] = "swish";
  (*config)["hidden_ratio"] = 4;
}

void ReadFlaHybrid(KeyReader* r, ModelConfig* m) {
  const nlohmann::json& attn = r->Json("attn");
  if (attn.is_null()) return;
  if (m->num_layers < 1) return;  // a fault of the model's own
  const auto read = [&](const nlohmann::json& spec, const std::string& name) {
    if (spec.is_object()) return ReadAttentionSpec(r->Inner(spec, name + "."), m);
    r->Fault(name.c_str(), "expected an object");
  };
  if (!attn.is_array()) {
    read(attn, "attn");
  } else if (static_cast<int64_t>(attn.size()) > m->num_layers) {
    r->Fault("attn", absl::StrCat(attn.size(), " entries for ", m->num_layers, " layers"));
  } else {
    for (size_t i = 0; i < attn.size(); ++i) read(attn[i], absl::StrCat("attn[", i, "]"));
  }
  size_t num_attention = 0;
  for (const auto& [name, layers] : m->at) num_attention += layers.size();
  if (num_attention == static_cast<size_t>(m->num_layers)) {  // no layer is left to the others
    m->mixers.erase(m->pattern.front());
    m->pattern.clear();
  }
}

void WriteFlaHybrid(const ModelConfig& m, nlohmann::json* config) {
  std::vector<std::pair<AttentionMixerConfig, std::vector<int64_t>>> specs;  // distinct ones
  const std::vector<MixerConfig> layers = MixersInFull(m);
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
  nlohmann::json& attn = (*config)["attn"];
  if (!list.empty()) attn = list.size() == 1 ? list[0] : list;
}

std::vector<std::string> WhyNotFla(const ModelConfig& m, bool (*is_own)(const MixerConfig&),
                                   bool hybrid, CheckFlaMixer check) {
  std::vector<std::string> why;
  const std::vector<MixerConfig> layers = MixersInFull(m);
  const MixerConfig* own = OwnMixer(layers, is_own, hybrid, &why);
  if (own == nullptr) return why;
  check(m, *own, &why);
  const auto* d = own->As<DeltaMixerConfig>();
  if (d != nullptr && d->output_norm_eps.has_value()) {
    why.push_back("needs output norms with the model's norm_eps (output_norm_eps)");
  }
  const AttentionMixerConfig* last = nullptr;
  for (const MixerConfig& layer : layers) {
    const auto* a = layer.As<AttentionMixerConfig>();
    if (a == nullptr || (last != nullptr && *a == *last)) continue;
    CheckAttention(m, *a, hybrid, &why);
    last = a;
  }
  if (m.moe.has_value()) why.push_back("needs layers without experts (moe)");
  if (m.mlp_bias) why.push_back("needs an MLP without biases (mlp_bias: false)");
  return why;
}

std::vector<HfTensor> FlaLayerTensors(absl::string_view name, const Shape& shape,
                                      const MixerConfig& /*mixer*/) {
  if (absl::ConsumePrefix(&name, "mixer.")) {
    return {{.name = absl::StrCat("attn.", Renamed(name, kMixerParts)), .shape = shape}};
  }
  return {{.name = Renamed(name, kLayerParts), .shape = shape}};
}

}  // namespace wyvern
