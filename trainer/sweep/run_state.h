// How far each run of a sweep is, read from its folder alone.
#ifndef WYVERN_TRAINER_SWEEP_RUN_STATE_H_
#define WYVERN_TRAINER_SWEEP_RUN_STATE_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "trainer/sweep/plan.h"

namespace wyvern {

enum class RunStage {
  kWaiting,   // nothing there yet
  kRunning,   // a process holds its lock
  kStopped,   // begun, neither finished nor running: resumes from its last checkpoint
  kFailed,    // its process ended with an error
  kFinished,  // every step is done and the report written
};
const char* Name(RunStage stage);

struct RunState {
  RunStage stage = RunStage::kWaiting;
  int64_t step = 0;
  std::optional<double> loss, val_loss;  // the last ones
  std::optional<double> tokens_per_s;    // the median of the last steps
  int exit_code = 0;                     // of a failed run
  int64_t unreadable = 0;                // damaged lines of its metrics, of the last ones
};

// The inodes of all files that processes of this machine have locked with flock.
std::set<uint64_t> LockedInodes();

RunState ReadRunState(const SweepRun& run, const std::set<uint64_t>& locked);
std::vector<RunState> ReadRunStates(const std::vector<SweepRun>& runs);

// Writes the record that remains when a run's process ends: the next sweep and --status read it.
// Errors: a failed write.
absl::Status RecordExit(const SweepRun& run, int exit_code);
// Forgets it, before the run is started again.
void ForgetExit(const SweepRun& run);

// The last line of a run's log that is not empty, for messages.
std::string LastLogLine(const SweepRun& run);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_SWEEP_RUN_STATE_H_
