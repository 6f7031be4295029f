#include "tests/layers/tiny_models.h"

#include "absl/strings/str_cat.h"
#include "kernels/runtime/random.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/mixers/gla/gla_config.h"
#include "layers/mixers/mamba2/mamba2_config.h"
#include "layers/mixers/mla/mla_config.h"

namespace wyvern {

ModelConfig TinyModel(std::vector<MixerConfig> mixers) {
  ModelConfig m{.vocab_size = 13,
                .hidden_size = 8,
                .num_layers = static_cast<int64_t>(mixers.size()),
                .intermediate_size = 12,
                .norm_eps = 1e-3,  // heads whose output is almost zero would defeat differences
                .initializer_range = 0.4};
  for (size_t i = 0; i < mixers.size(); ++i) {
    m.pattern.push_back(absl::StrCat("mixer_", i));
    m.mixers[m.pattern.back()] = std::move(mixers[i]);
  }
  return m;
}

std::map<std::string, ModelConfig> TinyModels() {
  const DeltaMixerConfig delta_net{.num_heads = 2, .key_dim = 4, .value_dim = 3};
  const DeltaMixerConfig delta_net_gated{.num_heads = 2,
                                         .key_dim = 3,
                                         .value_dim = 4,
                                         .conv_width = 0,
                                         .negative_eigenvalues = true,
                                         .output_gate = OutputGate::kSilu};
  const DeltaMixerConfig delta_net_beta_one{
      .num_heads = 1, .key_dim = 4, .value_dim = 4, .conv_width = 1, .learned_beta = false};
  const DeltaMixerConfig gated{.decay = DeltaDecay::kPerHead,
                               .num_heads = 2,
                               .num_value_heads = 4,
                               .key_dim = 3,
                               .value_dim = 5,
                               .conv_width = 3,
                               .output_gate = OutputGate::kSilu,
                               .output_norm_eps = 2e-3};
  const DeltaMixerConfig kda{.decay = DeltaDecay::kPerChannel,
                             .num_heads = 2,
                             .key_dim = 4,
                             .value_dim = 4,
                             .output_gate = OutputGate::kSigmoid,
                             .output_gate_rank = 4};
  DeltaMixerConfig kda_bounded = kda;
  kda_bounded.gate_lower_bound = -2.5;
  kda_bounded.num_value_heads = 4;
  kda_bounded.decay_rank = 3;
  DeltaMixerConfig kda_full_rank = kda_bounded;
  kda_full_rank.decay_rank = DeltaMixerConfig::kFullRank;
  kda_full_rank.output_gate_rank = 0;
  kda_full_rank.l2_norm_eps = 0.2;
  const GlaMixerConfig gla{.num_heads = 2, .key_dim = 4, .value_dim = 5, .decay_rank = 3};
  const GlaMixerConfig gla_conv{.num_heads = 2,
                                .key_dim = 3,
                                .value_dim = 4,
                                .conv_width = 3,
                                .decay_rank = 2,
                                .decay_normalizer = 2,
                                .min_log_decay = -0.9,
                                .output_gate = OutputGate::kNone};
  const Mamba2MixerConfig mamba2{.num_heads = 2, .head_dim = 3, .state_dim = 4};
  const Mamba2MixerConfig mamba2_groups{.num_heads = 4,
                                        .head_dim = 2,
                                        .state_dim = 3,
                                        .num_groups = 2,
                                        .conv_width = 3,
                                        .conv_bias = false,
                                        .bias = true,
                                        .min_dt = 0.01,
                                        .max_dt = 0.05};
  const AttentionMixerConfig global{.num_heads = 2};
  const AttentionMixerConfig window{.num_heads = 4, .num_kv_heads = 2, .window = 5};
  const AttentionMixerConfig full{.num_heads = 2,
                                  .num_kv_heads = 1,
                                  .head_dim = 6,
                                  .rope_theta = 100,
                                  .qkv_bias = true,
                                  .output_bias = true,
                                  .qk_norm = true,
                                  .output_gate = OutputGate::kSigmoid};
  AttentionMixerConfig post_norm = global;
  post_norm.qk_norm = true;
  post_norm.qk_norm_scope = QkNormScope::kToken;
  post_norm.post_norm = true;
  AttentionMixerConfig no_rope = global;
  no_rope.rope = false;
  const MlaMixerConfig mla{
      .num_heads = 2, .kv_lora_rank = 6, .qk_nope_dim = 3, .qk_rope_dim = 2, .value_dim = 4};
  const MlaMixerConfig mla_with_everything{.num_heads = 3,
                                           .q_lora_rank = 5,
                                           .kv_lora_rank = 9,
                                           .qk_nope_dim = 4,
                                           .qk_rope_dim = 4,
                                           .value_dim = 3,
                                           .latent_norm_eps = 1e-3,
                                           .rope = true,
                                           .rope_theta = 100,
                                           .output_gate = OutputGate::kSigmoid};
  MlaMixerConfig mla_head_gate = mla;
  mla_head_gate.output_gate = OutputGate::kSigmoid;
  mla_head_gate.output_gate_scope = OutputGateScope::kHead;
  std::map<std::string, ModelConfig> all = {
      {"delta_net", TinyModel({delta_net})},
      {"delta_net_gated", TinyModel({delta_net_gated})},
      {"delta_net_beta_one", TinyModel({delta_net_beta_one})},
      {"gated_delta_net", TinyModel({gated})},
      {"kda", TinyModel({kda})},
      {"kda_bounded", TinyModel({kda_bounded})},
      {"kda_full_rank", TinyModel({kda_full_rank})},
      {"gla", TinyModel({gla})},
      {"gla_conv", TinyModel({gla_conv, window})},
      {"mamba2", TinyModel({mamba2, mamba2})},
      {"mamba2_hybrid", TinyModel({mamba2_groups, window})},
      {"attention", TinyModel({global})},
      {"window", TinyModel({window})},
      {"attention_with_everything", TinyModel({full})},
      {"mla", TinyModel({mla})},
      {"mla_with_everything", TinyModel({mla_with_everything})},
      {"mla_head_gate", TinyModel({mla_head_gate})},
      {"kimi_linear", TinyModel({kda, kda, mla})},
      {"olmo_hybrid", TinyModel({post_norm, gated, post_norm})},
      {"hybrid", TinyModel({delta_net, window, gated, no_rope, kda_bounded})}};
  all["gated_delta_net"].tie_embeddings = true;
  all["gated_delta_net"].padding_id = 2;
  all["kda"].padding_id = 2;
  all["mamba2"].mlp = false;
  all["mamba2"].intermediate_size = 0;
  all["attention_with_everything"].mlp_bias = true;
  ModelConfig moe = TinyModel({no_rope, kda, gated});
  moe.moe = MoeConfig{.num_experts = 6,
                      .experts_per_token = 2,
                      .intermediate_size = 5,
                      .scale = 2.446,
                      .groups = 3,
                      .top_groups = 2};
  all["moe"] = moe;
  moe.moe = MoeConfig{.num_experts = 4,
                      .experts_per_token = 3,
                      .intermediate_size = 7,
                      .shared_experts = 0,
                      .first_dense = 0,
                      .every = 2,
                      .router = RouterScore::kSoftmax,
                      .renormalize = false};
  all["moe_softmax"] = moe;
  AttentionMixerConfig partial = full;
  partial.rotary_dim = 4;
  ModelConfig qwen3_next = TinyModel({gated, partial});
  qwen3_next.zero_centered_norms = true;
  qwen3_next.moe = MoeConfig{.num_experts = 4,
                             .experts_per_token = 2,
                             .intermediate_size = 3,
                             .shared_experts = 2,
                             .shared_gate = true,
                             .first_dense = 0,
                             .router = RouterScore::kSoftmax};
  all["qwen3_next"] = qwen3_next;
  return all;
}

std::vector<std::string> TinyModelNames() {
  std::vector<std::string> names;
  for (const auto& [name, model] : TinyModels()) names.push_back(name);
  return names;
}

ModelConfig TinyModelNamed(const std::string& name) { return TinyModels().at(name); }

std::vector<int32_t> TinyIds(int64_t count, int64_t vocab_size, uint64_t seed) {
  const Random random(seed, "ids");
  std::vector<int32_t> ids(count);
  for (int64_t i = 0; i < count; ++i) {
    ids[i] = static_cast<int32_t>(random.Below(i, vocab_size));
  }
  return ids;
}

Tensor IdTensor(const std::vector<int32_t>& ids) {
  return Tensor::FromVector(ids, {static_cast<int64_t>(ids.size())});
}

}  // namespace wyvern
