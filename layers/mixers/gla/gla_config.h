#ifndef WYVERN_LAYERS_MIXERS_GLA_GLA_CONFIG_H_
#define WYVERN_LAYERS_MIXERS_GLA_GLA_CONFIG_H_

#include <cstdint>
#include <optional>

#include "layers/faults.h"
#include "layers/output_gate.h"

namespace wyvern {

class ConfigVisitor;
struct ModelConfig;

// Gated linear attention, arXiv 2312.06635. The defaults are those of its model of 340 million
// parameters.
struct GlaMixerConfig {
  int64_t num_heads = 4;
  int64_t key_dim = 128;                // per head
  int64_t value_dim = 256;              // per head
  int64_t conv_width = 0;               // 0: neither a convolution nor its SiLU
  int64_t decay_rank = 16;              // of the two-step decay projection
  double decay_normalizer = 16;         // log decay = log(sigmoid(logit)) / decay_normalizer
  std::optional<double> min_log_decay;  // the log decay is at least this; unset: no bound
  OutputGate output_gate = OutputGate::kSilu;

  const char* TypeName() const { return "gla"; }
  void Visit(ConfigVisitor& v);
  void Validate(const ModelConfig& model, Faults faults) const;
  bool operator==(const GlaMixerConfig&) const = default;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_GLA_GLA_CONFIG_H_
