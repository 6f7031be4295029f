// Explains an error of a command line in words that help.
#ifndef WYVERN_TRAINER_COMMANDS_USAGE_H_
#define WYVERN_TRAINER_COMMANDS_USAGE_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"

namespace wyvern {

// The first argument that is no command and no option of its command, with the nearest that is:
// "unknown command 'trian'; did you mean 'train'?". Empty if every word is known.
std::string UnknownWord(const CLI::App& app, const std::vector<std::string>& args);

// A check of an option: a finite number above 0. (CLI11's own names the largest double digit by
// digit.)
std::string CheckPositive(const std::string& text);

// Makes integers that their option cannot hold usage errors, of all commands below `app`.
void RefuseNumbersOutOfRange(CLI::App* app);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_USAGE_H_
