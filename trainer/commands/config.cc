#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "kernels/runtime/status.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/config/load.h"
#include "trainer/config/reference.h"
#include "trainer/plan/cost_text.h"

namespace wyvern {
namespace {

absl::Status Show(const std::string& path, const std::vector<std::string>& sets) {
  ASSIGN_OR_RETURN(const RunConfig config, AsUsage(LoadRunConfig(path, sets)));
  std::printf("%s# hash              %s\n%s", DescribeCost(config, "# ").c_str(),
              ConfigHash(config).c_str(), ToYaml(config).c_str());
  return absl::OkStatus();
}

absl::Status ShowKeys(const std::string& section, bool markdown, bool json) {
  if (markdown) {
    std::printf("%s", ReferencePage().c_str());
    return absl::OkStatus();
  }
  std::vector<KeyEntry> entries;
  if (section.empty()) {
    entries = ConfigReference();
  } else {
    ASSIGN_OR_RETURN(entries, ReferenceOf(section));
  }
  std::printf("%s", json ? (ReferenceJson(entries).dump(2) + "\n").c_str()
                         : ReferenceText(entries).c_str());
  return absl::OkStatus();
}

}  // namespace

void AddConfigCommand(CLI::App& app, int* exit_code) {
  struct Options {
    std::string path;
    std::vector<std::string> sets;
    std::string section;
    bool markdown = false, json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* config = app.add_subcommand("config", "Inspect configurations");
  config->require_subcommand(1);
  CLI::App* show = config->add_subcommand(
      "show", "Print a configuration with every key, its parameter count, FLOPs and memory");
  show->add_option("CONFIG", options->path, "YAML file")->required();
  show->add_option("--set", options->sets, "key=value: overrides a key of the file");
  show->callback([=] { *exit_code = ExitCode(Show(options->path, options->sets)); });
  CLI::App* keys =
      config->add_subcommand("keys", "Print every key with its type, default, range and meaning");
  CLI::Option* section =
      keys->add_option("SECTION", options->section, "Only this part: train, model.mixers.kda");
  keys->add_flag("--markdown", options->markdown, "As the page docs/configuration.md")
      ->excludes(section)
      ->excludes(keys->add_flag("--json", options->json, "As one JSON array"));
  keys->callback(
      [=] { *exit_code = ExitCode(ShowKeys(options->section, options->markdown, options->json)); });
}

}  // namespace wyvern
