// Runs the runs of a sweep as processes of this machine.
#ifndef WYVERN_TRAINER_SWEEP_LOCAL_RUNNER_H_
#define WYVERN_TRAINER_SWEEP_LOCAL_RUNNER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "trainer/sweep/plan.h"

namespace wyvern {

// Starts `wyvern train` for every run that is not finished and not running elsewhere, `jobs` at a
// time, and waits for all of them; a run that fails does not stop the others. Shows a table that is
// rewritten every second on a terminal, otherwise a line whenever a run starts or ends and one a
// minute. With several GPUs each job has its own; on the CPU the cores are divided. SIGINT and
// SIGTERM are passed on once: the runs save and stop.
//
// Returns OK when every run is finished; the error names those that are not, each with its log.
absl::Status RunSweepLocally(const SweepPlan& plan, int64_t jobs);

// The GPUs that a job of number `slot` may see, given CUDA_VISIBLE_DEVICES ("" when unset) and the
// number of GPUs of the machine: every job gets one, in turn. Empty when there is nothing to
// divide.
std::string VisibleDeviceOfSlot(int64_t slot, const std::string& visible, int64_t num_gpus);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SWEEP_LOCAL_RUNNER_H_
