#ifndef WYVERN_TRAINER_COMMANDS_PLAN_H_
#define WYVERN_TRAINER_COMMANDS_PLAN_H_

#include "CLI/CLI.hpp"

namespace wyvern {

// wyvern plan CONFIG --gpus N: memory, communication, speed and duration of a run on GPUs that
// need not be there, and a mesh that fits.
void AddPlanCommand(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_PLAN_H_
