#ifndef WYVERN_TRAINER_OPTIMIZER_OPTIMIZER_H_
#define WYVERN_TRAINER_OPTIMIZER_OPTIMIZER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "layers/model.h"
#include "trainer/config/run_config.h"
#include "trainer/optimizer/muon.h"
#include "trainer/optimizer/qk_clip.h"

namespace wyvern {

// Whether weight decay acts on parameters of this kind.
bool IsDecayed(ParameterKind kind, const OptimizerSection& options);

// Whether Muon updates parameters of this kind: every projection, low-rank factors and each
// expert's among them. All else is AdamW's: embedding and head, routers, norm gains, biases,
// convolutions, A_log, dt_bias.
bool UsesMuon(ParameterKind kind, const OptimizerSection& options);

// Updates all parameters of a model, each by AdamW or by Muon. Of a sharded model it has and
// updates this rank's shard.
class Optimizer {
 public:
  // States start at zero. The model must be trainable and outlive this.
  Optimizer(Model* model, const OptimizerSection& options);

  // The results that a step leaves on the device, to be read in one copy at its end.
  struct Results {
    Tensor norm;    // [1] Acc, of the whole gradient before clipping
    Tensor finite;  // [1] int32: whether gradient norm and loss were finite
  };

  // Clips the gradients to a global norm of max_norm (0: no clipping) and updates master
  // weights, states and parameters at rate `lr`; `loss` [1] Acc may be undefined. Where the norm or
  // the loss is not finite nothing changes. All of it is queued on the device. `update` is this
  // update's number, from 1, not counting skipped ones. Of a sharded model the gradient shards are
  // complete, and value shards are updated. QK-clip follows the update.
  Results Step(double lr, double max_norm, const Tensor& loss, int64_t update);

  // Null: options.qk_clip is 0. Whoever runs a step resets it first, and takes the maximum of all
  // ranks' logits before Step.
  const QkClipper* qk_clip() const { return qk_clip_.get(); }

  // The state of a unit's flat buffer: [shard_size] each, in the layout of its master weights.
  struct FlatState {
    FlatParameters* flat = nullptr;
    Tensor m, v;  // v undefined: Muon updates all of it
  };
  const std::vector<FlatState>& flat_states() const { return states_; }
  // All state and buffers that last from step to step, on the model's device.
  int64_t state_bytes() const { return state_bytes_; }

  // The part of `state` that a parameter in its flat has: "m", and "v" unless Muon updates it.
  struct NamedState {
    const char* name;
    Tensor shard;  // m or v of the flat
  };
  std::vector<NamedState> StatesOf(const FlatState& state, const Parameter& parameter) const;

 private:
  struct Slot {
    Parameter* parameter;
    const FlatState* state;
    FlatParameters::Slice slice;  // of the parameter, updated here
    double weight_decay;
  };

  // The norm of all gradients, and what follows from it: norm, clip and finite are filled.
  void MeasureGradients(double max_norm, const Tensor& loss, const Results& results,
                        const Tensor& clip) const;
  void StepAdamW(double lr, int64_t update, const Tensor& clip, const Tensor& finite) const;

  Model* model_;
  OptimizerSection options_;
  std::vector<FlatState> states_;
  std::vector<Slot> slots_;  // in the order of the model's parameters; none of an empty slice
  std::unique_ptr<QkClipper> qk_clip_;
  std::unique_ptr<Muon> muon_;  // null: no parameter is its
  int64_t state_bytes_ = 0;
};

// A rank's slice of a parameter's gradient after a step's reductions: all of it, or what lies in
// its shard (undefined: nothing).
Tensor ReducedGradient(const Parameter& parameter);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_OPTIMIZER_OPTIMIZER_H_
