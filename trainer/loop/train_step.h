#ifndef WYVERN_TRAINER_LOOP_TRAIN_STEP_H_
#define WYVERN_TRAINER_LOOP_TRAIN_STEP_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "data/sampling/batch.h"
#include "layers/model.h"
#include "trainer/loop/source_loss.h"
#include "trainer/optimizer/expert_balance.h"
#include "trainer/optimizer/optimizer.h"
#include "trainer/parallel/data_parallel.h"
#include "trainer/parallel/step_agreement.h"

namespace wyvern {

struct StepResult {
  double loss = 0;  // mean over all counted targets of the step
  double grad_norm = 0;
  bool updated = false;     // false: loss or gradient was not finite, and nothing changed
  bool abandoned = false;   // before the update, for what `agreement` brought: nothing else is set
  int64_t num_targets = 0;  // counted ones of the step, of all ranks
  double flops = 0;         // necessary FLOPs of forward and backward
  Tensor own_loss;          // [1]: of this rank's tokens; undefined on one rank
  std::vector<ExpertLoad> expert_loads;      // of the layers with experts
  double balance_loss = 0;                   // as in Model::balance_loss; 0 where there is none
  std::optional<QkClipper::Summary> logits;  // with QK-clip, before it
  std::vector<SourceLoss> by_source;         // of all ranks; empty unless asked for
};

// One optimizer step over the micro batches of one batch: their losses are divided by the number of
// targets of all of them, so the result is that of one large batch. `lr` and `update` as in
// Optimizer::Step. The host waits for the device once, at the end.
//
// With `parallel`, all its ranks call this, the same number of micro batches each: its own, but the
// same ones in all ranks of a CP group, which divide their tokens. Together they are one
// batch, and loss, norm and `updated` are those of it, the same everywhere. `flops` are this
// rank's.
//
// With num_sources, the loss of each source is told too: all token losses come to the host then,
// once the step is done.
//
// With `agreement`, whose exchange of this step has started, the counted targets are those that it
// knows; without, the ranks sum them here. The exchange is finished once forward and backward are
// queued. A line of the log that a rank could not write ends the step there.
StepResult TrainStep(Model* model, Optimizer* optimizer, absl::Span<const Batch> micro_batches,
                     double lr, double max_norm, int64_t update, DataParallel* parallel = nullptr,
                     size_t num_sources = 0, StepAgreement* agreement = nullptr);

// After a step that was not finite, with the arguments of TrainStep: what was not, and on which
// ranks, "the loss (nan) of rank 3" or "the gradient of blocks.0.mlp.up_proj.weight". All ranks of
// `parallel` call it, and get the same text; to learn whose gradient it was they compute them
// again.
std::string DescribeNonFinite(Model* model, const StepResult& result,
                              absl::Span<const Batch> micro_batches,
                              DataParallel* parallel = nullptr);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_LOOP_TRAIN_STEP_H_
