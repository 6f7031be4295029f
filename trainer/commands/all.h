#ifndef WYVERN_TRAINER_COMMANDS_ALL_H_
#define WYVERN_TRAINER_COMMANDS_ALL_H_

#include "CLI/CLI.hpp"

namespace wyvern {

// Adds every command of `wyvern`.
void AddAllCommands(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_ALL_H_
