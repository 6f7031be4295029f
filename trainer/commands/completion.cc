#include "trainer/commands/completion.h"

#include <cstdio>
#include <memory>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "trainer/commands/command_tree.h"
#include "trainer/commands/commands.h"

// The three scripts have one form: walk the words so far to find the command, then offer the values
// of the option before the cursor, the command's options, or its commands; files where none is
// known.
namespace wyvern {
namespace {

std::vector<std::string> NamesOf(const CommandWords& command) {
  std::vector<std::string> names;
  for (const OptionWords& option : command.options) {
    names.insert(names.end(), option.names.begin(), option.names.end());
  }
  return names;
}

// In single quotes, as sh, zsh and fish read them.
std::string Quoted(const std::string& text, const char* quote) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", quote}}), "'");
}

// `data|data prepare|...` as patterns of a case over "PATH WORD".
std::string PathPatterns(const std::vector<CommandWords>& commands, const char* separator) {
  std::vector<std::string> patterns;
  for (const CommandWords& command : commands) {
    if (command.path.empty()) continue;
    patterns.push_back(
        absl::StrCat("'", absl::StrContains(command.path, ' ') ? "" : " ", command.path, "'"));
  }
  return absl::StrJoin(patterns, separator);
}

// "'data prepare --input'|..." for each option that takes a value, by its choices.
std::string ValueCases(const std::vector<CommandWords>& commands, const std::string& of_choices,
                       const std::string& of_files) {
  std::string cases, files;
  for (const CommandWords& command : commands) {
    for (const OptionWords& option : command.options) {
      if (option.value.empty()) continue;
      std::vector<std::string> patterns;
      for (const std::string& name : option.names) {
        patterns.push_back(absl::StrCat("'", command.path, " ", name, "'"));
      }
      const std::string pattern = absl::StrJoin(patterns, " | ");
      if (option.choices.empty()) {
        absl::StrAppend(&files, files.empty() ? "" : " | ", pattern);
      } else {
        absl::StrAppend(
            &cases, "    ", pattern, ") ",
            absl::StrReplaceAll(of_choices, {{"@", absl::StrJoin(option.choices, " ")}}), " ;;\n");
      }
    }
  }
  return files.empty() ? cases : absl::StrCat(cases, "    ", files, ") ", of_files, " ;;\n");
}

std::string BashScript(const std::vector<CommandWords>& commands) {
  std::string words;
  for (const CommandWords& command : commands) {
    absl::StrAppend(&words, "    '", command.path, "') options='",
                    absl::StrJoin(NamesOf(command), " "), "' commands='",
                    absl::StrJoin(command.commands, " "), "' ;;\n");
  }
  return absl::StrCat(
      R"(# bash completion of wyvern, printed by: wyvern completion bash
_wyvern() {
  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD - 1]}"
  local at="" options="" commands="" i
  # --option=value is three words.
  if [ "$word" = "=" ]; then
    word=""
  elif [ "$before" = "=" ]; then
    before="${COMP_WORDS[COMP_CWORD - 2]}"
  fi
  for ((i = 1; i < COMP_CWORD; ++i)); do
    case "$at ${COMP_WORDS[i]}" in
    )",
      PathPatterns(commands, " | "), R"()
      at="${at:+$at }${COMP_WORDS[i]}" ;;
    esac
  done
  COMPREPLY=()
  case "$at $before" in
)",
      ValueCases(commands, R"(mapfile -t COMPREPLY < <(compgen -W '@' -- "$word"); return)",
                 "return"),
      R"(  esac
  case "$at" in
)",
      words, R"(  esac
  if [ -z "${word##-*}" ] && [ -n "$word" ]; then
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
  elif [ -n "$commands" ]; then
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word")
  fi
}
complete -o default -F _wyvern wyvern
)");
}

std::string ZshScript(const std::vector<CommandWords>& commands) {
  const auto entry = [](const std::string& name, const std::string& description) {
    return absl::StrCat(
        " ", Quoted(absl::StrCat(absl::StrReplaceAll(name, {{":", "\\:"}}), ":", description),
                    R"('\'')"));
  };
  std::string words;
  for (const CommandWords& command : commands) {
    absl::StrAppend(&words, "    '", command.path, "')\n      options=(");
    for (const OptionWords& option : command.options) {
      for (const std::string& name : option.names) {
        absl::StrAppend(&words, entry(name, option.description));
      }
    }
    absl::StrAppend(&words, ")\n      commands=(");
    for (const std::string& name : command.commands) {
      for (const CommandWords& below : commands) {
        if (below.path == absl::StrCat(command.path, command.path.empty() ? "" : " ", name)) {
          absl::StrAppend(&words, entry(name, below.description));
        }
      }
    }
    absl::StrAppend(&words, ") ;;\n");
  }
  return absl::StrCat(R"(#compdef wyvern
# zsh completion of wyvern, printed by: wyvern completion zsh
_wyvern() {
  local at="" i
  local -a options commands
  for ((i = 2; i < CURRENT; ++i)); do
    case "$at ${words[i]}" in
    )",
                      PathPatterns(commands, " | "), R"()
      at="${at:+$at }${words[i]}" ;;
    esac
  done
  case "$at ${words[CURRENT - 1]}" in
)",
                      ValueCases(commands, "compadd -- @; return", "_files; return"), R"(  esac
  case "$at" in
)",
                      words, R"(  esac
  if [[ "${words[CURRENT]}" == -* ]]; then
    _describe option options
  elif (( $#commands )); then
    _describe command commands
  else
    _files
  fi
}
if [ "$funcstack[1]" = "_wyvern" ]; then _wyvern "$@"; else compdef _wyvern wyvern; fi
)");
}

std::string FishScript(const std::vector<CommandWords>& commands) {
  std::string lines;
  for (const CommandWords& command : commands) {
    const std::string begin =
        absl::StrCat("complete -c wyvern -n '__wyvern_at \"", command.path, "\"'");
    for (const CommandWords& below : commands) {
      const size_t space = below.path.rfind(' ');
      const std::string parent = space == std::string::npos ? "" : below.path.substr(0, space);
      if (below.path.empty() || parent != command.path) continue;
      absl::StrAppend(&lines, begin, " -f -a ",
                      space == std::string::npos ? below.path : below.path.substr(space + 1),
                      " -d ", Quoted(below.description, "\\'"), "\n");
    }
    for (const OptionWords& option : command.options) {
      absl::StrAppend(&lines, begin);
      for (const std::string& name : option.names) {
        absl::StrAppend(&lines, absl::StartsWith(name, "--") ? " -l " : " -s ",
                        name.substr(name.find_first_not_of('-')));
      }
      if (!option.choices.empty()) {
        absl::StrAppend(&lines, " -x -a '", absl::StrJoin(option.choices, " "), "'");
      } else if (!option.value.empty()) {
        absl::StrAppend(&lines, " -r");
      }
      absl::StrAppend(&lines, " -d ", Quoted(option.description, "\\'"), "\n");
    }
  }
  return absl::StrCat(R"(# fish completion of wyvern, printed by: wyvern completion fish
function __wyvern_at
    set -l at ""
    for word in (commandline -opc)[2..-1]
        switch "$at $word"
            case )",
                      PathPatterns(commands, " "), R"(
                set at (string trim "$at $word")
        end
    end
    test "$at" = "$argv[1]"
end
)",
                      lines);
}

}  // namespace

std::string CompletionScript(const CLI::App& app, const std::string& shell) {
  const std::vector<CommandWords> commands = ReadCommands(app);
  if (shell == "zsh") return ZshScript(commands);
  return shell == "fish" ? FishScript(commands) : BashScript(commands);
}

void AddCompletionCommand(CLI::App& app, int* exit_code) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("completion", "Print a script by which a shell completes command lines");
  command->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([=, &app] {
    std::fputs(CompletionScript(app, *shell).c_str(), stdout);
    *exit_code = 0;
  });
}

}  // namespace wyvern
