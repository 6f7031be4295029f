#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/printable.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/model.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/load_config.h"
#include "trainer/config/load.h"
#include "trainer/config/reference.h"
#include "trainer/gguf/architecture.h"
#include "trainer/hf/load_folder.h"
#include "trainer/plan/cost_text.h"

namespace wyvern {
namespace {

constexpr size_t kReasonsShown = 3;

// The Hugging Face families that `wyvern export` can write, the one that it chooses by itself
// first, and why it cannot write the others.
std::string DescribeExports(const ModelConfig& model, const std::string& prefix) {
  const absl::StatusOr<HfConfigFile> chosen = WriteHfConfig(model, {});
  std::vector<std::string> names;
  std::string others;
  for (const HfFamily* family : HfFamilies()) {
    std::vector<std::string> why = WhyNotAs(*family, model);
    if (why.empty()) {
      if (chosen.ok() && family == chosen->family) {
        names.insert(names.begin(), absl::StrCat(family->model_type, " (default)"));
      } else {
        names.emplace_back(family->model_type);
      }
      continue;
    }
    const size_t hidden = why.size() - std::min(why.size(), kReasonsShown);
    why.resize(why.size() - hidden);
    absl::StrAppend(&others, prefix, "  not as ", family->model_type, ": ",
                    absl::StrJoin(why, "; "),
                    hidden > 0 ? absl::StrCat("; and ", hidden, " more") : "", "\n");
  }
  const char* how = chosen.ok() || names.empty() ? "" : " (with --family)";
  return absl::StrCat(prefix, "exports as        ",
                      names.empty() ? "no Hugging Face model" : absl::StrJoin(names, ", "), how,
                      "\n", others);
}

// The same of GGUF files, of which a model has one kind at most.
std::string DescribeGguf(const ModelConfig& model, const std::string& prefix) {
  const absl::StatusOr<const GgufArchitecture*> found = FindGgufArchitecture(model);
  return absl::StrCat(prefix, "as GGUF           ",
                      found.ok() ? (*found)->name : absl::StrCat("no; ", found.status().message()),
                      "\n");
}

absl::Status Show(const std::string& path, const std::vector<std::string>& sets) {
  ASSIGN_OR_RETURN(const RunConfig config, LoadConfigAndTasks(path, sets));
  std::printf("%s%s%s# hash              %s\n%s", DescribeCost(config, "# ").c_str(),
              DescribeExports(config.model, "# ").c_str(), DescribeGguf(config.model, "# ").c_str(),
              ConfigHash(config).c_str(), ToYaml(config).c_str());
  return absl::OkStatus();
}

// The model of a Hugging Face folder, of its config.json, or of a checkpoint.
absl::StatusOr<ModelConfig> ModelAt(const std::string& path) {
  std::error_code ignored;
  std::string dir = path;
  if (std::filesystem::is_regular_file(path, ignored)) {
    dir = std::filesystem::path(path).parent_path().string();
    if (dir.empty()) dir = ".";
  }
  if (!std::filesystem::exists(dir + "/config.json", ignored)) {
    ASSIGN_OR_RETURN(const CheckpointInfo info, OpenCheckpointAloud(path));
    return CheckpointModelConfig(info);
  }
  ASSIGN_OR_RETURN(HfConfig config, ReadHfConfigFile(dir));
  const absl::StatusOr<HfWeights> weights = HfWeights::Open(dir);
  if (weights.ok()) {
    RETURN_IF_ERROR(SettleTiedHead(*weights, &config));
  } else if (!absl::IsNotFound(weights.status())) {
    return weights.status();
  }
  for (const std::string& warning : config.warnings) {
    std::fprintf(stderr, "wyvern: warning: %s\n", warning.c_str());
  }
  return config.model;
}

absl::Status ShowModel(const std::string& path) {
  ASSIGN_OR_RETURN(const ModelConfig model, ModelAt(path));
  std::printf("# The model of %s, whose weights train.init_from takes.\n%s",
              Printable(path).c_str(), ToYaml(model).c_str());
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
  CLI::App* from = config->add_subcommand(
      "from",
      "Print the model of a checkpoint or a Hugging Face folder as the section model: of a "
      "run's file");
  from->add_option(
          "PATH", options->path,
          "Checkpoint folder, RUN@STEP, run folder, Hugging Face folder or its config.json")
      ->required();
  from->callback([=] { *exit_code = ExitCode(ShowModel(options->path)); });
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
