#ifndef WYVERN_TRAINER_COMMANDS_SELFTEST_H_
#define WYVERN_TRAINER_COMMANDS_SELFTEST_H_

#include "CLI/CLI.hpp"

namespace wyvern {

// wyvern selftest [--device cpu|cuda] [--op NAME]: every op's registry row as a table; exit code 1
// when anything fails.
void AddSelftestCommand(CLI::App& app, int* exit_code);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_SELFTEST_H_
