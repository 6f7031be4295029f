// The largest micro batch that fits, for train.micro_batch: auto.
#ifndef WYVERN_TRAINER_PLAN_MICRO_BATCH_H_
#define WYVERN_TRAINER_PLAN_MICRO_BATCH_H_

#include "absl/status/statusor.h"
#include "trainer/config/run_config.h"

namespace wyvern {

// Memory of a GPU of `total_bytes`, or of a rank's share of a host, that a planned peak may take.
double PlannedGpuBytes(double total_bytes);
double PlannedHostBytes(double total_bytes, int ranks_of_host);

// The configuration with a number in place of train.micro_batch: auto, and of that of every stage
// that takes it: the most samples whose step is planned to take `memory_bytes` of a rank at its
// peak, or one where none does. Others are returned as they are. It depends on its arguments alone,
// so that a resumed run computes the same. Errors: those of ResolveRun.
absl::StatusOr<RunConfig> ChooseMicroBatches(const RunConfig& config, int num_ranks,
                                             double memory_bytes);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PLAN_MICRO_BATCH_H_
