#ifndef WYVERN_LAYERS_MIXERS_MLA_MLA_CONFIG_H_
#define WYVERN_LAYERS_MIXERS_MLA_MLA_CONFIG_H_

#include <cstdint>

#include "layers/faults.h"
#include "layers/output_gate.h"

namespace wyvern {

class ConfigVisitor;
struct ModelConfig;

// A number of the output gate scales one channel, or a head's whole output.
enum class OutputGateScope { kChannel, kHead };

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
  OutputGateScope output_gate_scope = OutputGateScope::kChannel;

  int64_t QueryDim() const { return qk_nope_dim + qk_rope_dim; }

  const char* TypeName() const { return "mla"; }
  void Visit(ConfigVisitor& v);
  void Validate(const ModelConfig& model, Faults faults) const;
  bool HasQkClip() const { return true; }
  bool operator==(const MlaMixerConfig&) const = default;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_MLA_MLA_CONFIG_H_
