#ifndef WYVERN_LAYERS_MIXERS_ATTENTION_ATTENTION_CONFIG_H_
#define WYVERN_LAYERS_MIXERS_ATTENTION_ATTENTION_CONFIG_H_

#include <cstdint>

#include "layers/faults.h"
#include "layers/output_gate.h"

namespace wyvern {

class ConfigVisitor;
struct ModelConfig;

// A norm of queries or of keys spans one head, or all heads of a token (OLMo 2, arXiv 2501.00656).
enum class QkNormScope { kHead, kToken };

// Causal softmax attention.
struct AttentionMixerConfig {
  int64_t num_heads = 16;
  int64_t num_kv_heads = 0;  // 0: num_heads
  int64_t head_dim = 0;      // 0: hidden_size / num_heads
  int64_t window = 0;        // tokens seen, itself included; 0: all
  bool rope = true;
  double rope_theta = 10000;
  int64_t rotary_dim = 0;  // leading dims of a head that rotate; 0: all
  bool qkv_bias = false;
  bool output_bias = false;
  bool qk_norm = false;  // RMS norm of q and k before RoPE
  QkNormScope qk_norm_scope = QkNormScope::kHead;
  double qk_norm_eps = 1e-5;
  OutputGate output_gate = OutputGate::kNone;  // none or sigmoid, full rank
  bool post_norm = false;                      // of the block: layers/block.h

  const char* TypeName() const { return "attention"; }
  void Visit(ConfigVisitor& v);
  void Validate(const ModelConfig& model, Faults faults) const;
  bool HasQkClip() const { return !qk_norm; }
  bool HasPostNorm() const { return post_norm; }
  bool operator==(const AttentionMixerConfig&) const = default;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_ATTENTION_ATTENTION_CONFIG_H_
