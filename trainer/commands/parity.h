#ifndef WYVERN_TRAINER_COMMANDS_PARITY_H_
#define WYVERN_TRAINER_COMMANDS_PARITY_H_

#include <CLI/CLI.hpp>

namespace wyvern {

// wyvern parity HF_DIR [--device cpu|cuda] [--dtype fp32|bf16|fp64] [limits]: compares with the
// folder's reference.safetensors as a table; exit code 1 when anything is beyond its limit.
void AddParityCommand(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_PARITY_H_
