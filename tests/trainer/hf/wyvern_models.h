// Small models for the family that holds any: some of other families, and what none of these can
// hold.
#ifndef WYVERN_TESTS_TRAINER_HF_WYVERN_MODELS_H_
#define WYVERN_TESTS_TRAINER_HF_WYVERN_MODELS_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/runtime/random.h"
#include "tests/trainer/hf/hf_models.h"

namespace wyvern {

inline std::vector<std::pair<std::string, ModelConfig>> WyvernTestModels() {
  std::vector<std::pair<std::string, ModelConfig>> models;
  for (const char* name :
       {"delta_net", "delta_net_plain", "gated_plain", "kda_bounded", "gla_conv", "mamba2",
        "mamba2_groups", "llama_biases", "olmo_hybrid", "kimi_steps"}) {
    models.emplace_back(name, HfTestModelNamed(name));
  }
  const DeltaMixerConfig gdn{.decay = DeltaDecay::kPerHead,
                             .num_heads = 2,
                             .key_dim = 8,
                             .value_dim = 12,
                             .output_gate = OutputGate::kSigmoid,
                             .output_gate_rank = 6,
                             .output_norm_eps = 1e-4};
  const DeltaMixerConfig kda{.decay = DeltaDecay::kPerChannel,
                             .num_heads = 3,
                             .num_value_heads = 6,
                             .key_dim = 10,
                             .value_dim = 6,
                             .conv_width = 2,
                             .negative_eigenvalues = true,
                             .l2_norm_eps = 1e-3,
                             .decay_rank = 4,
                             .output_gate = OutputGate::kSilu};
  const AttentionMixerConfig window{.num_heads = 2, .window = 7};
  const GlaMixerConfig gla{.num_heads = 3,
                           .key_dim = 6,
                           .value_dim = 10,
                           .decay_rank = 5,
                           .decay_normalizer = 4,
                           .output_gate = OutputGate::kSigmoid};
  const AttentionMixerConfig gated{.num_heads = 4,
                                   .num_kv_heads = 2,
                                   .head_dim = 10,
                                   .window = 30,
                                   .rope_theta = 300,
                                   .rotary_dim = 4,
                                   .qkv_bias = true,
                                   .output_bias = true,
                                   .qk_norm = true,
                                   .qk_norm_scope = QkNormScope::kToken,
                                   .qk_norm_eps = 1e-3,
                                   .output_gate = OutputGate::kSigmoid,
                                   .post_norm = true};
  const MlaMixerConfig mla{.num_heads = 3,
                           .q_lora_rank = 9,
                           .kv_lora_rank = 11,
                           .qk_nope_dim = 5,
                           .qk_rope_dim = 6,
                           .value_dim = 7,
                           .latent_norm_eps = 1e-4,
                           .rope = true,
                           .rope_theta = 700,
                           .output_gate = OutputGate::kSigmoid};
  ModelConfig quickstart = HfTestModel(gdn, {{kda, {2}}, {window, {3}}});
  quickstart.num_layers = 3;
  quickstart.tie_embeddings = true;
  ModelConfig everything = HfTestModel(gdn, {{kda, {2}}, {gated, {3, 6}}, {mla, {4}}, {gla, {5}}});
  everything.num_layers = 6;
  everything.intermediate_size = 48;
  everything.mlp_bias = true;
  everything.norm_eps = 1e-5;
  everything.zero_centered_norms = true;
  everything.padding_id = 2;
  DeltaMixerConfig kda_in_full = kda;
  kda_in_full.decay_rank = DeltaMixerConfig::kFullRank;
  MlaMixerConfig mla_by_head = mla;
  mla_by_head.output_gate_scope = OutputGateScope::kHead;
  ModelConfig experts = everything;
  experts.mixers["attention_0"] = kda_in_full;
  experts.mixers["attention_2"] = mla_by_head;
  experts.mlp_bias = false;
  experts.moe = MoeConfig{.num_experts = 6,
                          .experts_per_token = 2,
                          .intermediate_size = 10,
                          .shared_experts = 1,
                          .shared_gate = true,
                          .first_dense = 2,
                          .every = 2,
                          .scale = 1.5,
                          .groups = 3,
                          .top_groups = 2};
  ModelConfig lone_experts = experts;  // groups of one expert, none that is shared
  lone_experts.moe->shared_experts = 0;
  lone_experts.moe->shared_gate = false;
  lone_experts.moe->router = RouterScore::kSoftmax;
  lone_experts.moe->every = 1;
  lone_experts.moe->groups = 6;
  lone_experts.moe->top_groups = 3;
  lone_experts.pattern = {"mixer", "attention_1"};
  models.emplace_back("quickstart", quickstart);
  models.emplace_back("everything", everything);
  models.emplace_back("experts", experts);
  models.emplace_back("lone_experts", lone_experts);
  return models;
}

inline ModelConfig WyvernTestModelNamed(const std::string& wanted) {
  for (const auto& [name, model] : WyvernTestModels()) {
    if (name == wanted) return model;
  }
  std::abort();
}

// With gains and biases, those of routers too, other than what they begin as, which would hide that
// one is left out.
inline std::unique_ptr<Model> MakeUnevenModel(const ModelConfig& config) {
  auto model = Model::Create(config, Device::kCpu, DType::kFloat32, false);
  model->Initialize(11);
  const auto add_noise = [](const std::string& name, const Tensor& values, double deviation) {
    const Random random(12, name);
    for (int64_t i = 0; i < values.numel(); ++i) {
      values.data<float>()[i] += static_cast<float>(deviation * random.Normal(i));
    }
  };
  for (const Parameter* p : model->parameters()) {
    if (p->kind == ParameterKind::kBias || p->kind == ParameterKind::kNorm) {
      add_noise(p->name, p->value, 0.3);
    }
  }
  for (const ModelBuffer* buffer : model->buffers()) add_noise(buffer->name, buffer->value, 0.1);
  return model;
}

}  // namespace wyvern

#endif  // WYVERN_TESTS_TRAINER_HF_WYVERN_MODELS_H_
