#ifndef WYVERN_TRAINER_COMMANDS_FIT_H_
#define WYVERN_TRAINER_COMMANDS_FIT_H_

#include "CLI/CLI.hpp"

namespace wyvern {

// wyvern fit SWEEP: fits scaling laws to the runs of a sweep, or to points of a CSV file.
// trainer/scaling/README.md explains the results.
void AddFitCommand(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_FIT_H_
