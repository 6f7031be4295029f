#include "trainer/commands/man.h"

#include <cstdio>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "trainer/commands/command_tree.h"
#include "trainer/commands/commands.h"
#include "trainer/run/version.h"

namespace wyvern {
namespace {

// Text of a line of its own. Hyphens are those of the keyboard, so that they can be copied.
std::string Text(const std::string& text) {
  const std::string escaped = absl::StrReplaceAll(text, {{"\\", "\\e"}, {"-", "\\-"}, {"\n", " "}});
  const bool control = absl::StartsWith(text, ".") || absl::StartsWith(text, "'");
  return absl::StrCat(control ? "\\&" : "", escaped, "\n");
}

std::string Bold(const std::string& text) {
  return absl::StrCat("\\fB", absl::StrReplaceAll(text, {{"\\", "\\e"}, {"-", "\\-"}}), "\\fR");
}

std::string Sentence(std::string text) {
  if (!text.empty() && !absl::EndsWith(text, ".")) text += ".";
  return text;
}

std::string OptionEntry(const OptionWords& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.names) names.push_back(Bold(name));
  const bool dashes = absl::StartsWith(option.names.front(), "-");
  const std::string value = option.choices.empty() ? option.value : "VALUE";
  std::string text = Sentence(option.description);
  if (!option.choices.empty()) {
    absl::StrAppend(&text, " One of ", absl::StrJoin(option.choices, ", "), ".");
  }
  if (!option.default_value.empty())
    absl::StrAppend(&text, " Default: ", option.default_value, ".");
  if (option.required && dashes) absl::StrAppend(&text, " Required.");
  return absl::StrCat(".TP\n", absl::StrJoin(names, ", "),
                      dashes && !value.empty() ? absl::StrCat(" \\fI", value, "\\fR") : "", "\n",
                      text.empty() ? "\\&\n" : Text(text));
}

std::string Synopsis(const CommandWords& command) {
  std::string text = absl::StrCat("wyvern", command.path.empty() ? "" : " ", command.path);
  if (!command.commands.empty()) absl::StrAppend(&text, " COMMAND");
  for (const OptionWords& argument : command.arguments) {
    const std::string& name = argument.names.front();
    absl::StrAppend(&text, argument.required ? " " : " [", name, argument.required ? "" : "]");
  }
  return text;
}

constexpr char kExitStatus[] = R"(.SH EXIT STATUS
.TP
.B 0
The work is done. A training that SIGUSR1 stopped, or any signal on several ranks, is saved and counts as done.
.TP
.B 1
The work failed. One message on standard error says why.
.TP
.B 2
Wrong usage: of the command line, or in a configuration.
.TP
.B 129, 130, 143
SIGHUP, SIGINT or SIGTERM stopped a training or a sweep, which is saved; of several ranks, scripts/launch ends so.
.SH ENVIRONMENT
.TP
.B RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT
What a process is of a run on several ranks, unless mpirun starts them.
.TP
.B WYVERN_RUN_TOKEN
The secret by which the ranks of a run know each other, the same on all.
.TP
.B OMP_NUM_THREADS
Threads of the CPU's kernels.
)";

}  // namespace

std::string ManualPage(const CLI::App& app) {
  const std::vector<CommandWords> commands = ReadCommands(app);
  const std::string version = Version();
  std::string page =
      absl::StrCat(".TH WYVERN 1 \"\" \"wyvern ", version.substr(0, version.find(' ')),
                   "\" \"User Commands\"\n.SH NAME\nwyvern \\- pretrain delta\\-rule "
                   "language models\n.SH SYNOPSIS\n.B wyvern\n.I COMMAND\n[\\fIOPTION\\fR ...]\n"
                   ".SH DESCRIPTION\n",
                   Text(commands.front().description),
                   "A run is one YAML file. A stopped run resumes from its newest "
                   "checkpoint with the same command.\n");
  for (const CommandWords& command : commands) {
    absl::StrAppend(&page, command.path.empty() ? ".SH OPTIONS\n" : "");
    if (!command.path.empty()) {
      absl::StrAppend(&page, ".SS \"", absl::StrReplaceAll(Synopsis(command), {{"-", "\\-"}}),
                      "\"\n", Text(Sentence(command.description)));
    }
    for (const OptionWords& argument : command.arguments) page += OptionEntry(argument);
    for (const OptionWords& option : command.options) page += OptionEntry(option);
    if (command.path.empty()) page += ".SH COMMANDS\n";
  }
  return page + kExitStatus;
}

void AddManCommand(CLI::App& app, int* exit_code) {
  app.add_subcommand("man", "Print this program's manual page, for `man -l`")->callback([=, &app] {
    std::fputs(ManualPage(app).c_str(), stdout);
    *exit_code = 0;
  });
}

}  // namespace wyvern
