#ifndef WYVERN_LAYERS_MIXERS_DELTA_DELTA_CONFIG_H_
#define WYVERN_LAYERS_MIXERS_DELTA_DELTA_CONFIG_H_

#include <cstdint>
#include <optional>

#include "kernels/delta_rule/gated_delta_rule.h"
#include "layers/faults.h"
#include "layers/output_gate.h"

namespace wyvern {

class ConfigVisitor;
struct ModelConfig;

// Token mixer of DeltaNet (decay none), Gated DeltaNet (per head) and KDA (per channel).
struct DeltaMixerConfig {
  // An output_gate_rank that Visit replaces by value_dim, once that has been read.
  static constexpr int64_t kValueDim = -1;
  static constexpr int64_t kFullRank = -1;  // a decay_rank

  DeltaDecay decay = DeltaDecay::kNone;
  int64_t num_heads = 16;
  int64_t num_value_heads = 0;             // a multiple of num_heads; 0: num_heads
  int64_t key_dim = 128;                   // per head
  int64_t value_dim = 128;                 // per head
  int64_t conv_width = 4;                  // 0: SiLU without a convolution
  bool learned_beta = true;                // false: beta = 1 and no projection
  bool negative_eigenvalues = false;       // beta in (0, 2)
  double l2_norm_eps = 1e-6;               // of the norms of q and k
  std::optional<double> gate_lower_bound;  // KDA: bounded gate; unset: softplus
  int64_t decay_rank = 0;  // KDA's two-step decay projection; 0: value_dim; kFullRank: one matrix
  OutputGate output_gate = OutputGate::kNone;
  int64_t output_gate_rank = 0;           // two-step projection of that rank; 0: one matrix
  bool output_gate_bias = true;           // of the second step
  std::optional<double> output_norm_eps;  // unset: the model's norm_eps

  const char* TypeName() const;  // by the decay
  void Visit(ConfigVisitor& v);
  void Validate(const ModelConfig& model, Faults faults) const;
  bool operator==(const DeltaMixerConfig&) const = default;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_DELTA_DELTA_CONFIG_H_
