// One training step on the meta device: the model, its tape, its mesh and its optimizer run as they
// would on GPUs, and tell what they ask for.
#ifndef WYVERN_TRAINER_PLAN_SIMULATE_H_
#define WYVERN_TRAINER_PLAN_SIMULATE_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "kernels/comm/meta_communicator.h"
#include "trainer/bench/step_bench.h"
#include "trainer/run/run_plan.h"

namespace wyvern {

// On one GPU.
struct StepMemory {
  int64_t weight_bytes = 0;     // values, between steps
  int64_t master_bytes = 0;     // fp32 master weights of bf16 parameters
  int64_t gradient_bytes = 0;   // whole, or this rank's shard
  int64_t optimizer_bytes = 0;  // moments
  int64_t peak_bytes = 0;       // the most that tensors hold at once, all of the above included
  std::string peak_range;       // what is running then: "linear_cross_entropy, forward"
  int64_t logit_bytes = 0;      // of the slices of the vocabulary head, where the peak is in it

  int64_t state_bytes() const {
    return weight_bytes + master_bytes + gradient_bytes + optimizer_bytes;
  }
  // Activations, gathered values and gradients, buffers of the update: what comes and goes.
  int64_t passing_bytes() const { return peak_bytes - state_bytes() - logit_bytes; }
};

// One op, or other work on the device, of one step on one GPU.
struct SimulatedRange {
  std::string name;  // of the range: "matmul"
  WorkClass work_class = WorkClass::kOther;
  Pass pass = Pass::kForward;
  Work work;
  double count = 1;  // times in a step
};

struct SimulatedStep {
  int64_t micro_batches = 0;  // of one rank
  double flops = 0;           // necessary FLOPs of forward and backward
  StepMemory memory;
  std::vector<SimulatedRange> ranges;
  CommVolumes volumes;
};

// Rank 0 of a simulated run, `gpus_per_node` ranks to a host, in a step of one of its stages with
// documents of full length.
absl::StatusOr<SimulatedStep> SimulateStep(const RunPlan& run, const Stage& stage,
                                           int gpus_per_node);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PLAN_SIMULATE_H_
