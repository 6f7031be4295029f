// A run resolved once: what follows from its configuration and from where it takes place. Whoever
// trains, measures, checks or simulates a run takes this plan and derives nothing of it again.
#ifndef WYVERN_TRAINER_RUN_RUN_PLAN_H_
#define WYVERN_TRAINER_RUN_RUN_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/comm/world.h"
#include "kernels/runtime/device.h"
#include "kernels/runtime/dtype.h"
#include "trainer/config/run_config.h"
#include "trainer/config/stages.h"
#include "trainer/parallel/mesh.h"

namespace wyvern {

// Where a run takes place.
struct RunSite {
  int64_t num_ranks = 1;
  bool simulated = false;    // on the meta device, whatever this machine has
  bool own_batches = false;  // the caller makes the batches, so train.batch_tokens need not fit
};

struct RunPlan {
  RunConfig config;
  Device device = Device::kCpu;
  DType compute = DType::kFloat32;  // of activations and of what is multiplied
  MeshShape mesh;                   // every axis with its size
  // One at least. Their micro batches are the largest that a rank computes.
  std::vector<Stage> stages;

  int64_t total_steps() const { return stages.back().end_step(); }
  int64_t total_tokens() const { return stages.back().end_token(); }
  // Ranks that read different sequences: all but those of a CP group.
  int64_t num_data_ranks() const { return mesh.replicate * mesh.shard; }
  // Micro batches of a step that one rank computes: as few as stage.micro_batch allows,
  // one of kAutoMicroBatch.
  int64_t MicroBatchesOfRank(const Stage& stage) const;
  // Samples of a micro batch of a rank: the step's samples are divided over its micro batches as
  // evenly as can be. Micro batch i of the rank with data index d is number i * num_data_ranks() +
  // d of the step; those of the steps after it follow.
  struct Samples {
    int64_t first = 0;  // as Stage::SampleAt counts
    int64_t count = 0;
  };
  Samples SamplesOfMicroBatch(const Stage& stage, int64_t number) const;
};

// Errors: a GPU that is not there (unless simulated); axes or a batch that do not fit the number of
// ranks.
absl::StatusOr<RunPlan> ResolveRun(const RunConfig& config, const RunSite& site = {});

// ResolveRun on every rank of `world`, with one status for all, and the choice of this process's
// GPU. All ranks call it before any other use of the device.
absl::StatusOr<RunPlan> ResolveRunOnRanks(const RunConfig& config, World* world,
                                          bool own_batches = false);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_RUN_RUN_PLAN_H_
