#ifndef WYVERN_TRAINER_COMMANDS_EVAL_H_
#define WYVERN_TRAINER_COMMANDS_EVAL_H_

#include "CLI/CLI.hpp"

namespace wyvern {

// Adds `wyvern eval`; when it runs, it sets `exit_code`.
void AddEvalCommand(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_EVAL_H_
