#ifndef WYVERN_LAYERS_MODEL_CONFIG_H_
#define WYVERN_LAYERS_MODEL_CONFIG_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "kernels/delta_rule/gated_delta_rule.h"
#include "kernels/moe/moe_route.h"

namespace wyvern {

enum class OutputGate { kNone, kSilu, kSigmoid };

// Token mixer of DeltaNet (decay none), Gated DeltaNet (per head) and KDA (per channel).
struct DeltaMixerConfig {
  DeltaDecay decay = DeltaDecay::kNone;
  int64_t num_heads = 16;
  int64_t num_value_heads = 0;             // a multiple of num_heads; 0: num_heads
  int64_t key_dim = 128;                   // per head
  int64_t value_dim = 128;                 // per head
  int64_t conv_width = 4;                  // 0: SiLU without a convolution
  bool learned_beta = true;                // false: beta = 1 and no projection
  bool negative_eigenvalues = false;       // beta in (0, 2)
  std::optional<double> gate_lower_bound;  // KDA: bounded gate; unset: softplus
  int64_t decay_rank = 0;                  // KDA's two-step decay projection; 0: value_dim
  OutputGate output_gate = OutputGate::kNone;
  int64_t output_gate_rank = 0;  // two-step projection of that rank; 0: one matrix
  bool output_gate_bias = true;  // of the second step

  bool operator==(const DeltaMixerConfig&) const = default;
};

// Causal softmax attention.
struct AttentionMixerConfig {
  int64_t num_heads = 16;
  int64_t num_kv_heads = 0;  // 0: num_heads
  int64_t head_dim = 0;      // 0: hidden_size / num_heads
  int64_t window = 0;        // tokens seen, itself included; 0: all
  bool rope = true;
  double rope_theta = 10000;
  bool qkv_bias = false;
  bool output_bias = false;
  bool qk_norm = false;  // RMS norm of each head's q and k before RoPE
  double qk_norm_eps = 1e-5;
  OutputGate output_gate = OutputGate::kNone;  // none or sigmoid, full rank

  bool operator==(const AttentionMixerConfig&) const = default;
};

// Multi-head latent attention (arXiv 2405.04434): causal softmax attention whose keys and values
// come from one latent vector a token. A head's queries and keys have qk_nope_dim dims of its own
// and qk_rope_dim behind them, of which the keys' are shared by all heads; the latter rotate if
// `rope`, else nothing does (2510.26692).
struct MlaMixerConfig {
  int64_t num_heads = 32;
  int64_t q_lora_rank = 0;  // queries in two steps with a norm between them; 0: one matrix
  int64_t kv_lora_rank = 512;
  int64_t qk_nope_dim = 128;  // per head
  int64_t qk_rope_dim = 64;
  int64_t value_dim = 128;        // per head
  double latent_norm_eps = 1e-6;  // of the norms of the latent vectors
  bool rope = false;
  double rope_theta = 10000;
  OutputGate output_gate = OutputGate::kNone;  // none or sigmoid, full rank

  int64_t QueryDim() const { return qk_nope_dim + qk_rope_dim; }
  bool operator==(const MlaMixerConfig&) const = default;
};

using MixerConfig = std::variant<DeltaMixerConfig, AttentionMixerConfig, MlaMixerConfig>;

// Mixture of experts in the place of the MLP; equations in kernels/moe/moe_route.h.
struct MoeConfig {
  int64_t num_experts = 0;
  int64_t experts_per_token = 8;
  int64_t intermediate_size = 0;  // of one expert
  int64_t shared_experts = 1;     // that every token visits, as one SwiGLU of their joint width
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
  bool mlp_bias = false;
  bool tie_embeddings = false;
  double norm_eps = 1e-6;           // of every norm, the mixers' output norms included
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
  // Every fault, each naming its key ("model.mixers.delta.key_dim: ..."); empty when valid.
  std::vector<std::string> Validate() const;
};

// "delta_net", "gated_delta_net", "kda", "attention" or "mla".
std::string TypeName(const MixerConfig& mixer);

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MODEL_CONFIG_H_
