#ifndef WYVERN_TRAINER_COMMANDS_CHECKPOINT_H_
#define WYVERN_TRAINER_COMMANDS_CHECKPOINT_H_

#include "CLI/CLI.hpp"

namespace wyvern {

// Adds `wyvern checkpoint`; when it runs, it sets `exit_code`.
void AddCheckpointCommand(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_CHECKPOINT_H_
