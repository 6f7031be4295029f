// The folder of a sweep, and the data of its runs.
#ifndef WYVERN_TRAINER_SWEEP_SWEEP_FOLDER_H_
#define WYVERN_TRAINER_SWEEP_SWEEP_FOLDER_H_

#include "absl/status/status.h"
#include "trainer/sweep/plan.h"

namespace wyvern {

// Writes the sweep's own record (sweep.yaml, the file as it is; sweep.json, what each run is given)
// and each run's resolved config.yaml, each file whole or not at all. Errors: a run that was begun
// with another configuration, naming every run and key; a failed write.
absl::Status WriteSweepFolder(const SweepPlan& plan);

// Makes the token stores that the runs need, once: two runs that start together would both begin to
// make them. Tries those of all runs and returns the first error: a run whose data cannot be made
// fails by itself and says why.
absl::Status PrepareSweepData(const SweepPlan& plan);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SWEEP_SWEEP_FOLDER_H_
