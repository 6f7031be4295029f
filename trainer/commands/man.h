#ifndef WYVERN_TRAINER_COMMANDS_MAN_H_
#define WYVERN_TRAINER_COMMANDS_MAN_H_

#include <string>

#include "CLI/CLI.hpp"

namespace wyvern {

// The manual page of the program, section 1, in groff's man macros.
std::string ManualPage(const CLI::App& app);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_MAN_H_
