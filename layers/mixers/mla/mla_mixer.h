#ifndef WYVERN_LAYERS_MIXERS_MLA_MLA_MIXER_H_
#define WYVERN_LAYERS_MIXERS_MLA_MLA_MIXER_H_

#include <memory>
#include <vector>

#include "autograd/ops/attention/attention.h"
#include "layers/linear.h"
#include "layers/mixer.h"
#include "layers/mixers/mla/latent_cache.h"
#include "layers/mixers/mla/mla_config.h"
#include "layers/model_config.h"

namespace wyvern {

// Multi-head latent attention (arXiv 2405.04434), without positions in Kimi Linear (2510.26692).
//
//   q       = x W_q, or RMSNorm(x W_qa) W_qb      each head [own P | R]
//   [c | r] = x W_kva;   c = RMSNorm(c)           c [L] and r [R] serve all heads
//   [n | v] = c W_kvb                             own parts [P] of all heads' keys, then all values
//   y       = (Attention(q, [n | r], v) * sigmoid(x W_g)) W_o     a gate a channel, or a head
//
// The last R dims of q and r are rotated, and the output gated, as configured. The rows of W_kvb
// are those of a Hugging Face kv_b_proj, whose heads hold [n | v] each, in another order: values
// lie together, so that attention reads them where the matmul has put them.
//
// QK-clip scales the own parts of a head's queries and keys alike; r serves all heads, so that of
// its share of a logit the query's last R dims take all (arXiv 2507.20534).
//
// A continued sequence keeps [c | r] alone. Few new tokens attend to it directly, with W_kvb
// absorbed into queries and outputs (autograd/ops/attention/latent_attention.h); for many it is
// cheaper to make keys and values of all cached tokens again.
class MlaMixer : public Mixer {
 public:
  MlaMixer(const ModelConfig& model, const MlaMixerConfig& config);
  Var Forward(Tape& tape, const Var& x, const Packing& packing, MixerCache* cache) const override;
  std::unique_ptr<MixerCache> NewCache(int64_t num_sequences) const override;
  std::vector<QkRows> qk_rows() const override;

 private:
  // Queries [T, H, P + R] from the columns of the first matmul.
  Var Queries(Tape& tape, const Var& projected, const Packing& packing) const;
  // Attention [T, H, V] over keys and values made of c [Tk, L] and r [Tk, R].
  Var Expanded(Tape& tape, const Var& q, const Var& c, const Var& r,
               const Attention::Params& params) const;

  // Attention [T, H, V] of the queries of one sequence over its latent rows [Tk, L + R].
  Var Continued(Tape& tape, const Var& q, const Tensor& latent) const;
  // The same for every sequence, one by one. Which way is taken depends on a sequence's own
  // lengths, so its result does not depend on the others.
  Var Continued(Tape& tape, const Var& q, const LatentCache::View& seen,
                const Packing& packing) const;

  MlaMixerConfig config_;
  Linear q_proj_;                 // or, of two steps, the first
  std::unique_ptr<Norm> q_norm_;  // of two steps
  std::unique_ptr<Linear> q_b_proj_;
  Linear kv_a_proj_;
  Norm kv_norm_;
  Linear kv_b_proj_;
  std::unique_ptr<Linear> gate_proj_;  // to a number a channel, or a head
  Linear o_proj_;
  LinearGroup inputs_;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_MIXERS_MLA_MLA_MIXER_H_
