// kimi-linear: KDA and MLA without positions, dense layers first and then layers with experts.
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/mixers/mla/mla_config.h"
#include "trainer/gguf/architecture.h"
#include "trainer/hf/own_mixer.h"
#include "trainer/hf/tensor_names.h"

namespace wyvern {
namespace {

struct Mixers {
  std::optional<DeltaMixerConfig> kda;
  std::optional<MlaMixerConfig> mla;
};

Mixers MixersOf(const ModelConfig& m) {
  Mixers mixers;
  for (const MixerConfig& mixer : MixersInFull(m)) {
    if (const auto* d = mixer.As<DeltaMixerConfig>()) mixers.kda = *d;
    if (const auto* a = mixer.As<MlaMixerConfig>()) mixers.mla = *a;
  }
  return mixers;
}

// Whether a token's experts lie in fewer groups than there are.
bool HasGroups(const MoeConfig& moe) { return moe.top_groups < moe.groups; }

void CheckExperts(const MoeConfig& moe, std::vector<std::string>* why) {
  if (moe.every > 1) why->push_back("needs experts in all layers behind the dense ones (every: 1)");
  if (moe.shared_experts < 1) why->push_back("needs a shared expert (shared_experts)");
  if (!moe.renormalize) {
    why->push_back("needs weights of a token's experts that add up to scale (renormalize: true)");
  }
  if (HasGroups(moe) && moe.num_experts / moe.groups < 2) {
    why->push_back("needs two experts or more in a group (groups)");
  }
}

std::vector<std::string> WhyNot(const ModelConfig& m) {
  std::vector<std::string> why;
  const Mixers mixers = MixersOf(m);
  const MlaMixerConfig& mla = *mixers.mla;
  if (mla.q_lora_rank > 0) why.push_back("needs mla whose queries are one matrix (q_lora_rank: 0)");
  if (mla.output_gate != OutputGate::kNone) why.push_back("needs mla without an output_gate");
  if (m.moe.has_value()) CheckExperts(*m.moe, &why);
  if (!mixers.kda.has_value()) {
    why.push_back("needs a layer of kda");
    return why;
  }
  const DeltaMixerConfig& kda = *mixers.kda;
  if (kda.gate_lower_bound.has_value()) why.push_back("needs kda without a gate_lower_bound");
  if (kda.output_gate_rank == 0) why.push_back("needs kda whose output_gate_rank is key_dim");
  if (kda.num_heads != mla.num_heads) {
    why.push_back("needs as many heads in kda as in mla (num_heads)");
  }
  return why;
}

std::vector<std::string> Warnings(const ModelConfig& m) {
  const double eps = MixersOf(m).kda->l2_norm_eps;  // the latent norms' too
  if (m.norm_eps == eps) return {};
  return {
      absl::StrCat("llama.cpp takes norm_eps ", m.norm_eps,
                   " for the L2 norms of q and k and the norms of latent vectors too, where this "
                   "model has ",
                   eps)};
}

void WriteExperts(const MoeConfig& moe, GgufKeys* keys) {
  constexpr int64_t kSoftmax = 1, kSigmoid = 2;  // llama.cpp's numbers
  if (moe.num_experts > 0) keys->Count("expert_count", moe.num_experts);
  if (moe.num_experts > 0) keys->Count("expert_used_count", moe.experts_per_token);
  keys->Count("expert_feed_forward_length", moe.intermediate_size);
  keys->Count("expert_shared_count", moe.shared_experts);
  keys->Count("leading_dense_block_count", moe.first_dense);
  keys->Real("expert_weights_scale", moe.scale);
  keys->Count("expert_gating_func", moe.router == RouterScore::kSigmoid ? kSigmoid : kSoftmax);
  if (!HasGroups(moe)) return;
  keys->Count("expert_group_count", moe.groups);
  keys->Count("expert_group_used_count", moe.top_groups);
}

void Write(const ModelConfig& m, GgufKeys* keys) {
  const Mixers mixers = MixersOf(m);
  const MlaMixerConfig& mla = *mixers.mla;
  // Attention is over the latent vectors, which are one key head; none tells a layer of KDA.
  std::vector<int32_t> key_heads;
  for (const MixerConfig& mixer : MixersInFull(m)) key_heads.push_back(IsDelta(mixer) ? 0 : 1);
  keys->Count("attention.head_count", mla.num_heads);
  keys->Add("attention.head_count_kv", key_heads);
  keys->Count("attention.kv_lora_rank", mla.kv_lora_rank);
  keys->Count("attention.key_length", mla.kv_lora_rank + mla.qk_rope_dim);
  keys->Count("attention.value_length", mla.kv_lora_rank);
  keys->Count("attention.key_length_mla", mla.QueryDim());
  keys->Count("attention.value_length_mla", mla.value_dim);
  keys->Count("rope.dimension_count", mla.qk_rope_dim);
  keys->Count("ssm.conv_kernel", mixers.kda->conv_width);
  keys->Count("kda.head_dim", mixers.kda->key_dim);
  // A model without experts has all its layers dense.
  WriteExperts(m.moe.value_or(MoeConfig{.shared_experts = 0, .first_dense = m.num_layers}), keys);
}

// Queries meet the latent vectors, so that a head's rows of the keys stand the other way round.
std::vector<GgufPart> KeysAndValues(const Shape& shape, const MlaMixerConfig& mla) {
  const int64_t H = mla.num_heads, K = mla.qk_nope_dim, V = mla.value_dim;
  return {{.tensor = "attn_k_b.weight",
           .shape = {H, shape[1], K},
           .begin = 0,
           .count = H * K,
           .change = GgufChange::kTransposed},
          {.tensor = "attn_v_b.weight", .shape = {H, V, shape[1]}, .begin = H * K, .count = H * V}};
}

constexpr RenamedPart kParts[] = {
    {"mixer.q_conv.", "ssm_conv1d_q."},      {"mixer.k_conv.", "ssm_conv1d_k."},
    {"mixer.v_conv.", "ssm_conv1d_v."},      {"mixer.decay_down.", "ssm_f_a."},
    {"mixer.decay_up.", "ssm_f_b."},         {"mixer.beta_proj.", "ssm_beta."},
    {"mixer.dt_bias", "ssm_dt.bias"},        {"mixer.gate_down.", "ssm_g_a."},
    {"mixer.gate_up.", "ssm_g_b."},          {"mixer.output_norm.", "ssm_norm."},
    {"mixer.kv_a_proj.", "attn_kv_a_mqa."},  {"mixer.kv_norm.", "attn_kv_a_norm."},
    {"moe.router.bias", "exp_probs_b.bias"},
};

std::vector<GgufPart> LayerParts(absl::string_view name, const Shape& shape,
                                 const MixerConfig& mixer) {
  if (name == "mixer.kv_b_proj.weight") return KeysAndValues(shape, *mixer.As<MlaMixerConfig>());
  if (name == "mixer.a_log") {
    return {{.tensor = "ssm_a", .shape = {1, 1, shape[0], 1}, .change = GgufChange::kNegativeExp}};
  }
  GgufPart part = PlainGgufPart(name, shape);
  if (part.tensor == name) part.tensor = Renamed(name, kParts);
  if (absl::EndsWith(name, "_conv.weight")) part.shape = {1, shape[0], 1, shape[1]};
  if (name == "mixer.dt_bias") part.shape = {NumElements(shape)};
  return {part};
}

}  // namespace

const GgufArchitecture kGgufKimiLinear = {.name = "kimi-linear",
                                          .family = "kimi_linear",
                                          .ties_head = false,
                                          .why_not = WhyNot,
                                          .warnings = Warnings,
                                          .write = Write,
                                          .layer_parts = LayerParts};

}  // namespace wyvern
