#include "trainer/run/run_plan.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

absl::StatusOr<Device> ChooseDevice(const RunConfig& config, const RunSite& site) {
  if (site.simulated) return Device::kMeta;
  if (config.run.device != Device::kCuda) return Device::kCpu;
  std::string why;
  if (!CudaAvailable(&why)) {
    return absl::FailedPreconditionError(
        absl::StrCat("run.device: cuda: ", why, "; set run.device: cpu or auto"));
  }
  return Device::kCuda;
}

absl::Status CheckBatches(const RunPlan& plan) {
  const int64_t readers = plan.num_data_ranks();
  for (const Stage& stage : plan.stages) {
    if (stage.MicroBatchesPerStep() % readers == 0) continue;
    const bool only_stage = plan.config.stages.empty();
    const std::string key = only_stage ? "train" : absl::StrCat("stages[", stage.index, "]");
    return absl::InvalidArgumentError(absl::StrCat(
        key, ".batch_tokens: ", stage.batch_tokens, " is no multiple of ", readers,
        plan.mesh.context == 1 ? " ranks" : " CP groups", " x ", key, ".micro_batch x ",
        only_stage ? "data" : key, ".seq_len = ", readers * stage.micro_batch * stage.seq_len,
        ", so that they cannot divide a batch evenly"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RunPlan> ResolveRun(const RunConfig& config, const RunSite& site) {
  RunPlan plan{.config = config};
  plan.config.run.ResolveAuto();
  ASSIGN_OR_RETURN(plan.device, ChooseDevice(plan.config, site));
  ASSIGN_OR_RETURN(plan.mesh, ResolveMesh(config.parallel.mesh, site.num_ranks));
  plan.stages = StagesOf(config);
  if (!site.own_batches) RETURN_IF_ERROR(CheckBatches(plan));
  plan.compute = *plan.config.run.precision;
  return plan;
}

absl::StatusOr<RunPlan> ResolveRunOnRanks(const RunConfig& config, World* world, bool own_batches) {
  absl::StatusOr<RunPlan> plan =
      ResolveRun(config, {.num_ranks = world->size(), .own_batches = own_batches});
  RETURN_IF_ERROR(Agree(world->host(), plan.status()));
  if (plan->device == Device::kCuda) RETURN_IF_ERROR(world->SelectGpu());
  return plan;
}

}  // namespace wyvern
