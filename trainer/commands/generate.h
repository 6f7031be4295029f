#ifndef WYVERN_TRAINER_COMMANDS_GENERATE_H_
#define WYVERN_TRAINER_COMMANDS_GENERATE_H_

#include "CLI/CLI.hpp"

namespace wyvern {

// Adds `wyvern generate`; when it runs, it sets `exit_code`.
void AddGenerateCommand(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_GENERATE_H_
