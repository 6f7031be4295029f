#include "trainer/hf/families/gdn_hybrid.h"

#include <utility>

#include "trainer/hf/common_keys.h"
#include "trainer/hf/families/transformers.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {
namespace {

constexpr char kLinear[] = "linear_attention", kFull[] = "full_attention";

}  // namespace

void ReadHybridLayers(KeyReader* r, const DeltaMixerConfig& d, const AttentionMixerConfig& a,
                      int64_t interval, ModelConfig* m) {
  if (m->num_layers < 1 || m->num_layers > 4096) return;  // a fault of the model's own
  const auto linear = ReadLayerKinds(r, "layer_types", m->num_layers, kLinear, kFull);
  std::vector<int64_t> full;
  for (int64_t layer = 1; layer <= m->num_layers; ++layer) {
    if (linear.has_value() ? !(*linear)[layer - 1] : layer % interval == 0) full.push_back(layer);
  }
  if (static_cast<int64_t>(full.size()) == m->num_layers) {
    UseEverywhere("attention", a, m);
    return;
  }
  UseEverywhere("gated_delta_net", d, m);
  if (full.empty()) return;
  m->mixers["attention"] = a;
  m->at["attention"] = full;
}

HybridMixers CheckHybrid(const ModelConfig& m, std::vector<std::string>* why) {
  const std::vector<MixerConfig> layers = MixersInFull(m);
  HybridMixers mixers;
  const MixerConfig* own = OwnMixer(layers, IsDelta, /*hybrid=*/true, why);
  if (own == nullptr) return mixers;
  const auto& d = *own->As<DeltaMixerConfig>();
  if (d.decay != DeltaDecay::kPerHead) {
    why->push_back("needs gated_delta_net as delta-rule layers");
    return mixers;
  }
  mixers.delta = d;
  if (!d.learned_beta) why->push_back("needs a learned beta (learned_beta: true)");
  if (d.output_gate != OutputGate::kSilu || d.output_gate_rank > 0) {
    why->push_back("needs an output_gate of silu, of one matrix (output_gate_rank: 0)");
  }
  if (d.conv_width < 1) why->push_back("needs gated_delta_net with a convolution (conv_width)");
  for (const MixerConfig& mixer : layers) {
    const auto* a = mixer.As<AttentionMixerConfig>();
    if (a == nullptr || mixers.attention == *a) continue;
    if (mixers.attention.has_value()) {
      why->push_back("needs one kind of attention");
      break;
    }
    mixers.attention = *a;
  }
  if (mixers.attention.has_value()) {
    const AttentionMixerConfig& a = *mixers.attention;
    if (a.window > 0) why->push_back("needs attention without a window");
    if (a.qkv_bias || a.output_bias) {
      why->push_back("needs attention without biases (qkv_bias, output_bias)");
    }
  }
  if (m.mlp_bias) why->push_back("needs an MLP without biases (mlp_bias: false)");
  return mixers;
}

void WriteHybrid(const ModelConfig& m, AttentionMixerConfig a, nlohmann::json* c) {
  nlohmann::json& config = *c;
  DeltaMixerConfig d;
  nlohmann::json types = nlohmann::json::array();
  for (const MixerConfig& mixer : MixersInFull(m)) {
    const auto* delta = mixer.As<DeltaMixerConfig>();
    if (delta != nullptr) d = *delta;
    if (delta == nullptr) a = *mixer.As<AttentionMixerConfig>();
    types.push_back(delta != nullptr ? kLinear : kFull);
  }
  WriteNormAndMlp(m, c);
  WriteHeads(a, c);
  config["attention_bias"] = false;
  config["layer_types"] = types;
  config["linear_num_key_heads"] = d.num_heads;
  config["linear_num_value_heads"] = d.num_value_heads;
  config["linear_key_head_dim"] = d.key_dim;
  config["linear_value_head_dim"] = d.value_dim;
  config["linear_conv_kernel_dim"] = d.conv_width;
  if (!a.rope) {
    config["rope_parameters"] = nullptr;
    return;
  }
  const int64_t rotary = a.rotary_dim > 0 ? a.rotary_dim : a.head_dim;
  WriteRopeTheta(a.rope_theta, c, static_cast<double>(rotary) / static_cast<double>(a.head_dim));
}

int64_t ValueRows(const DeltaMixerConfig& d) {
  return (d.num_value_heads > 0 ? d.num_value_heads : d.num_heads) * d.value_dim;
}

std::optional<HfTensor> JoinedConvolution(absl::string_view name, const Shape& shape,
                                          const DeltaMixerConfig& d) {
  const int64_t keys = d.num_heads * d.key_dim;
  for (const auto& [conv, begin] : {std::pair<absl::string_view, int64_t>{"q_conv.weight", 0},
                                    {"k_conv.weight", keys},
                                    {"v_conv.weight", 2 * keys}}) {
    if (name != conv) continue;
    return HfTensor{.name = "linear_attn.conv1d.weight",
                    .shape = {2 * keys + ValueRows(d), shape[1], shape[2]},
                    .rows = RowRange(begin, shape[0])};
  }
  return std::nullopt;
}

}  // namespace wyvern
