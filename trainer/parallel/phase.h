// The phase of a step that a rank is in: for messages about lost ranks, and as the place where a
// fault strikes that a test or a user injects through WYVERN_FAULT.
#ifndef WYVERN_TRAINER_PARALLEL_PHASE_H_
#define WYVERN_TRAINER_PARALLEL_PHASE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace wyvern {

// "step 17", and what of it: "data", "batch", "forward and backward", "update", "validation",
// "evaluation", "checkpoint" in this order. Messages then begin with "step 17, update".
void BeginStep(int64_t step);
void BeginPhase(const std::string& phase);

// Strikes as the phase of that name begins in the step, on one rank.
struct Fault {
  enum class Kind {
    kKill,  // SIGKILL
    kHang,  // SIGSTOP: runs again only with SIGCONT
    kExit,  // exit code 3
    kSlow,  // sleeps
  };
  int64_t rank = 0;
  int64_t step = 0;  // 0: every step
  std::string phase = "data";
  Kind kind = Kind::kSlow;
  double seconds = 0;
};

// "rank=1,step=5,phase=update,do=kill; rank=0,do=slow:0.3". Errors name the part.
absl::StatusOr<std::vector<Fault>> ParseFaults(const std::string& text);

// Those of the environment variable WYVERN_FAULT that are this rank's, from now on. All but kSlow
// spare a run that was resumed, so that a restart gets beyond them.
absl::Status ReadFaults(int rank, bool resumed);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_PARALLEL_PHASE_H_
