#ifndef WYVERN_LAYERS_MIXERS_ATTENTION_ATTENTION_MIXER_H_
#define WYVERN_LAYERS_MIXERS_ATTENTION_ATTENTION_MIXER_H_

#include <memory>

#include "layers/linear.h"
#include "layers/mixer.h"
#include "layers/mixers/attention/attention_config.h"
#include "layers/model_config.h"

namespace wyvern {

// Causal softmax attention, full or over a sliding window, with grouped query heads.
//
//   q, k, v = x W_q, x W_k, x W_v;   q, k = RoPE(RMSNorm(q)), RoPE(RMSNorm(k))
//   y       = (Attention(q, k, v) * sigmoid(x W_g)) W_o
//
// Norm, RoPE and gate as configured. QK-clip scales a head's queries and keys alike; keys that
// several query heads share stay as they are, and the queries take all of it. Behind a norm logits
// do not grow with W_q and W_k, and nothing is clipped.
class AttentionMixer : public Mixer {
 public:
  AttentionMixer(const ModelConfig& model, const AttentionMixerConfig& config);
  Var Forward(Tape& tape, const Var& x, const Packing& packing, MixerCache* cache) const override;
  std::unique_ptr<MixerCache> NewCache(int64_t num_sequences) const override;
  std::vector<QkRows> qk_rows() const override;

 private:
  // [T, heads * head_dim] -> [T, heads, head_dim], normalised and rotated as configured.
  Var PrepareHeads(Tape& tape, const Var& x, int64_t num_heads, const std::unique_ptr<Norm>& norm,
                   const Packing& packing) const;

  AttentionMixerConfig config_;
  int64_t num_kv_heads_, head_dim_;
  Linear q_proj_, k_proj_, v_proj_;
  std::unique_ptr<Norm> q_norm_, k_norm_;
  std::unique_ptr<Linear> gate_proj_;
  Linear o_proj_;
  LinearGroup qkv_;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_ATTENTION_ATTENTION_MIXER_H_
