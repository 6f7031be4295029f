// Tests the completion scripts and the manual page against the command line as CLI11 has it.
#include "trainer/commands/completion.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "tests/data/data_fixture.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/man.h"

namespace wyvern {
namespace {

class CommandLineTest : public DataTest {
 protected:
  CommandLineTest() : app_("Trains.", "wyvern") {
    app_.set_version_flag("--version", "1");
    AddAllCommands(app_, &exit_code_);
    Walk(app_, "");
  }

  // Each command's path, and what may follow it: its commands, or its options.
  void Walk(const CLI::App& app, const std::string& path) {
    std::vector<std::string> options, commands;
    for (const CLI::App* below : app.get_subcommands([](const CLI::App*) { return true; })) {
      if (below->get_name().empty()) {
        for (const CLI::Option* option : below->get_options()) AddNames(*option, &options);
        continue;
      }
      commands.push_back(below->get_name());
      Walk(*below, absl::StrCat(path, " ", below->get_name()));
    }
    for (const CLI::Option* option : app.get_options()) AddNames(*option, &options);
    commands_.push_back({path, commands});
    options_.push_back({path, options});
  }

  static void AddNames(const CLI::Option& option, std::vector<std::string>* names) {
    for (const std::string& name : option.get_snames()) names->push_back("-" + name);
    for (const std::string& name : option.get_lnames()) names->push_back("--" + name);
  }

  // Output of a shell command, with its errors.
  static std::string Output(const std::string& command) {
    std::string output;
    FILE* pipe = popen(absl::StrCat("exec 2>&1; ", command).c_str(), "r");
    char buffer[4096];
    for (size_t n; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) output.append(buffer, n);
    pclose(pipe);
    return output;
  }

  // Bash offers these words behind each of the lines, sorted, one string a line.
  std::vector<std::string> Bash(const std::vector<std::string>& lines) {
    std::string script = CompletionScript(app_, "bash");
    absl::StrAppend(
        &script,
        "offer() {\n  COMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1)) COMPREPLY=()\n  _wyvern\n"
        "  printf '%s\\n' \"${COMPREPLY[@]}\" | LC_ALL=C sort | paste -sd ' '\n}\n");
    for (const std::string& line : lines) absl::StrAppend(&script, "offer wyvern", line, "\n");
    WriteText("offer.sh", script);
    std::vector<std::string> offered = absl::StrSplit(Output("bash " + Path("offer.sh")), '\n');
    offered.pop_back();
    return offered;
  }

  static std::string Sorted(std::vector<std::string> words) {
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());  // --help of groups
    return absl::StrJoin(words, " ");
  }

  CLI::App app_;
  int exit_code_ = 0;
  std::vector<std::pair<std::string, std::vector<std::string>>> commands_, options_;
};

TEST_F(CommandLineTest, BashOffersEveryCommandAndOption) {
  std::vector<std::string> lines, expected;
  for (const auto& [path, words] : commands_) {
    lines.push_back(path + " ''");
    expected.push_back(Sorted(words));
  }
  for (const auto& [path, words] : options_) {
    lines.push_back(path + " -");
    expected.push_back(Sorted(words));
  }
  ASSERT_GT(lines.size(), 40u);
  const std::vector<std::string> offered = Bash(lines);
  ASSERT_EQ(offered.size(), lines.size()) << absl::StrJoin(offered, "\n");
  for (size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(offered[i], expected[i]) << lines[i];
}

TEST_F(CommandLineTest, BashOffersValuesAndWhatBeginsWithTheWord) {
  const std::pair<std::string, std::string> cases[] = {
      {" tr", "train"},
      {" bench ops --device ''", "auto cpu cuda"},
      {" bench ops --device = c", "cpu cuda"},
      {" bench ops --device =", "auto cpu cuda"},
      {" bench ops --json --dev", "--device"},
      {" train bench ''", ""},  // a configuration's name; the command is found already
      {" train --set ''", ""},  // files
      {" data prepare --val-d", "--val-documents"}};
  std::vector<std::string> lines;
  for (const auto& [line, expected] : cases) lines.push_back(line);
  const std::vector<std::string> offered = Bash(lines);
  ASSERT_EQ(offered.size(), lines.size());
  for (size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(offered[i], cases[i].second) << lines[i];
}

TEST_F(CommandLineTest, OtherShellsKnowEveryOptionOfEveryCommand) {
  const std::string zsh = CompletionScript(app_, "zsh"), fish = CompletionScript(app_, "fish");
  for (const auto& [path, names] : options_) {
    const std::string of_command = path.empty() ? "" : path.substr(1);
    const size_t row = zsh.find(absl::StrCat("    '", of_command, "')\n      options=("));
    ASSERT_NE(row, std::string::npos) << of_command;
    const std::string options = zsh.substr(row, zsh.find("commands=(", row) - row);
    for (const std::string& name : names) {
      EXPECT_TRUE(absl::StrContains(options, absl::StrCat(" '", name, ":"))) << path << name;
      bool found = false;
      for (const absl::string_view line : absl::StrSplit(fish, '\n')) {
        const std::string option =
            absl::StartsWith(name, "--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
        found |= absl::StartsWith(line, absl::StrCat("complete -c wyvern -n '__wyvern_at \"",
                                                     of_command, "\"'")) &&
                 absl::StrContains(absl::StrCat(line, " "), absl::StrCat(option, " "));
      }
      EXPECT_TRUE(found) << path << " " << name;
    }
  }
  WriteText("zsh", zsh);
  WriteText("fish", fish);
  EXPECT_EQ(Output("command -v zsh >/dev/null && zsh -n " + Path("zsh")), "");
  EXPECT_EQ(Output("command -v fish >/dev/null && fish --no-execute " + Path("fish")), "");
}

TEST_F(CommandLineTest, TheManualPageHasEveryCommandAndOption) {
  const std::string page = ManualPage(app_);
  for (const auto& [path, names] : options_) {
    const std::string escaped = absl::StrReplaceAll(path, {{"-", "\\-"}});
    const size_t at = path.empty() ? page.find(".SH OPTIONS\n")
                                   : page.find(absl::StrCat(".SS \"wyvern", escaped));
    ASSERT_NE(at, std::string::npos) << path;
    const std::string section = page.substr(at, page.find("\n.S", at + 1) - at);
    for (const std::string& name : names) {
      EXPECT_TRUE(absl::StrContains(
          section, absl::StrCat("\\fB", absl::StrReplaceAll(name, {{"-", "\\-"}}), "\\fR")))
          << path << " " << name;
    }
  }
  if (Output("command -v groff").empty()) GTEST_SKIP() << "groff is not there";
  WriteText("wyvern.1", page);
  EXPECT_EQ(Output("groff -man -Tutf8 -ww -z " + Path("wyvern.1")), "");
  const std::string text = Output("groff -man -Tascii -P-cbou " + Path("wyvern.1"));
  EXPECT_TRUE(absl::StrContains(text, "wyvern data prepare")) << text.substr(0, 2000);
}

}  // namespace
}  // namespace wyvern
