#ifndef WYVERN_TRAINER_COMMANDS_ON_RANKS_H_
#define WYVERN_TRAINER_COMMANDS_ON_RANKS_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/comm/world.h"
#include "trainer/config/run_config.h"

namespace wyvern {

// The exit code of a command that all ranks of a run run, which get the same status: rank 0 alone
// writes to stdout, and says what failed; of that the others say the first line.
// Before it meets the others: what the configuration, if it could be read, says of that.
int OnAllRanks(const absl::StatusOr<RunConfig>& config,
               const std::function<absl::Status(World*)>& command);

// The same of a command without a configuration.
int OnAllRanks(const std::function<absl::Status(World*)>& command);

// World::Connect with the time-out and the name of a run.
absl::StatusOr<std::unique_ptr<World>> ConnectRanks(const absl::StatusOr<RunConfig>& config);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_ON_RANKS_H_
