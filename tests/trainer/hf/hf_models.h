// Small models of every exchangeable family, beyond those in the golden folders.
#ifndef WYVERN_TESTS_TRAINER_HF_HF_MODELS_H_
#define WYVERN_TESTS_TRAINER_HF_HF_MODELS_H_

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/mixers/gla/gla_config.h"
#include "layers/mixers/mamba2/mamba2_config.h"
#include "layers/mixers/mla/mla_config.h"
#include "layers/model.h"
#include "trainer/hf/hf_config.h"
#include "trainer/hf/tensor_names.h"

namespace wyvern {

// A folder that vanishes with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = testing::TempDir() + "wyvern_hf_XXXXXX";
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string operator/(const std::string& name) const { return absl::StrCat(path_, "/", name); }

 private:
  std::string path_;
};

// `at`: other mixers, with the layers from 1 that they take; `mixer` has the rest.
inline ModelConfig HfTestModel(MixerConfig mixer,
                               std::vector<std::pair<MixerConfig, std::vector<int64_t>>> at = {}) {
  ModelConfig m{.vocab_size = 29,
                .hidden_size = 32,
                .num_layers = 4,
                .intermediate_size = 40,
                .initializer_range = 0.2};
  m.mixers["mixer"] = std::move(mixer);
  m.pattern = {"mixer"};
  for (auto& [attention, layers] : at) {
    const std::string name = absl::StrCat("attention_", m.at.size());
    m.mixers[name] = attention;
    m.at[name] = layers;
  }
  return m;
}

inline std::vector<std::pair<std::string, ModelConfig>> HfTestModels() {
  const DeltaMixerConfig delta_net{.num_heads = 2, .key_dim = 16, .value_dim = 16};
  DeltaMixerConfig delta_net_expanded = delta_net;
  delta_net_expanded.key_dim = 8;
  delta_net_expanded.value_dim = 20;
  delta_net_expanded.output_gate = OutputGate::kSilu;
  delta_net_expanded.negative_eigenvalues = true;
  DeltaMixerConfig delta_net_plain = delta_net;
  delta_net_plain.conv_width = 0;
  delta_net_plain.learned_beta = false;
  const DeltaMixerConfig gated{.decay = DeltaDecay::kPerHead,
                               .num_heads = 2,
                               .num_value_heads = 4,
                               .key_dim = 12,
                               .value_dim = 18,
                               .output_gate = OutputGate::kSilu};
  DeltaMixerConfig gated_plain = gated;
  gated_plain.output_gate = OutputGate::kNone;
  gated_plain.negative_eigenvalues = true;
  gated_plain.num_value_heads = 0;
  const DeltaMixerConfig kda{.decay = DeltaDecay::kPerChannel,
                             .num_heads = 2,
                             .key_dim = 16,
                             .value_dim = 8,
                             .output_gate = OutputGate::kSigmoid,
                             .output_gate_rank = 8};
  DeltaMixerConfig kda_bounded = kda;
  kda_bounded.gate_lower_bound = -3.5;
  kda_bounded.num_value_heads = 6;
  kda_bounded.decay_rank = 8;
  const GlaMixerConfig gla{.num_heads = 2, .key_dim = 8, .value_dim = 12};
  GlaMixerConfig gla_conv = gla;
  gla_conv.conv_width = 3;
  gla_conv.min_log_decay = -0.25;
  gla_conv.output_gate = OutputGate::kNone;
  ModelConfig mamba2 =
      HfTestModel(Mamba2MixerConfig{.num_heads = 4, .head_dim = 8, .state_dim = 6});
  mamba2.mlp = false;
  mamba2.intermediate_size = 0;
  ModelConfig mamba2_groups = mamba2;
  mamba2_groups.tie_embeddings = true;
  mamba2_groups.mixers["mixer"] = Mamba2MixerConfig{.num_heads = 8,
                                                    .head_dim = 4,
                                                    .state_dim = 5,
                                                    .num_groups = 2,
                                                    .conv_width = 3,
                                                    .conv_bias = false,
                                                    .bias = true,
                                                    .min_dt = 0.001,
                                                    .max_dt = 0.1};
  const AttentionMixerConfig global{.num_heads = 4};
  const AttentionMixerConfig window{
      .num_heads = 2, .num_kv_heads = 1, .window = 5, .rope_theta = 500, .qkv_bias = true};
  AttentionMixerConfig normed = global;
  normed.qk_norm = true;
  AttentionMixerConfig biased{
      .num_heads = 2, .num_kv_heads = 1, .head_dim = 24, .qkv_bias = true, .output_bias = true};
  const DeltaMixerConfig kimi_kda{.decay = DeltaDecay::kPerChannel,
                                  .num_heads = 2,
                                  .key_dim = 8,
                                  .value_dim = 8,
                                  .output_gate = OutputGate::kSigmoid,
                                  .output_gate_rank = 8,
                                  .output_gate_bias = false};
  const MlaMixerConfig mla{
      .num_heads = 2, .kv_lora_rank = 12, .qk_nope_dim = 8, .qk_rope_dim = 4, .value_dim = 6};
  MlaMixerConfig mla_steps = mla;
  mla_steps.q_lora_rank = 10;
  DeltaMixerConfig kimi_bounded = kimi_kda;
  kimi_bounded.gate_lower_bound = -5;
  kimi_bounded.output_gate_rank = 0;
  kimi_bounded.output_gate_bias = true;
  MlaMixerConfig mla_gated = mla_steps;
  mla_gated.output_gate = OutputGate::kSigmoid;
  DeltaMixerConfig ling_kda = kimi_bounded;
  ling_kda.decay_rank = DeltaMixerConfig::kFullRank;
  MlaMixerConfig ling_mla = mla_gated;
  ling_mla.q_lora_rank = 0;
  ling_mla.rope = true;
  ling_mla.rope_theta = 500;
  ling_mla.output_gate_scope = OutputGateScope::kHead;
  ModelConfig ling = HfTestModel(ling_kda, {{ling_mla, {2, 4}}});
  ling.moe = MoeConfig{.num_experts = 8,
                       .experts_per_token = 2,
                       .intermediate_size = 12,
                       .scale = 2.5,
                       .groups = 4,
                       .top_groups = 2};
  ling_kda.gate_lower_bound.reset();
  ling_mla.q_lora_rank = 10;
  ModelConfig tied = HfTestModel(delta_net);
  tied.tie_embeddings = true;
  tied.padding_id = 3;
  ModelConfig llama_biases = HfTestModel(biased);
  llama_biases.mlp_bias = true;
  llama_biases.norm_eps = 1e-5;
  ModelConfig kimi = HfTestModel(kimi_kda, {{mla, {2, 4}}});
  kimi.moe =
      MoeConfig{.num_experts = 6, .experts_per_token = 2, .intermediate_size = 12, .scale = 2.446};
  ModelConfig kimi_steps = HfTestModel(kimi_kda, {{mla_steps, {3}}});
  kimi_steps.moe = MoeConfig{.num_experts = 8,
                             .experts_per_token = 3,
                             .intermediate_size = 8,
                             .shared_experts = 2,
                             .first_dense = 0,
                             .every = 2,
                             .router = RouterScore::kSoftmax,
                             .renormalize = false,
                             .groups = 4,
                             .top_groups = 2};
  AttentionMixerConfig qwen = normed;
  qwen.qk_norm_eps = 1e-6;
  AttentionMixerConfig qwen_window = qwen;
  qwen_window.window = 6;
  AttentionMixerConfig mistral = global;
  mistral.num_kv_heads = 2;
  mistral.window = 7;
  AttentionMixerConfig gated_attention = qwen;
  gated_attention.num_kv_heads = 2;
  gated_attention.head_dim = 12;
  gated_attention.rotary_dim = 6;
  gated_attention.output_gate = OutputGate::kSigmoid;
  ModelConfig qwen3_5 = HfTestModel(gated, {{gated_attention, {2, 4}}});
  qwen3_5.zero_centered_norms = true;
  ModelConfig qwen3_next = qwen3_5;
  qwen3_next.moe = MoeConfig{.num_experts = 6,
                             .experts_per_token = 2,
                             .intermediate_size = 8,
                             .shared_experts = 2,
                             .shared_gate = true,
                             .router = RouterScore::kSoftmax};
  DeltaMixerConfig olmo_delta = gated;
  olmo_delta.negative_eigenvalues = true;
  olmo_delta.output_norm_eps = 1e-5;
  AttentionMixerConfig olmo_attention = normed;
  olmo_attention.num_kv_heads = 2;
  olmo_attention.rope = false;
  olmo_attention.qk_norm_scope = QkNormScope::kToken;
  olmo_attention.qk_norm_eps = 1e-6;
  olmo_attention.post_norm = true;
  AttentionMixerConfig olmo_rotating = olmo_attention;
  olmo_rotating.rope = true;
  olmo_rotating.rope_theta = 500;
  // One model a line, so that additions merge.
  return {
      {"delta_net", tied},
      {"delta_net_expanded", HfTestModel(delta_net_expanded)},
      {"delta_net_plain", HfTestModel(delta_net_plain)},
      {"delta_net_global", HfTestModel(delta_net, {{global, {2, 3}}})},
      {"gated_value_heads", HfTestModel(gated)},
      {"gated_plain", HfTestModel(gated_plain)},
      {"gated_hybrid", HfTestModel(gated, {{window, {1, 3}}, {global, {4}}})},
      {"kda", HfTestModel(kda)},
      {"kda_bounded", HfTestModel(kda_bounded, {{global, {4}}})},
      {"gla", HfTestModel(gla)},
      {"gla_conv", HfTestModel(gla_conv, {{window, {2}}})},
      {"mamba2", mamba2},
      {"mamba2_groups", mamba2_groups},
      {"transformer_qk_norm", HfTestModel(normed)},
      {"transformer_window", HfTestModel(window)},
      {"llama", HfTestModel(global)},
      {"llama_biases", llama_biases},
      {"mistral", HfTestModel(mistral)},
      {"qwen3", HfTestModel(qwen)},
      {"qwen3_window", HfTestModel(qwen, {{qwen_window, {1, 3}}})},
      {"olmo_hybrid", HfTestModel(olmo_delta, {{olmo_attention, {3}}})},
      {"olmo_hybrid_rotating", HfTestModel(olmo_delta, {{olmo_rotating, {1, 4}}})},
      {"qwen3_5", qwen3_5},
      {"qwen3_next", qwen3_next},
      {"kimi", kimi},
      {"kimi_steps", kimi_steps},
      {"kimi_mla", HfTestModel(mla)},
      {"kimi_gates", HfTestModel(kimi_bounded, {{mla_gated, {3, 4}}})},
      {"ling", ling},
      {"ling_dense", HfTestModel(ling_kda, {{ling_mla, {1, 4}}})},
      {"ling_mla", HfTestModel(ling_mla)},
  };
}

inline std::vector<std::string> HfTestModelNames() {
  std::vector<std::string> names;
  for (const auto& [name, model] : HfTestModels()) names.push_back(name);
  return names;
}

inline ModelConfig HfTestModelNamed(const std::string& wanted) {
  for (const auto& [name, model] : HfTestModels()) {
    if (name == wanted) return model;
  }
  std::abort();
}

// Zeroes the buffers for which a folder of the model has no place.
inline void ZeroWhatFoldersLeaveOut(Model* model) {
  const HfFamily& family = *WriteHfConfig(model->config(), {})->family;
  for (const ModelBuffer* buffer : model->buffers()) {
    if (HfTensorsOf(*buffer, model->config(), family).empty()) buffer->value.FillZero();
  }
}

// Logits of 40 fixed tokens in two documents.
inline std::vector<float> TestLogits(Model* model) {
  std::vector<int32_t> ids(40);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>((7 * i + i * i) % 29);
  Tape tape(/*recording=*/false);
  const Var hidden = model->Hidden(tape, Tensor::FromVector(ids, {40}),
                                   Packing::FromDocuments({0, 25, 40}, Device::kCpu));
  return model->Logits(hidden.value()).ToVector<float>();
}

}  // namespace wyvern

#endif  // WYVERN_TESTS_TRAINER_HF_HF_MODELS_H_
