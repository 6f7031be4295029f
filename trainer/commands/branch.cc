#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/io/json.h"
#include "data/io/json_members.h"
#include "data/io/say.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/model.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/config/load.h"
#include "trainer/config/model_json.h"
#include "trainer/config/stages.h"
#include "trainer/loop/continuation.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string parent, target;
  std::vector<std::string> sets;
};

struct Target {
  std::string file, name, dir;  // dir empty: the default of the name
};

// NEW.yaml, or a run folder that gets config.yaml.
Target TargetOf(const std::string& path) {
  fs::path target = fs::path(path).lexically_normal();
  if (target.extension() == ".yaml" || target.extension() == ".yml") {
    return {.file = target.string(), .name = target.stem().string(), .dir = ""};
  }
  if (!target.has_filename()) target = target.parent_path();  // "runs/decay/"
  return {.file = (target / "config.yaml").string(),
          .name = target.filename().string(),
          .dir = target.string()};
}

absl::Status CheckTarget(const std::string& file, const RunConfig& branch) {
  std::error_code ignored;
  if (fs::exists(file, ignored)) {
    return absl::AlreadyExistsError(
        absl::StrCat(file, ": exists already; choose another or remove it"));
  }
  const fs::path checkpoints = fs::path(branch.RunDir()) / "checkpoints";
  if (fs::exists(checkpoints, ignored) && !fs::is_empty(checkpoints, ignored)) {
    return absl::AlreadyExistsError(
        absl::StrCat(branch.RunDir(), ": holds a run already; choose another name or run.dir"));
  }
  return absl::OkStatus();
}

// The parent's configuration with what makes it that of a branch.
absl::StatusOr<RunConfig> BranchConfig(const CheckpointInfo& parent, const std::string& yaml,
                                       const Target& target, const Options& options) {
  std::vector<std::string> sets = {
      absl::StrCat("run.name=", JsonText(target.name)),
      target.dir.empty() ? "run.dir=null" : absl::StrCat("run.dir=", JsonText(target.dir)),
      absl::StrCat("run.branch_of=", JsonText(parent.path)), "train.init_from=null"};
  sets.insert(sets.end(), options.sets.begin(), options.sets.end());
  ASSIGN_OR_RETURN(RunConfig branch, AsUsage(ParseRunConfig(yaml, options.parent, sets)));
  ASSIGN_OR_RETURN(const ModelConfig model, CheckpointModelConfig(parent));
  const std::string difference =
      FirstDifference(ModelConfigToJson(branch.model), ModelConfigToJson(model), "model");
  if (!difference.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a branch has its parent's model: ", difference,
                     "; train.init_from takes the weights into another one"));
  }
  const int64_t end = StagesOf(branch).back().end_step();
  if (end <= parent.step) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the branch would end with step ", end, ", but its parent is at step ", parent.step,
        "; give a larger end, as in --set train.steps=", parent.step + 1000));
  }
  return branch;
}

absl::Status Run(const Options& options) {
  ASSIGN_OR_RETURN(const CheckpointInfo parent, OpenCheckpointAloud(options.parent));
  const JsonMembers meta(parent.meta, absl::StrCat(parent.path, "/", kManifestName), "meta");
  if (!meta.Has("training")) {
    return absl::FailedPreconditionError(
        absl::StrCat(parent.path,
                     ": holds a model but no training run, so there is nothing to continue; "
                     "train.init_from takes its weights"));
  }
  ASSIGN_OR_RETURN(const std::string yaml, meta.String("config"));
  ASSIGN_OR_RETURN(const RunConfig before, ParseRunConfig(yaml, parent.path));
  const Target target = TargetOf(options.target);
  ASSIGN_OR_RETURN(const RunConfig branch, BranchConfig(parent, yaml, target, options));
  RETURN_IF_ERROR(CheckContinuation(parent, before, branch));
  RETURN_IF_ERROR(CheckTarget(target.file, branch));
  const fs::path folder = fs::path(target.file).parent_path();
  if (!folder.empty()) RETURN_IF_ERROR(MakeFolders(folder.string()));
  RETURN_IF_ERROR(WriteFileAtomically(target.file, ToYaml(branch)));
  Say(absl::StrCat("a branch of ", parent.path, ", from step ", parent.step, " to ",
                   StagesOf(branch).back().end_step()));
  for (const std::string& change : Differences(before, branch)) Say(absl::StrCat("  ", change));
  Say(absl::StrCat("start it with: wyvern train ", target.file));
  return absl::OkStatus();
}

}  // namespace

void AddBranchCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "branch", "Write the configuration of a run that continues another one with other keys");
  command->add_option("PARENT", options->parent, kCheckpointHelp)->required();
  command
      ->add_option("NEW", options->target, "Run folder of the branch, or a YAML file to be written")
      ->required();
  command->add_option("--set", options->sets, "key=value: overrides a key of the parent");
  command->callback([=] { *exit_code = ExitCode(Run(*options)); });
}

}  // namespace wyvern
