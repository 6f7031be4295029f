#ifndef WYVERN_LAYERS_BLOCK_H_
#define WYVERN_LAYERS_BLOCK_H_

#include <memory>

#include "layers/linear.h"
#include "layers/mixer.h"
#include "layers/mlp.h"

namespace wyvern {

// The residual stream is residual + update. The two are added inside the next norm, in one pass
// over memory; before the first block there is no residual.
struct Stream {
  Var update, residual;  // [T, D]
};

// Pre-norm block: x <- x + mixer(norm(x)); x <- x + mlp(norm(x)). The unit of recomputation.
class Block : public Module {
 public:
  Block(const ModelConfig& model, const MixerConfig& mixer);
  Stream Forward(Tape& tape, const Stream& x, const Packing& packing, LayerCache* cache) const;

 private:
  Norm mixer_norm_;
  std::unique_ptr<Mixer> mixer_;
  Norm mlp_norm_;
  Mlp mlp_;
};

}  // namespace wyvern

#endif  // WYVERN_LAYERS_BLOCK_H_
