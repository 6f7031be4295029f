#include "trainer/plan/plan.h"

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "kernels/runtime/status.h"
#include "trainer/commands/command.h"
#include "trainer/commands/commands.h"
#include "trainer/config/load.h"
#include "trainer/plan/micro_batch.h"

namespace wyvern {
namespace {

struct Options {
  std::string path, gpu = "h100-80g";
  std::vector<std::string> sets;
  int gpus = 1, gpus_per_node = 8;
  bool suggest = false;
};

absl::Status PrintPlan(const Options& options) {
  PlanOptions on{.num_gpus = options.gpus, .gpus_per_node = options.gpus_per_node, .gpu = {}};
  ASSIGN_OR_RETURN(on.gpu, FindGpu(options.gpu));
  // A run on GPUs, whatever this machine has.
  std::vector<std::string> sets = {"run.device=cuda"};
  sets.insert(sets.end(), options.sets.begin(), options.sets.end());
  ASSIGN_OR_RETURN(const RunConfig config, AsUsage(LoadRunConfig(options.path, sets)));
  if (config.run.device != Device::kCuda) {
    return absl::InvalidArgumentError(
        "run.device: plan is for GPUs; leave it out or set it to cuda");
  }
  absl::StatusOr<RunConfig> chosen =
      ChooseMicroBatches(config, on.num_gpus, PlannedGpuBytes(on.gpu.memory_bytes));
  const absl::StatusOr<Plan> plan = MakePlan(chosen.ok() ? *chosen : config, on);
  if (plan.ok()) std::fputs(PlanText(*plan).c_str(), stdout);
  if (!options.suggest && plan.ok() && plan->fits()) return absl::OkStatus();
  if (!plan.ok()) std::printf("As configured: %s\n", std::string(plan.status().message()).c_str());
  ASSIGN_OR_RETURN(const Plan better, SuggestPlan(chosen.ok() ? *chosen : config, on));
  const std::string settings = PlanSettings(config, better);
  if (settings.empty()) {
    std::printf("\nNo faster setting that fits was found.\n");
    return absl::OkStatus();
  }
  std::printf("\nSuggested: %s\n\n%s", settings.c_str(), PlanText(better).c_str());
  return absl::OkStatus();
}

}  // namespace

void AddPlanCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* plan = app.add_subcommand(
      "plan", "Predict memory, communication, speed and duration of a run on GPUs");
  plan->add_option("CONFIG", options->path, "YAML file")->required();
  plan->add_option("--set", options->sets, "key=value: overrides a key of the file");
  plan->add_option("--gpus", options->gpus, "GPUs of the run")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  plan->add_option("--gpus-per-node", options->gpus_per_node,
                   "GPUs of a host, which NVLink connects")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  plan->add_option("--gpu", options->gpu, "h100-80g, h200-141g, ...")->capture_default_str();
  plan->add_flag("--suggest", options->suggest,
                 "Search for the fastest mesh, ZeRO stage, micro batch and recomputation; done "
                 "anyway if the run does not fit");
  plan->callback([=] { *exit_code = ExitCode(PrintPlan(*options)); });
}

}  // namespace wyvern
