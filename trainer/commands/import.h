#ifndef WYVERN_TRAINER_COMMANDS_IMPORT_H_
#define WYVERN_TRAINER_COMMANDS_IMPORT_H_

#include <CLI/CLI.hpp>

namespace wyvern {

// wyvern import HF_DIR CHECKPOINT: a Hugging Face folder becomes a checkpoint of fp32 master
// weights.
void AddImportCommand(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_IMPORT_H_
