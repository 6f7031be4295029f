#ifndef WYVERN_TRAINER_TRAIN_STEP_H_
#define WYVERN_TRAINER_TRAIN_STEP_H_

#include <string>

#include "absl/types/span.h"
#include "data/batch.h"
#include "layers/model.h"
#include "trainer/optimizer.h"
#include "trainer/parallel/data_parallel.h"

namespace wyvern {

struct StepResult {
  double loss = 0;  // mean over all counted targets of the step
  double grad_norm = 0;
  bool updated = false;  // false: loss or gradient was not finite, and nothing changed
  double flops = 0;      // necessary products of forward and backward
};

// One optimizer step over the micro batches of one batch: their losses are divided by the number of
// targets of all of them, so the result is that of one large batch. `lr` and `update` as in
// Optimizer::Step. The host waits for the device once, at the end.
//
// With `parallel`, all its ranks call this, the same number of micro batches each: its own, but the
// same ones in all ranks of a context group, which divide their tokens. Together they are one
// batch, and loss, norm and `updated` are those of it, the same everywhere. `flops` are this
// rank's.
StepResult TrainStep(Model* model, Optimizer* optimizer, absl::Span<const Batch> micro_batches,
                     double lr, double max_norm, int64_t update, DataParallel* parallel = nullptr);

// After a step that was not finite: what was not, "the loss (nan)" or "the gradient of
// blocks.0.mlp.up_proj.weight". All ranks of `parallel` call it.
std::string DescribeNonFinite(Model* model, const StepResult& result,
                              DataParallel* parallel = nullptr);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_TRAIN_STEP_H_
