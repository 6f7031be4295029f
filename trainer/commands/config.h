#ifndef WYVERN_TRAINER_COMMANDS_CONFIG_H_
#define WYVERN_TRAINER_COMMANDS_CONFIG_H_

#include "CLI/CLI.hpp"

namespace wyvern {

// wyvern config show CONFIG [--set key=value ...]: the resolved configuration as YAML, with
// parameter count, FLOPs and memory as comments.
void AddConfigCommand(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_CONFIG_H_
