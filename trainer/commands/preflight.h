#ifndef WYVERN_TRAINER_COMMANDS_PREFLIGHT_H_
#define WYVERN_TRAINER_COMMANDS_PREFLIGHT_H_

#include "CLI/CLI.hpp"

namespace wyvern {

// wyvern preflight CONFIG [--set key=value ...], on as many ranks as a training: what every
// training of several ranks checks as it starts, and nothing more.
void AddPreflightCommand(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_PREFLIGHT_H_
