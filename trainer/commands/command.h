// What every command shares. A command is a function `void Add<Name>Command(CLI::App& app, int*
// exit_code)` in trainer/commands/<name>.{h,cc}: it adds its subcommand with options and a callback
// that does the work and sets *exit_code. It is listed once, in trainer/commands/all.cc.
#ifndef WYVERN_TRAINER_COMMANDS_COMMAND_H_
#define WYVERN_TRAINER_COMMANDS_COMMAND_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/checkpoint/read.h"

namespace wyvern {

// 0 for OK; otherwise prints the message on stderr, once, and returns 1.
int ExitCode(const absl::Status& status);

// OpenCheckpoint. Says on stderr which one it is, and which later ones of the run it is not and
// why.
absl::StatusOr<CheckpointInfo> OpenCheckpointAloud(const std::string& path);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_COMMAND_H_
