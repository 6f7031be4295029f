#ifndef WYVERN_TRAINER_COMMANDS_DATA_H_
#define WYVERN_TRAINER_COMMANDS_DATA_H_

#include "CLI/CLI.hpp"

namespace wyvern {

// wyvern data tokenizer | prepare | info
void AddDataCommand(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_DATA_H_
