#include "trainer/hf/families/qwen_hybrid.h"

#include <cmath>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "layers/mixers/attention/attention_config.h"
#include "trainer/hf/common_keys.h"
#include "trainer/hf/families/gdn_hybrid.h"
#include "trainer/hf/families/transformers.h"

namespace wyvern {
namespace {

using nlohmann::json;

void ReadAttention(KeyReader* r, int64_t num_kv_heads, const ModelConfig& m,
                   AttentionMixerConfig* a) {
  *a = {.num_heads = 16,
        .num_kv_heads = num_kv_heads,
        .head_dim = 256,
        .qk_norm = true,
        .qk_norm_eps = m.norm_eps,
        .output_gate = OutputGate::kSigmoid};
  ReadHeads(r, a);
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
  ReadSizes(r, m);
  RefuseSlidingWindow(r);
  r->Only("attention_bias", false, "projections have no bias");
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
  ReadHybridLayers(r, d, a, interval, m);
}

std::vector<std::string> WhyNotQwenHybrid(const ModelConfig& m) {
  std::vector<std::string> why;
  const HybridMixers mixers = CheckHybrid(m, &why);
  if (!mixers.delta.has_value()) return why;
  if (mixers.delta->negative_eigenvalues) {
    why.push_back("needs beta in (0, 1) (negative_eigenvalues: false)");
  }
  if (mixers.delta->output_norm_eps.has_value()) {
    why.push_back("needs output norms with the model's norm_eps (output_norm_eps)");
  }
  if (!mixers.attention.has_value()) return why;
  const AttentionMixerConfig& a = *mixers.attention;
  if (!a.qk_norm || a.qk_norm_eps != m.norm_eps) {
    why.push_back("needs attention with qk_norm of the model's norm_eps (qk_norm_eps)");
  }
  if (a.qk_norm_scope != QkNormScope::kHead) why.push_back("needs qk_norm_scope: head");
  if (a.post_norm) why.push_back("needs norms before the layers (post_norm: false)");
  if (a.output_gate != OutputGate::kSigmoid) {
    why.push_back("needs attention with an output_gate of sigmoid");
  }
  if (!a.rope) why.push_back("needs attention that rotates (rope: true)");
  return why;
}

void WriteQwenHybrid(const ModelConfig& m, json* config) {
  WriteHybrid(m, {.head_dim = 256, .rotary_dim = 64}, config);
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
  if (const auto convolution = JoinedConvolution(name, shape, d)) return *convolution;
  if (absl::EndsWith(name, "_proj.weight") && name != "o_proj.weight") {
    return projection(name, shape, d);
  }
  return {.name = absl::StrCat("linear_attn.", Renamed(name, kDeltaParts)), .shape = shape};
}

}  // namespace wyvern
