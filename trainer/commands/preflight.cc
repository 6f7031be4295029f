#include "trainer/run/preflight.h"

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kernels/runtime/status.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/commands/load_config.h"
#include "trainer/commands/on_ranks.h"
#include "trainer/config/load.h"
#include "trainer/run/engine.h"

namespace wyvern {
namespace {

// Whether a training would only have to open its data, and not to make them.
bool DataArePrepared(const RunConfig& config) {
  const bool trained = IsTrained(config.tokenizer.type);
  std::error_code ignored;
  bool prepared = !trained || std::filesystem::exists(config.tokenizer.path, ignored);
  for (const RunSource& source : SourcesOf(config)) {
    prepared = prepared && IsStoreWhole(source.source.dir + "/train.h5");
  }
  for (const ValidationSet& set : config.validation.sets) {
    prepared = prepared && IsStoreWhole(set.StorePath());
  }
  return prepared;
}

absl::Status CheckData(const RunPlan& plan, World* world, Preflight* preflight) {
  const RunConfig& config = plan.config;
  // A rank that lacks what the first one has is not to make it, but to say so.
  const std::string first = DataArePrepared(config) ? "1" : "";
  if (GatherTexts(world->host(), first).front().empty()) {
    if (world->rank() == 0) std::printf("data: not prepared yet, and not checked\n");
    return absl::OkStatus();
  }
  absl::StatusOr<RunData> data =
      DataArePrepared(config)
          ? PrepareRunData(config, plan.stages)
          : absl::NotFoundError("its host lacks data or a tokenizer that rank 0 has");
  RETURN_IF_ERROR(Agree(world->host(), data.status()));
  return preflight->CheckData(*data);
}

absl::Status Run(const absl::StatusOr<RunConfig>& config, World* world) {
  RETURN_IF_ERROR(Agree(world->host(), config.status()));
  Preflight preflight(*config, world);
  RETURN_IF_ERROR(preflight.CheckRanks());
  ASSIGN_OR_RETURN(const RunPlan plan, ResolveRunOnRanks(*config, world));
  ASSIGN_OR_RETURN(const std::unique_ptr<Mesh> mesh, MakeMesh(plan, world));
  if (mesh != nullptr) RETURN_IF_ERROR(preflight.MeasureMesh(*mesh));
  RETURN_IF_ERROR(CheckData(plan, world, &preflight));
  if (world->rank() == 0) std::printf("%s", preflight.Table().c_str());
  return absl::OkStatus();
}

}  // namespace

void AddPreflightCommand(CLI::App& app, int* exit_code) {
  struct Options {
    std::string path;
    std::vector<std::string> sets;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "preflight", "Compare what the ranks of a run have, and measure the network between them");
  command->add_option("CONFIG", options->path, "YAML file")->required();
  command->add_option("--set", options->sets, "key=value: overrides a key of the file");
  command->callback([=] {
    const absl::StatusOr<RunConfig> config = LoadConfigAndTasks(options->path, options->sets);
    *exit_code = OnAllRanks(config, [&](World* world) { return Run(config, world); });
  });
}

}  // namespace wyvern
