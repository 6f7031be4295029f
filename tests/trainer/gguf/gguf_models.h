// Small models of every architecture that goes into GGUF files.
#ifndef WYVERN_TESTS_TRAINER_GGUF_GGUF_MODELS_H_
#define WYVERN_TESTS_TRAINER_GGUF_GGUF_MODELS_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/runtime/random.h"
#include "tests/trainer/hf/hf_models.h"

namespace wyvern {

// Their vocabulary has two ids more than the tokenizer of bytes.
inline std::vector<std::pair<std::string, ModelConfig>> GgufTestModels() {
  const auto make = [](MixerConfig mixer,
                       std::vector<std::pair<MixerConfig, std::vector<int64_t>>> at = {}) {
    ModelConfig m = HfTestModel(std::move(mixer), std::move(at));
    m.vocab_size = 260;
    return m;
  };
  AttentionMixerConfig attention{.num_heads = 4, .num_kv_heads = 2, .head_dim = 12};
  const ModelConfig llama = make(attention);
  attention.qkv_bias = attention.output_bias = true;
  attention.rope_theta = 500;
  ModelConfig llama_biases = make(attention);
  llama_biases.mlp_bias = llama_biases.tie_embeddings = true;
  const ModelConfig qwen3 = make(AttentionMixerConfig{
      .num_heads = 4, .num_kv_heads = 2, .qk_norm = true, .qk_norm_eps = 1e-6});
  const DeltaMixerConfig gdn{.decay = DeltaDecay::kPerHead,
                             .num_heads = 2,
                             .num_value_heads = 4,
                             .key_dim = 16,
                             .value_dim = 16,
                             .output_gate = OutputGate::kSilu};
  const AttentionMixerConfig gated{.num_heads = 4,
                                   .num_kv_heads = 2,
                                   .head_dim = 16,
                                   .rotary_dim = 8,
                                   .qk_norm = true,
                                   .qk_norm_eps = 1e-6,
                                   .output_gate = OutputGate::kSigmoid};
  ModelConfig qwen3next = make(gdn, {{gated, {2, 3}}});
  qwen3next.zero_centered_norms = true;
  qwen3next.moe = MoeConfig{.num_experts = 6,
                            .experts_per_token = 2,
                            .intermediate_size = 8,
                            .shared_experts = 2,
                            .shared_gate = true,
                            .first_dense = 0,
                            .router = RouterScore::kSoftmax};
  ModelConfig qwen35 = qwen3next;
  qwen35.moe.reset();
  const DeltaMixerConfig kda{.decay = DeltaDecay::kPerChannel,
                             .num_heads = 2,
                             .key_dim = 16,
                             .value_dim = 16,
                             .output_gate = OutputGate::kSigmoid,
                             .output_gate_rank = 16,
                             .output_gate_bias = false};
  const MlaMixerConfig mla{
      .num_heads = 2, .kv_lora_rank = 24, .qk_nope_dim = 12, .qk_rope_dim = 8, .value_dim = 10};
  ModelConfig kimi = make(kda, {{mla, {2, 4}}});
  kimi.tie_embeddings = true;
  kimi.moe = MoeConfig{.num_experts = 8,
                       .experts_per_token = 2,
                       .intermediate_size = 12,
                       .shared_experts = 2,
                       .scale = 2.446,
                       .groups = 4,
                       .top_groups = 2};
  // One model a line, so that additions merge.
  return {
      {"llama", llama},
      {"llama_biases", llama_biases},
      {"qwen3", qwen3},
      {"qwen3next", qwen3next},
      {"qwen35", qwen35},
      {"kimi_linear", kimi},
      {"kimi_linear_dense", make(kda, {{mla, {3}}})},
  };
}

// Those that the Hugging Face family has not, since its norms are the other way round.
inline std::vector<std::pair<std::string, ModelConfig>> GgufOnlyModels() {
  std::vector<std::pair<std::string, ModelConfig>> models;
  for (auto& [name, config] : GgufTestModels()) {
    if (name != "llama" && name != "qwen3next") continue;
    config.zero_centered_norms = !config.zero_centered_norms;
    models.emplace_back(name + "_other_norms", config);
  }
  return models;
}

inline ModelConfig GgufTestModelNamed(const std::string& wanted) {
  for (const auto& [name, model] : GgufTestModels()) {
    if (name == wanted) return model;
  }
  std::abort();
}

// With biases and gains that would show a swap, and routers' biases where the file has them.
inline std::unique_ptr<Model> MakeGgufTestModel(const ModelConfig& config) {
  auto model = Model::Create(config, Device::kCpu, DType::kFloat32, false);
  model->Initialize(11);
  const auto vary = [](const std::string& name, const Tensor& values) {
    const Random random(12, name);
    for (int64_t i = 0; i < values.numel(); ++i) {
      values.data<float>()[i] += static_cast<float>(0.3 * random.Normal(i));
    }
  };
  for (const Parameter* p : model->parameters()) {
    if (p->kind == ParameterKind::kBias || p->kind == ParameterKind::kNorm) vary(p->name, p->value);
  }
  const bool has_place = !config.moe.has_value() || config.moe->router == RouterScore::kSigmoid;
  for (const ModelBuffer* buffer : model->buffers()) {
    if (has_place) vary(buffer->name, buffer->value);
  }
  return model;
}

}  // namespace wyvern

#endif  // WYVERN_TESTS_TRAINER_GGUF_GGUF_MODELS_H_
