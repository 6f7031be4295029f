#ifndef WYVERN_LAYERS_MIXERS_MAMBA2_MAMBA2_CONFIG_H_
#define WYVERN_LAYERS_MIXERS_MAMBA2_MAMBA2_CONFIG_H_

#include <cstdint>
#include <optional>

#include "layers/faults.h"

namespace wyvern {

class ConfigVisitor;
struct ModelConfig;

// Mamba-2, arXiv 2405.21060. The defaults are those of its model of 370 million parameters.
struct Mamba2MixerConfig {
  int64_t num_heads = 32;
  int64_t head_dim = 64;    // of values
  int64_t state_dim = 128;  // of keys (B) and queries (C)
  int64_t num_groups = 1;   // of heads that share keys, queries and the output norm's mean square
  int64_t conv_width = 4;
  bool conv_bias = true;
  bool bias = false;             // of the projections
  double min_dt = 0;             // a step is held within these
  std::optional<double> max_dt;  // unset: no bound

  const char* TypeName() const { return "mamba2"; }
  void Visit(ConfigVisitor& v);
  void Validate(const ModelConfig& model, Faults faults) const;
  bool operator==(const Mamba2MixerConfig&) const = default;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_MAMBA2_MAMBA2_CONFIG_H_
