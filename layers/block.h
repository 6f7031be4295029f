#ifndef WYVERN_LAYERS_BLOCK_H_
#define WYVERN_LAYERS_BLOCK_H_

#include <memory>

#include "layers/linear.h"
#include "layers/mixer.h"
#include "layers/mlp.h"
#include "layers/moe.h"

namespace wyvern {

// The residual stream is residual + update. The two are added inside the next norm, in one pass
// over memory; before the first block there is no residual.
struct Stream {
  Var update, residual;  // [T, D]
};

// Pre-norm block: x <- x + mixer(norm(x)); x <- x + mlp(norm(x)), the MLP or a mixture of experts.
// Without an MLP (ModelConfig::mlp), the first of the two alone.
// Post-norm block (OLMo 2, arXiv 2501.00656): x <- x + norm(mixer(x)); x <- x + norm(mlp(x)).
// The unit of recomputation.
class Block : public Module {
 public:
  // Layer `index`, numbered from 0; `experts` as in Moe.
  Block(const ModelConfig& model, int64_t index, Communicator* experts);
  // `balance_factor` as in Moe::Forward.
  Stream Forward(Tape& tape, const Stream& x, const Packing& packing, MixerCache* cache,
                 double balance_factor = 0) const;
  Moe* moe() const { return moe_.get(); }  // null: the block has the MLP, or none
  Mixer* mixer() const { return mixer_.get(); }

 private:
  Stream ForwardPostNorm(Tape& tape, const Stream& x, const Packing& packing, MixerCache* cache,
                         double balance_factor) const;
  bool HasMlp() const { return mlp_ != nullptr || moe_ != nullptr; }
  Var ForwardMlp(Tape& tape, const Var& x, const Packing& packing, double balance_factor) const;

  const bool post_norm_;
  Norm mixer_norm_;
  std::unique_ptr<Mixer> mixer_;
  Norm mlp_norm_;             // with one of the two
  std::unique_ptr<Mlp> mlp_;  // one of the two, or none
  std::unique_ptr<Moe> moe_;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_BLOCK_H_
