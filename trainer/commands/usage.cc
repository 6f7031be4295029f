#include "trainer/commands/usage.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/runtime/nearest.h"

namespace wyvern {
namespace {

std::vector<const CLI::App*> CommandsOf(const CLI::App& app) {
  std::vector<const CLI::App*> commands;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!command->get_name().empty()) commands.push_back(command);  // others group options
  }
  return commands;
}

// With their dashes; those of groups too.
std::vector<std::string> OptionsOf(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  }
  for (const CLI::App* group : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!group->get_name().empty()) continue;
    const std::vector<std::string> more = OptionsOf(*group);
    names.insert(names.end(), more.begin(), more.end());
  }
  return names;
}

std::string Unknown(const std::string& what, const std::string& word, const std::string& where,
                    const std::vector<std::string>& known) {
  const std::string nearest = Nearest(word, known);
  return absl::StrCat("unknown ", what, " '", word, "'", where,
                      nearest.empty() ? absl::StrCat("; there are ", absl::StrJoin(known, ", "))
                                      : absl::StrCat("; did you mean '", nearest, "'?"));
}

// strtoull and strtoll, by which CLI11 converts, take -1 for 2^64 - 1 and the nearest number for
// one that is too large.
std::string NumberOutOfRange(const std::string& text, bool is_unsigned) {
  errno = 0;
  if (is_unsigned) {
    if (!text.empty() && text[0] == '-') {
      return absl::StrCat("expected a number of at least 0, got ", text);
    }
    static_cast<void>(std::strtoull(text.c_str(), nullptr, 0));
  } else {
    static_cast<void>(std::strtoll(text.c_str(), nullptr, 0));
  }
  return errno == ERANGE ? absl::StrCat(text, " does not fit into 64 bits") : "";
}

}  // namespace

void RefuseNumbersOutOfRange(CLI::App* app) {
  for (CLI::Option* option : app->get_options([](const CLI::Option*) { return true; })) {
    const std::string type = option->get_type_name();
    const bool is_unsigned = absl::StartsWith(type, "UINT");
    if (!is_unsigned && !absl::StartsWith(type, "INT")) continue;
    option->check(
        [is_unsigned](const std::string& text) { return NumberOutOfRange(text, is_unsigned); });
  }
  for (CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; })) {
    RefuseNumbersOutOfRange(command);
  }
}

std::string UnknownWord(const CLI::App& app, const std::vector<std::string>& args) {
  const CLI::App* command = &app;
  std::string path;  // of commands so far
  for (const std::string& arg : args) {
    if (arg == "--") break;
    const bool negative = arg.size() > 1 && (absl::ascii_isdigit(arg[1]) || arg[1] == '.');
    if (arg.size() > 1 && arg[0] == '-' && !negative) {
      const std::string name = arg.substr(0, arg.find('='));
      const std::vector<std::string> options = OptionsOf(*command);
      if (std::find(options.begin(), options.end(), name) != options.end()) continue;
      return Unknown("option", name, path.empty() ? "" : absl::StrCat(" of", path), options);
    }
    const std::vector<const CLI::App*> commands = CommandsOf(*command);
    if (commands.empty()) continue;  // a value
    std::vector<std::string> names;
    const CLI::App* next = nullptr;
    for (const CLI::App* candidate : commands) {
      names.push_back(candidate->get_name());
      if (names.back() == arg) next = candidate;
    }
    if (next == nullptr) {
      return Unknown("command", arg, path.empty() ? "" : absl::StrCat(" of", path), names);
    }
    command = next;
    absl::StrAppend(&path, " ", arg);
  }
  return "";
}

std::string CheckPositive(const std::string& text) {
  double value = 0;
  if (absl::SimpleAtod(text, &value) && std::isfinite(value) && value > 0) return "";
  return absl::StrCat("expected a number above 0, got '", text, "'");
}

}  // namespace wyvern
