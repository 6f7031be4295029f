#ifndef WYVERN_TRAINER_COMMANDS_TOKEN_FILES_H_
#define WYVERN_TRAINER_COMMANDS_TOKEN_FILES_H_

#include "CLI/CLI.hpp"

namespace wyvern {

// wyvern data import-tokens | export-tokens
void AddTokenFileCommands(CLI::App* data, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_TOKEN_FILES_H_
