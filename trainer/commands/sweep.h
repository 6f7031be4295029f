#ifndef WYVERN_TRAINER_COMMANDS_SWEEP_H_
#define WYVERN_TRAINER_COMMANDS_SWEEP_H_

#include "CLI/CLI.hpp"

namespace wyvern {

// wyvern sweep SWEEP.yaml: trains every combination of a sweep's axes, here or as a Slurm array.
// trainer/sweep/README.md explains the file.
void AddSweepCommand(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_SWEEP_H_
