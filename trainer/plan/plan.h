// Predicts what a run will need and how fast it will be, before any GPU is touched.
#ifndef WYVERN_TRAINER_PLAN_PLAN_H_
#define WYVERN_TRAINER_PLAN_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/plan/gpu_spec.h"
#include "trainer/plan/simulate.h"
#include "trainer/run/run_plan.h"

namespace wyvern {

struct PlanOptions {
  int num_gpus = 1;
  int gpus_per_node = 8;
  GpuSpec gpu;
};

struct PlannedClass {
  std::string name;  // "matrix products"
  Pass pass = Pass::kForward;
  double flops = 0, bytes = 0;
  double ms = 0;
};

struct PlannedComm {
  std::string group, operation;  // "shard", "all_gather"
  bool inside_node = true;
  double sent_bytes = 0;  // by one GPU, of one step
  double ms = 0;
};

struct Plan {
  RunPlan run;
  PlanOptions options;
  Stage stage;  // the one that is planned: the first
  SimulatedStep step;
  std::vector<PlannedClass> classes;
  std::vector<PlannedComm> communication;
  double compute_ms = 0;        // all classes and what lies outside them
  double communication_ms = 0;  // all of it, hidden or not
  double exposed_ms = 0;        // of that, not hidden behind computation, or slowing it
  // The exchange of control data in a step (trainer/parallel/step_agreement.h), which no step_ms
  // has: it hides behind the backward.
  int agreement_rounds = 0;
  double agreement_ms = 0;

  double step_ms() const { return compute_ms + exposed_ms; }
  double tokens_per_second() const;  // of all GPUs
  double mfu() const;                // FLOPs that the mixers need, over the data sheet's rate
  double hours() const;              // of all tokens of the run at this rate
  double needed_bytes() const {
    return static_cast<double>(step.memory.peak_bytes) + kReservedBytes;
  }
  bool fits() const { return needed_bytes() <= options.gpu.memory_bytes; }
};

// Errors: those of ResolveRun.
absl::StatusOr<Plan> MakePlan(const RunConfig& config, const PlanOptions& options);

// The fastest mesh, ZeRO stage and recomputation that take at most 95% of the memory, the
// batch of a step, the context's division and the sequences being as configured, with as many
// sequences of a micro batch as it can. NotFound: none does.
absl::StatusOr<Plan> SuggestPlan(const RunConfig& config, const PlanOptions& options);

struct PlannedMemory {
  std::string name;  // "weights"
  int64_t bytes = 0;
};
// The parts of a GPU's memory at its peak; together they are memory.peak_bytes.
std::vector<PlannedMemory> MemoryParts(const StepMemory& memory);

// As text for a terminal.
std::string PlanText(const Plan& plan);
// "--set parallel.shard=8 ..." that turns the configuration into that of the plan; empty: as it is.
std::string PlanSettings(const RunConfig& from, const Plan& plan);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PLAN_PLAN_H_
