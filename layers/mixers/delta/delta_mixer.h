#ifndef WYVERN_LAYERS_MIXERS_DELTA_DELTA_MIXER_H_
#define WYVERN_LAYERS_MIXERS_DELTA_DELTA_MIXER_H_

#include <memory>

#include "autograd/ops/delta_rule/gated_delta_rule.h"
#include "layers/linear.h"
#include "layers/mixer.h"
#include "layers/mixers/delta/delta_config.h"
#include "layers/model_config.h"

namespace wyvern {

// DeltaNet (arXiv 2406.06484), Gated DeltaNet (2412.06464) and Kimi Delta Attention (2510.26692).
//
//   q, k, v = SiLU(Conv(x W_q)), SiLU(Conv(x W_k)), SiLU(Conv(x W_v))
//   o       = GatedDeltaRule(q, k, v, beta logit x W_b, gate x W_a (KDA: or x W_a0 W_a1))
//   y       = (RMSNorm_head(o) * act(x W_g)) W_o
//
// L2 norms, beta's sigmoid, dt_bias and A_log act inside GatedDeltaRule.
class DeltaMixer : public Mixer {
 public:
  DeltaMixer(const ModelConfig& model, const DeltaMixerConfig& config);
  Var Forward(Tape& tape, const Var& x, const Packing& packing, MixerCache* cache) const override;
  std::unique_ptr<MixerCache> NewCache(int64_t num_sequences) const override;

 private:
  DeltaMixerConfig config_;
  int64_t num_value_heads_;
  Linear q_proj_, k_proj_, v_proj_;
  ShortConvolution q_conv_, k_conv_, v_conv_;
  std::unique_ptr<Linear> beta_proj_;
  std::unique_ptr<Linear> decay_proj_, decay_up_;  // with decay_up_, decay_proj_ is the first step
  Parameter* a_log_ = nullptr;
  Parameter* dt_bias_ = nullptr;
  std::unique_ptr<Linear> gate_proj_, gate_up_;
  Norm output_norm_;
  Linear o_proj_;
  std::unique_ptr<LinearGroup> inputs_;  // every matrix that x meets
  std::unique_ptr<LinearGroup> heads_;   // but those with a row a head, if they would misalign it
  ShortConvolutionGroup convolutions_;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_DELTA_DELTA_MIXER_H_
