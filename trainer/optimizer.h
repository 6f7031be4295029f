#ifndef WYVERN_TRAINER_OPTIMIZER_H_
#define WYVERN_TRAINER_OPTIMIZER_H_

#include <cstdint>
#include <vector>

#include "layers/model.h"
#include "trainer/checkpoint.h"
#include "trainer/run_config.h"

namespace wyvern {

// Whether weight decay acts on parameters of this kind.
bool IsDecayed(ParameterKind kind, const OptimizerSection& options);

// AdamW with two moments per master, over all parameters of a model in one call.
class Optimizer {
 public:
  // Moments start at zero. The model must be trainable and outlive this.
  Optimizer(Model* model, const OptimizerSection& options);

  // What a step leaves on the device, to be read in one copy at its end.
  struct Results {
    Tensor norm;    // [1] Acc, of the whole gradient before clipping
    Tensor finite;  // [1] int32: whether gradient norm and loss were finite
  };

  // Clips the gradients to a global norm of max_norm (0: no clipping) and updates masters, moments
  // and values at rate `lr`; `loss` [1] Acc may be undefined. Where the norm or the loss is not
  // finite nothing changes. All of it is queued on the device. `update` is this update's number,
  // from 1, not counting skipped ones.
  Results Step(double lr, double max_norm, const Tensor& loss, int64_t update);

  // "optimizer/<parameter>/m" and "/v".
  std::vector<NamedTensor> State() const;

 private:
  struct Slot {
    Parameter* parameter;
    Tensor m, v;
    double weight_decay;
  };

  Model* model_;
  OptimizerSection options_;
  std::vector<Slot> slots_;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_OPTIMIZER_H_
