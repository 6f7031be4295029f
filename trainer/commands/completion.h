#ifndef WYVERN_TRAINER_COMMANDS_COMPLETION_H_
#define WYVERN_TRAINER_COMMANDS_COMPLETION_H_

#include <string>

#include "CLI/CLI.hpp"

namespace wyvern {

// A script by which a shell ("bash", "zsh" or "fish") completes commands, options and their values.
std::string CompletionScript(const CLI::App& app, const std::string& shell);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_COMPLETION_H_
