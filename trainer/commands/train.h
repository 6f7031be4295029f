#ifndef WYVERN_TRAINER_COMMANDS_TRAIN_H_
#define WYVERN_TRAINER_COMMANDS_TRAIN_H_

#include "CLI/CLI.hpp"

namespace wyvern {

// wyvern train CONFIG [--set key=value ...] [--resume auto|none|PATH]: prepares the data where that
// is not done yet, trains or resumes, evaluates, prints a sample and where the report lies.
void AddTrainCommand(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_TRAIN_H_
