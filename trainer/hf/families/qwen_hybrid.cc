#include "trainer/hf/families/qwen_hybrid.h"

#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "layers/mixers/attention/attention_config.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/own_mixer.h"

namespace wyvern {
namespace {

using nlohmann::json;

constexpr char kLinear[] = "linear_attention", kFull[] = "full_attention";

void ReadAttention(KeyReader* r, int64_t num_kv_heads, const ModelConfig& m,
                   AttentionMixerConfig* a) {
  *a = {.num_heads = 16,
        .num_kv_heads = num_kv_heads,
        .head_dim = 256,
        .qk_norm = true,
        .qk_norm_eps = m.norm_eps,
        .output_gate = OutputGate::kSigmoid};
  r->Int("num_attention_heads", &a->num_heads);
  r->Count("num_key_value_heads", &a->num_kv_heads);
  r->Count("head_dim", &a->head_dim);
  std::optional<double> factor;
  a->rope_theta = ReadRopeTheta(r, &factor);
  const double dims = std::floor(static_cast<double>(a->head_dim) * factor.value_or(0.25));
  if (!(dims >= 2 && dims <= static_cast<double>(a->head_dim)) || std::fmod(dims, 2) != 0) {
    r->Fault("partial_rotary_factor",
             absl::StrCat(factor.value_or(0.25), " of head_dim ", a->head_dim, " is ", dims,
                          "; expected an even number of at least 2 dims"));
    return;
  }
  if (static_cast<int64_t>(dims) < a->head_dim) a->rotary_dim = static_cast<int64_t>(dims);
}

constexpr RenamedPart kDeltaParts[] = {
    {"a_log", "A_log"}, {"output_norm.", "norm."}, {"o_proj.", "out_proj."}};

}  // namespace

void ReadQwenHybrid(KeyReader* r, int64_t num_kv_heads, ModelConfig* m) {
  r->Int("hidden_size", &m->hidden_size);
  r->Int("num_hidden_layers", &m->num_layers);
  ReadIntermediateSize(r, m);
  r->Real("rms_norm_eps", &m->norm_eps);
  RequireSwiGlu(r);
  RefuseSlidingWindow(r);
  r->Only("attention_bias", false, "projections have no bias");
  r->Only("attention_dropout", 0.0, "there is no dropout");
  DeltaMixerConfig d{.decay = DeltaDecay::kPerHead,
                     .num_heads = 16,
                     .num_value_heads = 32,
                     .output_gate = OutputGate::kSilu};
  r->Count("linear_num_key_heads", &d.num_heads);
  r->Count("linear_num_value_heads", &d.num_value_heads);
  r->Count("linear_key_head_dim", &d.key_dim);
  r->Count("linear_value_head_dim", &d.value_dim);
  r->Count("linear_conv_kernel_dim", &d.conv_width);
  AttentionMixerConfig a;
  ReadAttention(r, num_kv_heads, *m, &a);
  int64_t interval = 4;
  r->Count("full_attention_interval", &interval);
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

std::vector<std::string> WhyNotQwenHybrid(const ModelConfig& m) {
  const std::vector<MixerConfig> layers = MixersInFull(m);
  std::vector<std::string> why;
  const MixerConfig* own = OwnMixer(layers, IsDelta, /*hybrid=*/true, &why);
  if (own == nullptr) return why;
  const auto& d = *own->As<DeltaMixerConfig>();
  if (d.decay != DeltaDecay::kPerHead) {
    return {"its delta-rule layers are gated_delta_net"};
  }
  if (!d.learned_beta || d.negative_eigenvalues) {
    why.push_back("its beta is learned, in (0, 1) (learned_beta, negative_eigenvalues)");
  }
  if (d.output_gate != OutputGate::kSilu || d.output_gate_rank > 0) {
    why.push_back("its output_gate is silu, of one matrix (output_gate_rank)");
  }
  if (d.output_norm_eps.has_value()) {
    why.push_back("its output norms have its norm_eps (output_norm_eps)");
  }
  if (d.conv_width < 1) why.push_back("its gated_delta_net has a convolution (conv_width)");
  const AttentionMixerConfig* a = nullptr;
  for (const MixerConfig& mixer : layers) {
    const auto* next = mixer.As<AttentionMixerConfig>();
    if (next == nullptr || (a != nullptr && *next == *a)) continue;
    if (a != nullptr) {
      why.push_back("its config.json has room for one kind of attention");
      break;
    }
    a = next;
  }
  if (a != nullptr) {
    if (!a->qk_norm || a->qk_norm_eps != m.norm_eps) {
      why.push_back("its attention has qk_norm, with its norm_eps (qk_norm_eps)");
    }
    if (a->qk_norm_scope != QkNormScope::kHead) why.push_back("its qk_norm_scope is head");
    if (a->post_norm) why.push_back("its norms stand before the layers (post_norm)");
    if (a->output_gate != OutputGate::kSigmoid) {
      why.push_back("its attention's output_gate is sigmoid");
    }
    if (!a->rope) why.push_back("its attention always rotates (rope: false)");
    if (a->window > 0) why.push_back("its attention has no window");
    if (a->qkv_bias || a->output_bias) why.push_back("its attention has no biases");
  }
  if (m.mlp_bias) why.push_back("its MLP has no bias (mlp_bias)");
  return why;
}

void WriteQwenHybrid(const ModelConfig& m, json* c) {
  json& config = *c;
  DeltaMixerConfig d;
  AttentionMixerConfig a{.head_dim = 256, .rotary_dim = 64};  // if there is none, any numbers do
  json types = json::array();
  for (const MixerConfig& mixer : MixersInFull(m)) {
    const auto* delta = mixer.As<DeltaMixerConfig>();
    if (delta != nullptr) d = *delta;
    if (delta == nullptr) a = *mixer.As<AttentionMixerConfig>();
    types.push_back(delta != nullptr ? kLinear : kFull);
  }
  config["rms_norm_eps"] = m.norm_eps;
  config["hidden_act"] = "silu";
  config["attention_bias"] = false;
  config["attention_dropout"] = 0.0;
  config["layer_types"] = types;
  config["linear_num_key_heads"] = d.num_heads;
  config["linear_num_value_heads"] = d.num_value_heads;
  config["linear_key_head_dim"] = d.key_dim;
  config["linear_value_head_dim"] = d.value_dim;
  config["linear_conv_kernel_dim"] = d.conv_width;
  config["num_attention_heads"] = a.num_heads;
  config["num_key_value_heads"] = a.num_kv_heads > 0 ? a.num_kv_heads : a.num_heads;
  config["head_dim"] = a.head_dim;
  const int64_t rotary = a.rotary_dim > 0 ? a.rotary_dim : a.head_dim;
  WriteRopeTheta(a.rope_theta, c, static_cast<double>(rotary) / static_cast<double>(a.head_dim));
}

HfTensor QwenMixerTensor(absl::string_view name, const Shape& shape, const MixerConfig& mixer,
                         QwenProjection projection) {
  if (const auto* a = mixer.As<AttentionMixerConfig>()) {
    if (name != "q_proj.weight" && name != "gate_proj.weight") {
      return {.name = absl::StrCat("self_attn.", name), .shape = shape};
    }
    // Head by head the rows of its query, then those of its gate.
    const int64_t D = shape[0] / a->num_heads;
    return {.name = "self_attn.q_proj.weight",
            .shape = {2 * shape[0], shape[1]},
            .rows = GroupedRows(a->num_heads, name == "q_proj.weight" ? 0 : D, D, 2 * D)};
  }
  const auto& d = *mixer.As<DeltaMixerConfig>();
  const int64_t keys = d.num_heads * d.key_dim;
  const int64_t values = (d.num_value_heads > 0 ? d.num_value_heads : d.num_heads) * d.value_dim;
  for (const auto& [conv, begin] : {std::pair<absl::string_view, int64_t>{"q_conv.weight", 0},
                                    {"k_conv.weight", keys},
                                    {"v_conv.weight", 2 * keys}}) {
    if (name != conv) continue;
    return {.name = "linear_attn.conv1d.weight",
            .shape = {2 * keys + values, shape[1], shape[2]},
            .rows = RowRange(begin, shape[0])};
  }
  if (absl::EndsWith(name, "_proj.weight") && name != "o_proj.weight") {
    return projection(name, shape, d);
  }
  return {.name = absl::StrCat("linear_attn.", Renamed(name, kDeltaParts)), .shape = shape};
}

std::vector<int64_t> RowRange(int64_t begin, int64_t count) {
  return GroupedRows(1, begin, count, 0);
}

std::vector<int64_t> GroupedRows(int64_t groups, int64_t begin, int64_t count, int64_t stride) {
  std::vector<int64_t> rows;
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t i = 0; i < count; ++i) rows.push_back(begin + g * stride + i);
  }
  return rows;
}

}  // namespace wyvern
