#include "trainer/plan/micro_batch.h"

#include <algorithm>
#include <cstdint>

#include "kernels/runtime/status.h"
#include "trainer/config/stages.h"
#include "trainer/plan/gpu_spec.h"
#include "trainer/plan/simulate.h"
#include "trainer/run/run_plan.h"

namespace wyvern {
namespace {

// Planned peaks are within 5% of measured ones.
constexpr double kGpuShare = 0.95;
// The other half of a host is for files, libraries and other programs.
constexpr double kHostShare = 0.5;

int64_t CeilDivide(int64_t a, int64_t b) { return a / b + (a % b > 0 ? 1 : 0); }

// The most samples of a micro batch of a stage. The fewest micro batches that fit are searched for,
// since only their numbers make different steps.
absl::StatusOr<int64_t> LargestThatFits(const RunPlan& run, Stage stage, int num_ranks,
                                        double memory_bytes) {
  const int64_t share = CeilDivide(stage.SamplesPerStep(), run.num_data_ranks());
  int64_t least = 1, most = share;  // micro batches of a rank
  while (least < most) {
    const int64_t middle = least + (most - least) / 2;
    stage.micro_batch = CeilDivide(share, middle);
    ASSIGN_OR_RETURN(const SimulatedStep step, SimulateStep(run, stage, num_ranks));
    if (static_cast<double>(step.memory.peak_bytes) <= memory_bytes) {
      most = middle;
    } else {
      least = middle + 1;
    }
  }
  return CeilDivide(share, least);
}

}  // namespace

double PlannedGpuBytes(double total_bytes) { return kGpuShare * total_bytes - kReservedBytes; }

double PlannedHostBytes(double total_bytes, int ranks_of_host) {
  return kHostShare * total_bytes / ranks_of_host;
}

absl::StatusOr<RunConfig> ChooseMicroBatches(const RunConfig& config, int num_ranks,
                                             double memory_bytes) {
  RunConfig chosen = config;
  if (config.train.micro_batch != kAutoMicroBatch) return chosen;
  ASSIGN_OR_RETURN(const RunPlan run,
                   ResolveRun(config, {.num_ranks = num_ranks, .simulated = true}));
  chosen.train.micro_batch = 1;
  for (const Stage& stage : run.stages) {
    const bool of_section = !config.stages.empty();
    if (of_section && config.stages[static_cast<size_t>(stage.index)].micro_batch != 0) continue;
    ASSIGN_OR_RETURN(const int64_t samples, LargestThatFits(run, stage, num_ranks, memory_bytes));
    if (of_section) chosen.stages[static_cast<size_t>(stage.index)].micro_batch = samples;
    chosen.train.micro_batch = std::max(chosen.train.micro_batch, samples);
  }
  return chosen;
}

}  // namespace wyvern
