#ifndef WYVERN_TRAINER_OPTIMIZER_QK_CLIP_H_
#define WYVERN_TRAINER_OPTIMIZER_QK_CLIP_H_

#include <cstdint>
#include <vector>

#include "layers/mixer.h"
#include "layers/model.h"

namespace wyvern {

// QK-clip of a model's attention heads (kernels/optim/qk_clip.h): the largest logit of each head
// over the micro batches and ranks of a step, and the weights that are scaled after its update. The
// function of every other head stays as it is.
class QkClipper {
 public:
  // The model outlives this and tracks logits from now on. Of a sharded model this rank's part of
  // the weights is scaled.
  QkClipper(Model* model, double tau);
  ~QkClipper();

  // Before the first forward of a step.
  void Reset() const;
  // [heads of all mixers] Acc; -infinity where a head had no logit yet. Ranks take
  // the maximum of theirs before Apply.
  const Tensor& max_logits() const { return max_logits_; }
  // After the update; `finite` [1] int32: where 0, nothing changes.
  void Apply(const Tensor& finite) const;

  struct Summary {
    double max_logit = 0;       // of all heads
    int64_t clipped_heads = 0;  // whose logits were above tau
  };
  Summary Read() const;  // waits for the device

 private:
  struct Target {
    QkRows rows;
    Tensor max_logit;  // of its mixer, [H]
  };

  Model* model_;
  double tau_;
  Tensor max_logits_;
  std::vector<Target> targets_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_OPTIMIZER_QK_CLIP_H_
