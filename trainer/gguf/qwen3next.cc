// qwen3next: Gated DeltaNet and gated attention, every layer with experts.
#include <algorithm>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "trainer/gguf/architecture.h"
#include "trainer/hf/own_mixer.h"
#include "trainer/hf/tensor_names.h"

namespace wyvern {
namespace {

struct Mixers {
  std::optional<DeltaMixerConfig> delta;
  std::optional<AttentionMixerConfig> attention;
  std::vector<bool> recurrent;  // by layer
};

Mixers MixersOf(const ModelConfig& m) {
  Mixers mixers;
  for (const MixerConfig& mixer : MixersInFull(m)) {
    if (const auto* d = mixer.As<DeltaMixerConfig>()) mixers.delta = *d;
    if (const auto* a = mixer.As<AttentionMixerConfig>()) mixers.attention = *a;
    mixers.recurrent.push_back(IsDelta(mixer));
  }
  return mixers;
}

// The n of which attention is every n-th layer; 0: there is none.
int64_t AttentionInterval(const std::vector<bool>& recurrent) {
  const auto first = std::find(recurrent.begin(), recurrent.end(), false);
  const int64_t n = first - recurrent.begin() + 1;
  for (size_t i = 0; i < recurrent.size(); ++i) {
    if (recurrent[i] == ((static_cast<int64_t>(i) + 1) % n == 0)) return 0;
  }
  return n;
}

std::vector<std::string> WhyNot(const ModelConfig& m) {
  std::vector<std::string> why;
  const Mixers mixers = MixersOf(m);
  if (mixers.delta->key_dim != mixers.delta->value_dim) {
    why.push_back("its gated_delta_net has one head dim for key_dim and value_dim");
  }
  if (!mixers.attention.has_value()) why.push_back("it has a layer of attention");
  if (!m.moe.has_value() || m.moe->first_dense > 0 || m.moe->every > 1) {
    why.push_back("all its layers have experts (moe, first_dense, every)");
  } else if (!m.moe->renormalize) {
    why.push_back("the weights of a token's experts add up to 1 (renormalize)");
  }
  return why;
}

std::vector<std::string> Warnings(const ModelConfig& m) {
  const double eps = MixersOf(m).delta->l2_norm_eps;
  if (m.norm_eps == eps) return {};
  return {absl::StrCat("llama.cpp takes norm_eps ", m.norm_eps,
                       " for the L2 norms of q and k too, where this model has ", eps)};
}

void Write(const ModelConfig& m, GgufKeys* keys) {
  const Mixers mixers = MixersOf(m);
  const DeltaMixerConfig& d = *mixers.delta;
  const AttentionMixerConfig& a = *mixers.attention;
  keys->Count("attention.head_count", a.num_heads);
  keys->Count("attention.head_count_kv", a.num_kv_heads);
  keys->Count("attention.key_length", a.head_dim);
  keys->Count("attention.value_length", a.head_dim);
  keys->Count("rope.dimension_count", a.rotary_dim > 0 ? a.rotary_dim : a.head_dim);
  keys->Real("rope.freq_base", a.rope_theta);
  keys->Count("expert_count", m.moe->num_experts);
  keys->Count("expert_used_count", m.moe->experts_per_token);
  keys->Count("expert_feed_forward_length", m.moe->intermediate_size);
  keys->Count("expert_shared_feed_forward_length",
              m.moe->shared_experts * m.moe->intermediate_size);
  keys->Count("ssm.conv_kernel", d.conv_width);
  keys->Count("ssm.state_size", d.key_dim);
  keys->Count("ssm.group_count", d.num_heads);
  keys->Count("ssm.time_step_rank", d.num_value_heads);
  keys->Count("ssm.inner_size", d.num_value_heads * d.value_dim);
  keys->Add("attention.recurrent_layers", mixers.recurrent);
  // Readers of before that key take every so many layers, the last of each run, for attention.
  if (const int64_t interval = AttentionInterval(mixers.recurrent); interval > 0) {
    keys->Count("full_attention_interval", interval);
  }
}

// q, k and v lie one behind the other, in the projection and in the convolution.
GgufPart Joined(const char* tensor, absl::string_view name, const Shape& shape,
                const DeltaMixerConfig& d) {
  const int64_t keys = d.num_heads * d.key_dim, values = d.num_value_heads * d.value_dim;
  const int64_t begin = name[0] == 'q' ? 0 : name[0] == 'k' ? keys : 2 * keys;
  return {.tensor = tensor,
          .shape = {2 * keys + values, shape[1]},
          .rows = RowRange(begin, shape[0])};
}

GgufPart DeltaPart(absl::string_view name, const Shape& shape, const DeltaMixerConfig& d) {
  const int64_t group = d.num_value_heads / d.num_heads;
  if (absl::EndsWith(name, "_conv.weight")) return Joined("ssm_conv1d.weight", name, shape, d);
  if (name == "q_proj.weight" || name == "k_proj.weight" || name == "v_proj.weight") {
    return Joined("attn_qkv.weight", name, shape, d);
  }
  if (name == "beta_proj.weight" || name == "decay_proj.weight") {
    // Key head by key head beta of its value heads, then their decay.
    return {.tensor = "ssm_ba.weight",
            .shape = {2 * d.num_value_heads, shape[1]},
            .rows = GroupedRows(d.num_heads, name == "beta_proj.weight" ? 0 : group, group,
                                2 * group)};
  }
  if (name == "a_log") {
    return {.tensor = "ssm_a", .shape = shape, .change = GgufChange::kNegativeExp};
  }
  constexpr RenamedPart kParts[] = {{"gate_proj.", "attn_gate."},
                                    {"dt_bias", "ssm_dt.bias"},
                                    {"output_norm.", "ssm_norm."},
                                    {"o_proj.", "ssm_out."}};
  return {.tensor = Renamed(name, kParts), .shape = shape};
}

std::vector<GgufPart> LayerParts(absl::string_view name, const Shape& shape,
                                 const MixerConfig& mixer) {
  if (name == "moe.router.bias") return {};  // the choice is by the scores alone
  if (name == "mlp_norm.weight") return {{.tensor = "post_attention_norm.weight", .shape = shape}};
  if (name == "moe.shared_gate.weight") {
    return {{.tensor = "ffn_gate_inp_shexp.weight", .shape = shape}};
  }
  const auto* d = mixer.As<DeltaMixerConfig>();
  if (d != nullptr && absl::ConsumePrefix(&name, "mixer.")) return {DeltaPart(name, shape, *d)};
  if (name == "mixer.q_proj.weight" || name == "mixer.gate_proj.weight") {
    // Head by head the rows of its query, then those of its gate.
    const auto& a = *mixer.As<AttentionMixerConfig>();
    return {{.tensor = "attn_q.weight",
             .shape = {2 * shape[0], shape[1]},
             .rows = GroupedRows(a.num_heads, name == "mixer.q_proj.weight" ? 0 : a.head_dim,
                                 a.head_dim, 2 * a.head_dim)}};
  }
  return {PlainGgufPart(name, shape)};
}

}  // namespace

const GgufArchitecture kGgufQwen3Next = {.name = "qwen3next",
                                         .family = "qwen3_next",
                                         .why_not = WhyNot,
                                         .warnings = Warnings,
                                         .write = Write,
                                         .layer_parts = LayerParts};

}  // namespace wyvern
