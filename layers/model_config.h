#ifndef WYVERN_LAYERS_MODEL_CONFIG_H_
#define WYVERN_LAYERS_MODEL_CONFIG_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kernels/moe/moe_route.h"
#include "layers/mixer_config.h"

namespace wyvern {

// Mixture of experts in the place of the MLP; equations in kernels/moe/moe_route.h.
struct MoeConfig {
  int64_t num_experts = 0;
  int64_t experts_per_token = 8;
  int64_t intermediate_size = 0;  // of one expert
  int64_t shared_experts = 1;     // that every token visits, as one SwiGLU of their joint width
  bool shared_gate = false;       // whose output a gate of each token scales
  int64_t first_dense = 1;        // leading layers that keep the MLP
  int64_t every = 1;              // of the others, those whose number from 0 is a multiple of it
  RouterScore router = RouterScore::kSigmoid;
  bool renormalize = true;  // a token's weights add up to `scale`
  double scale = 1;         // of the weights
  int64_t groups = 1;       // runs of experts ...
  int64_t top_groups = 1;   // ... of which a token's experts lie in so many

  bool operator==(const MoeConfig&) const = default;
};

struct ModelConfig {
  int64_t vocab_size = 32000;
  int64_t hidden_size = 2048;
  int64_t num_layers = 24;
  int64_t intermediate_size = 0;  // SwiGLU; 0: 256 ceil(int(hidden_size 8 / 3) / 256)
  bool mlp = true;                // false: a block is its mixer alone, as in Mamba
  bool mlp_bias = false;
  bool tie_embeddings = false;
  double norm_eps = 1e-6;  // of every norm, the mixers' output norms included
  // Norms of blocks, of the head and of attention's q and k scale by weight + 1.
  bool zero_centered_norms = false;
  double initializer_range = 0.02;  // standard deviation of matrices, convolutions, embeddings
  int64_t padding_id = -1;          // this row of the embedding gets no gradient; -1: none
  // Mixers by name, and where each stands: `pattern` repeats over the layers; `at` then overrides
  // single layers, numbered from 1 as in the papers.
  std::map<std::string, MixerConfig> mixers;
  std::vector<std::string> pattern;
  std::map<std::string, std::vector<int64_t>> at;
  std::optional<MoeConfig> moe;  // unset: every layer has the MLP

  bool operator==(const ModelConfig&) const = default;

  int64_t IntermediateSize() const;
  // The mixer of layer i, numbered from 0. The configuration must be valid.
  const MixerConfig& MixerOfLayer(int64_t i) const;
  // Whether layer i, numbered from 0, has experts.
  bool IsMoe(int64_t i) const;
  // Every error, each naming its key ("model.mixers.delta.key_dim: ..."); empty when valid.
  std::vector<std::string> Validate() const;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MODEL_CONFIG_H_
