// Gated DeltaNet and gated attention: qwen3next, whose layers all have experts, and qwen35, none of
// whose has.
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

std::vector<std::string> WhyNotQwen35(const ModelConfig& m) {
  std::vector<std::string> why;
  const Mixers mixers = MixersOf(m);
  if (mixers.delta->key_dim != mixers.delta->value_dim) {
    why.push_back("needs gated_delta_net whose key_dim is its value_dim");
  }
  if (!mixers.attention.has_value()) why.push_back("needs a layer of attention");
  return why;
}

std::vector<std::string> WhyNotQwen3Next(const ModelConfig& m) {
  std::vector<std::string> why = WhyNotQwen35(m);
  if (!m.moe.has_value() || m.moe->first_dense > 0 || m.moe->every > 1) {
    why.push_back("needs experts in all layers (moe, first_dense: 0, every: 1)");
  } else if (!m.moe->renormalize) {
    why.push_back("needs weights of a token's experts that add up to 1 (renormalize: true)");
  }
  return why;
}

std::vector<std::string> Warnings(const ModelConfig& m) {
  const double eps = MixersOf(m).delta->l2_norm_eps;
  if (m.norm_eps == eps) return {};
  return {absl::StrCat("llama.cpp takes norm_eps ", m.norm_eps,
                       " for the L2 norms of q and k too, where this model has ", eps)};
}

int64_t RotaryDim(const AttentionMixerConfig& a) {
  return a.rotary_dim > 0 ? a.rotary_dim : a.head_dim;
}

void WriteMixers(const Mixers& mixers, GgufKeys* keys) {
  const DeltaMixerConfig& d = *mixers.delta;
  const AttentionMixerConfig& a = *mixers.attention;
  keys->Count("attention.head_count", a.num_heads);
  keys->Count("attention.head_count_kv", a.num_kv_heads);
  keys->Count("attention.key_length", a.head_dim);
  keys->Count("attention.value_length", a.head_dim);
  keys->Count("rope.dimension_count", RotaryDim(a));
  keys->Real("rope.freq_base", a.rope_theta);
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

void WriteQwen3Next(const ModelConfig& m, GgufKeys* keys) {
  WriteMixers(MixersOf(m), keys);
  keys->Count("expert_count", m.moe->num_experts);
  keys->Count("expert_used_count", m.moe->experts_per_token);
  keys->Count("expert_feed_forward_length", m.moe->intermediate_size);
  keys->Count("expert_shared_feed_forward_length",
              m.moe->shared_experts * m.moe->intermediate_size);
}

void WriteQwen35(const ModelConfig& m, GgufKeys* keys) {
  const Mixers mixers = MixersOf(m);
  WriteMixers(mixers, keys);
  // Every third pair of dims rotates by a picture's time, its rows, its columns. In text these are
  // one position, so it matters alone that no pair is left out.
  const auto pairs = static_cast<int32_t>(RotaryDim(*mixers.attention) / 2);
  keys->Add("rope.dimension_sections",
            std::vector<int32_t>{(pairs + 2) / 3, (pairs + 1) / 3, pairs / 3, 0});
}

// Rows of value heads, `dim` each, from `begin` on. The value heads of a key head are neighbours
// here; in qwen35's files the first one of every key head comes first, then the second ones.
std::vector<int64_t> TiledRows(const DeltaMixerConfig& d, int64_t begin, int64_t dim) {
  const int64_t group = d.num_value_heads / d.num_heads;
  std::vector<int64_t> rows;
  for (int64_t head = 0; head < d.num_value_heads; ++head) {
    const int64_t tiled = head % group * d.num_heads + head / group;
    for (int64_t i = 0; i < dim; ++i) rows.push_back(begin + tiled * dim + i);
  }
  return rows;
}

// q, k and v lie one behind the other, in the projection and in the convolution.
GgufPart Joined(const char* tensor, absl::string_view name, const Shape& shape,
                const DeltaMixerConfig& d) {
  const int64_t keys = d.num_heads * d.key_dim, values = d.num_value_heads * d.value_dim;
  const int64_t begin = name[0] == 'q' ? 0 : name[0] == 'k' ? keys : 2 * keys;
  return {
      .tensor = tensor, .shape = {2 * keys + values, shape[1]}, .rows = RowRange(begin, shape[0])};
}

GgufPart DeltaPart(absl::string_view name, const Shape& shape, const DeltaMixerConfig& d) {
  if (absl::EndsWith(name, "_conv.weight")) return Joined("ssm_conv1d.weight", name, shape, d);
  if (name == "q_proj.weight" || name == "k_proj.weight" || name == "v_proj.weight") {
    return Joined("attn_qkv.weight", name, shape, d);
  }
  if (name == "a_log") {
    return {.tensor = "ssm_a", .shape = shape, .change = GgufChange::kNegativeExp};
  }
  constexpr RenamedPart kParts[] = {{"gate_proj.", "attn_gate."},  {"beta_proj.", "ssm_beta."},
                                    {"decay_proj.", "ssm_alpha."}, {"dt_bias", "ssm_dt.bias"},
                                    {"output_norm.", "ssm_norm."}, {"o_proj.", "ssm_out."}};
  return {.tensor = Renamed(name, kParts), .shape = shape};
}

GgufPart Qwen3NextDeltaPart(absl::string_view name, const Shape& shape, const DeltaMixerConfig& d) {
  if (name != "beta_proj.weight" && name != "decay_proj.weight") return DeltaPart(name, shape, d);
  // Key head by key head beta of its value heads, then their decay.
  const int64_t group = d.num_value_heads / d.num_heads;
  return {
      .tensor = "ssm_ba.weight",
      .shape = {2 * d.num_value_heads, shape[1]},
      .rows = GroupedRows(d.num_heads, name == "beta_proj.weight" ? 0 : group, group, 2 * group)};
}

GgufPart Qwen35DeltaPart(absl::string_view name, const Shape& shape, const DeltaMixerConfig& d) {
  GgufPart part = DeltaPart(name, shape, d);
  const int64_t keys = d.num_heads * d.key_dim;
  if (name == "v_proj.weight" || name == "v_conv.weight") {
    part.rows = TiledRows(d, 2 * keys, d.value_dim);
  } else if (name == "gate_proj.weight") {
    part.rows = TiledRows(d, 0, d.value_dim);
  } else if (name == "beta_proj.weight" || name == "decay_proj.weight" || name == "a_log" ||
             name == "dt_bias") {
    part.rows = TiledRows(d, 0, 1);
  } else if (name == "o_proj.weight") {
    part.columns = TiledRows(d, 0, d.value_dim);
  }
  return part;
}

// A layer's parameter outside of Gated DeltaNet.
GgufPart OtherPart(absl::string_view name, const Shape& shape, const MixerConfig& mixer) {
  if (name == "mlp_norm.weight") return {.tensor = "post_attention_norm.weight", .shape = shape};
  if (name != "mixer.q_proj.weight" && name != "mixer.gate_proj.weight") {
    return PlainGgufPart(name, shape);
  }
  // Head by head the rows of its query, then those of its gate.
  const auto& a = *mixer.As<AttentionMixerConfig>();
  return {.tensor = "attn_q.weight",
          .shape = {2 * shape[0], shape[1]},
          .rows = GroupedRows(a.num_heads, name == "mixer.q_proj.weight" ? 0 : a.head_dim,
                              a.head_dim, 2 * a.head_dim)};
}

std::vector<GgufPart> Qwen3NextParts(absl::string_view name, const Shape& shape,
                                     const MixerConfig& mixer) {
  if (name == "moe.router.bias") return {};  // the choice is by the scores alone
  if (name == "moe.shared_gate.weight") {
    return {{.tensor = "ffn_gate_inp_shexp.weight", .shape = shape}};
  }
  const auto* d = mixer.As<DeltaMixerConfig>();
  if (d != nullptr && absl::ConsumePrefix(&name, "mixer.")) {
    return {Qwen3NextDeltaPart(name, shape, *d)};
  }
  return {OtherPart(name, shape, mixer)};
}

std::vector<GgufPart> Qwen35Parts(absl::string_view name, const Shape& shape,
                                  const MixerConfig& mixer) {
  const auto* d = mixer.As<DeltaMixerConfig>();
  if (d != nullptr && absl::ConsumePrefix(&name, "mixer.")) {
    return {Qwen35DeltaPart(name, shape, *d)};
  }
  return {OtherPart(name, shape, mixer)};
}

}  // namespace

const GgufArchitecture kGgufQwen3Next = {.name = "qwen3next",
                                         .family = "qwen3_next",
                                         .why_not = WhyNotQwen3Next,
                                         .warnings = Warnings,
                                         .write = WriteQwen3Next,
                                         .layer_parts = Qwen3NextParts};
const GgufArchitecture kGgufQwen35 = {.name = "qwen35",
                                      .family = "qwen3_5_text",
                                      .why_not = WhyNotQwen35,
                                      .warnings = Warnings,
                                      .write = WriteQwen35,
                                      .layer_parts = Qwen35Parts};

}  // namespace wyvern
