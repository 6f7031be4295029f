#ifndef WYVERN_LAYERS_MIXERS_MAMBA2_MAMBA2_MIXER_H_
#define WYVERN_LAYERS_MIXERS_MAMBA2_MAMBA2_MIXER_H_

#include <memory>

#include "layers/linear.h"
#include "layers/mixer.h"
#include "layers/mixers/mamba2/mamba2_config.h"
#include "layers/model_config.h"

namespace wyvern {

// Mamba-2 (arXiv 2405.21060).
//
//   c       = Conv([x W_v | x W_k | x W_q])
//   v, k, q, g, u = MambaInputs(c, step logit x W_dt)      u the values before their steps
//   o       = GatedLinearAttention(q, k, v, log decays g)
//   y       = MambaOutput(o, u, x W_g) W_o                 skip, gate and norm
//
// The paper's B is k, its C is q.
class Mamba2Mixer : public Mixer {
 public:
  Mamba2Mixer(const ModelConfig& model, const Mamba2MixerConfig& config);
  // Requires a packing that is not cut over ranks.
  Var Forward(Tape& tape, const Var& x, const Packing& packing, MixerCache* cache) const override;
  std::unique_ptr<MixerCache> NewCache(int64_t num_sequences) const override;

 private:
  Mamba2MixerConfig config_;
  double norm_eps_;
  Linear gate_proj_, v_proj_, k_proj_, q_proj_, dt_proj_;
  Parameter* conv_weight_;
  Parameter* conv_bias_ = nullptr;
  Parameter *a_log_, *dt_bias_, *skip_, *norm_weight_;
  Linear o_proj_;
  LinearGroup inputs_;  // every matrix that x meets
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_MAMBA2_MAMBA2_MIXER_H_
