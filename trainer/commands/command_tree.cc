#include "trainer/commands/command_tree.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace wyvern {
namespace {

OptionWords ReadOption(const CLI::Option& option) {
  OptionWords words;
  for (const std::string& name : option.get_snames()) words.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) words.names.push_back("--" + name);
  if (option.get_positional()) words.names = {option.get_name(/*positional=*/true)};
  // "TEXT:{auto,cpu,cuda}", "INT:INT in [1 - 1024]"
  const std::string type = option.get_type_name();
  if (option.get_items_expected_max() > 0) words.value = type.substr(0, type.find(':'));
  const size_t begin = type.find('{'), end = type.find('}');
  if (begin != std::string::npos && end != std::string::npos) {
    words.choices = absl::StrSplit(type.substr(begin + 1, end - begin - 1), ',');
  }
  words.description = option.get_description();
  words.default_value = option.get_default_str();
  words.required = option.get_required();
  return words;
}

void ReadOptions(const CLI::App& app, CommandWords* words) {
  for (const CLI::Option* option : app.get_options()) {
    OptionWords read = ReadOption(*option);
    // A group has its command's --help too.
    const bool known =
        std::any_of(words->options.begin(), words->options.end(),
                    [&](const OptionWords& before) { return before.names == read.names; });
    if (known) continue;
    (option->get_positional() ? words->arguments : words->options).push_back(std::move(read));
  }
  for (const CLI::App* group : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (group->get_name().empty()) ReadOptions(*group, words);
  }
}

void ReadCommand(const CLI::App& app, const std::string& path, std::vector<CommandWords>* all) {
  CommandWords words;
  words.path = path;
  words.description = app.get_description();
  ReadOptions(app, &words);
  std::vector<const CLI::App*> below;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_name().empty()) continue;  // a group of options
    below.push_back(command);
    words.commands.push_back(command->get_name());
  }
  all->push_back(std::move(words));
  for (const CLI::App* command : below) {
    ReadCommand(*command, absl::StrCat(path, path.empty() ? "" : " ", command->get_name()), all);
  }
}

}  // namespace

std::vector<CommandWords> ReadCommands(const CLI::App& app) {
  std::vector<CommandWords> all;
  ReadCommand(app, "", &all);
  return all;
}

}  // namespace wyvern
