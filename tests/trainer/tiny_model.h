// A model small enough for tests, with every kind of mixer.
#ifndef WYVERN_TESTS_TRAINER_TINY_MODEL_H_
#define WYVERN_TESTS_TRAINER_TINY_MODEL_H_

#include <memory>

#include "layers/mixers/attention/attention_config.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/model.h"
#include "trainer/config/run_config.h"

namespace wyvern {

inline ModelConfig TinyConfig(int64_t vocab_size) {
  ModelConfig config;
  config.vocab_size = vocab_size;
  config.hidden_size = 32;
  config.num_layers = 4;
  config.intermediate_size = 48;
  // Large enough for the logits to differ clearly between tokens.
  config.initializer_range = 0.3;
  DeltaMixerConfig delta;
  delta.num_heads = 2;
  delta.key_dim = 16;
  delta.value_dim = 16;
  config.mixers["delta"] = delta;
  delta.decay = DeltaDecay::kPerHead;
  delta.output_gate = OutputGate::kSilu;
  config.mixers["gated"] = delta;
  delta.decay = DeltaDecay::kPerChannel;
  delta.output_gate = OutputGate::kSigmoid;
  delta.output_gate_rank = 16;
  config.mixers["kda"] = delta;
  AttentionMixerConfig sliding;
  sliding.num_heads = 2;
  sliding.window = 6;
  config.mixers["sliding"] = sliding;
  config.pattern = {"delta", "gated", "kda", "sliding"};
  return config;
}

inline std::unique_ptr<Model> TinyModel(int64_t vocab_size, uint64_t seed = 1) {
  std::unique_ptr<Model> model =
      Model::Create(TinyConfig(vocab_size), Device::kCpu, DType::kFloat32);
  model->Initialize(seed);
  return model;
}

// A run of this model in fp32 on the CPU.
inline RunConfig TinyRunConfig(int64_t seq_len, const TrainSection& train) {
  RunConfig config;
  config.run.name = "tiny";
  config.run.device = Device::kCpu;
  config.run.precision = DType::kFloat32;
  config.model = TinyConfig(50);
  config.data.seq_len = seq_len;
  config.train = train;
  return config;
}

}  // namespace wyvern

#endif  // WYVERN_TESTS_TRAINER_TINY_MODEL_H_
