#ifndef WYVERN_LAYERS_MIXERS_GLA_GLA_MIXER_H_
#define WYVERN_LAYERS_MIXERS_GLA_GLA_MIXER_H_

#include <memory>

#include "layers/linear.h"
#include "layers/mixer.h"
#include "layers/mixers/gla/gla_config.h"
#include "layers/model_config.h"

namespace wyvern {

// Gated linear attention (arXiv 2312.06635).
//
//   q, k, v = x W_q, x W_k, x W_v           with convolutions SiLU(Conv(.)) of each
//   o       = GatedLinearAttention(q, k, v, decay logit x W_a0 W_a1 + b)
//   y       = (RMSNorm_head(o) * act(x W_g)) W_o
class GlaMixer : public Mixer {
 public:
  GlaMixer(const ModelConfig& model, const GlaMixerConfig& config);
  // Requires a packing that is not cut over ranks.
  Var Forward(Tape& tape, const Var& x, const Packing& packing, MixerCache* cache) const override;
  std::unique_ptr<MixerCache> NewCache(int64_t num_sequences) const override;

 private:
  GlaMixerConfig config_;
  Linear q_proj_, k_proj_, v_proj_;
  ShortConvolution q_conv_, k_conv_, v_conv_;
  Linear decay_down_, decay_up_;
  std::unique_ptr<Linear> gate_proj_;
  Norm output_norm_;
  Linear o_proj_;
  std::unique_ptr<LinearGroup> inputs_;  // every matrix that x meets
  ShortConvolutionGroup convolutions_;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_GLA_GLA_MIXER_H_
