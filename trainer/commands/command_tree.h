// The commands of the program as data, read from the command line's own description: what shells
// complete and what the manual page says.
#ifndef WYVERN_TRAINER_COMMANDS_COMMAND_TREE_H_
#define WYVERN_TRAINER_COMMANDS_COMMAND_TREE_H_

#include <string>
#include <vector>

#include "CLI/CLI.hpp"

namespace wyvern {

struct OptionWords {
  std::vector<std::string> names;    // "-h", "--help"; for an argument without dashes: "CONFIG"
  std::string value;                 // "TEXT", "INT"; empty: the option takes none
  std::vector<std::string> choices;  // all values that it takes; empty: any
  std::string description, default_value;
  bool required = false;
};

struct CommandWords {
  std::string path;  // "data prepare"; empty for the program itself
  std::string description;
  std::vector<std::string> commands;   // the names of those below it
  std::vector<OptionWords> arguments;  // without dashes, in their order
  std::vector<OptionWords> options;    // with dashes
};

// The program and every command below it, each before its own. Groups of options count as their
// command's.
std::vector<CommandWords> ReadCommands(const CLI::App& app);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_COMMANDS_COMMAND_TREE_H_
