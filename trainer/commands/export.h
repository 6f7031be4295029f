#ifndef WYVERN_TRAINER_COMMANDS_EXPORT_H_
#define WYVERN_TRAINER_COMMANDS_EXPORT_H_

#include <CLI/CLI.hpp>

namespace wyvern {

// wyvern export CHECKPOINT HF_DIR: a checkpoint becomes a folder that flash-linear-attention or
// transformers load.
void AddExportCommand(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_EXPORT_H_
