// Declarations that commands share.
#ifndef WYVERN_TRAINER_COMMANDS_COMMAND_H_
#define WYVERN_TRAINER_COMMANDS_COMMAND_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/checkpoint/read.h"

namespace wyvern {

// 0 for OK; otherwise prints the message on stderr, once, and returns 1, or kWrongUsage for a
// status of AsUsage.
int ExitCode(const absl::Status& status);

// The exit code of a command line or of a file of the user's that says something wrong. Who starts
// the command again gets the same, so scripts/launch does not.
inline constexpr int kWrongUsage = 2;

// Marks the errors of a configuration's text, or of its absence, as wrong usage.
absl::Status AsUsage(absl::Status status);
bool IsUsage(const absl::Status& status);  // whether it is marked
template <typename T>
absl::StatusOr<T> AsUsage(absl::StatusOr<T> read) {
  if (read.ok()) return read;
  return AsUsage(read.status());
}

// The argument of commands that read a checkpoint by OpenCheckpointAloud.
inline constexpr char kCheckpointHelp[] =
    "Checkpoint folder, RUN@STEP, or a run folder, of which the newest is taken";

// OpenCheckpoint. Says on stderr which one it is, and which later ones of the run it is not and
// why.
absl::StatusOr<CheckpointInfo> OpenCheckpointAloud(const std::string& path);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_COMMAND_H_
