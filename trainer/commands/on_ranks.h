#ifndef WYVERN_TRAINER_COMMANDS_ON_RANKS_H_
#define WYVERN_TRAINER_COMMANDS_ON_RANKS_H_

#include <functional>

#include "absl/status/status.h"
#include "kernels/comm/world.h"

namespace wyvern {

// The exit code of a command that all ranks of a run run, which get the same status: rank 0 alone
// writes to stdout, and says what failed.
int OnAllRanks(const std::function<absl::Status(World*)>& command);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_ON_RANKS_H_
