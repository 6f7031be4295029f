#ifndef WYVERN_TRAINER_COMMANDS_MAKE_TASK_H_
#define WYVERN_TRAINER_COMMANDS_MAKE_TASK_H_

#include "CLI/CLI.hpp"

namespace wyvern {

// wyvern data make-task KIND: a task of recall, of any length, for `wyvern eval --tasks`.
void AddMakeTaskCommand(CLI::App* data, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_MAKE_TASK_H_
