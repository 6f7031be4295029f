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

int64_t CeilDivide(int64_t a, int64_t b) { return a / b + (a % b > 0 ? 1 : 0); }

// Divides the batches of every stage over the ranks.
absl::Status DivideBatches(RunPlan* plan) {
  const int64_t readers = plan->num_data_ranks();
  for (Stage& stage : plan->stages) {
    const int64_t samples = stage.SamplesPerStep();
    const int64_t pieces = readers * plan->MicroBatchesOfRank(stage);
    const bool only_stage = plan->config.stages.empty();
    const std::string key = only_stage ? "train" : absl::StrCat("stages[", stage.index, "]");
    const std::string ranks =
        absl::StrCat(readers, plan->mesh.context == 1 ? " ranks" : " CP groups");
    if (samples < readers) {
      return absl::InvalidArgumentError(
          absl::StrCat(key, ".batch_tokens: a batch of ", samples, " samples does not reach for ",
                       ranks, "; raise it, shorten ", only_stage ? "data" : key,
                       ".seq_len, or divide the samples with parallel.context"));
    }
    if (samples < pieces) {
      return absl::InvalidArgumentError(absl::StrCat(
          key, ".micro_batch: ", samples, " samples cannot be divided over ", ranks,
          " in micro batches of at most ", stage.micro_batch, "; set it to ", stage.micro_batch + 1,
          ", or ", key, ".batch_tokens to a multiple of ", readers * stage.seq_len));
    }
    stage.micro_batch = CeilDivide(samples, pieces);
  }
  return absl::OkStatus();
}

}  // namespace

int64_t RunPlan::MicroBatchesOfRank(const Stage& stage) const {
  if (stage.micro_batch == kAutoMicroBatch) return 1;
  return CeilDivide(CeilDivide(stage.SamplesPerStep(), num_data_ranks()), stage.micro_batch);
}

RunPlan::Samples RunPlan::SamplesOfMicroBatch(const Stage& stage, int64_t number) const {
  const int64_t pieces = num_data_ranks() * MicroBatchesOfRank(stage);
  const int64_t samples = stage.SamplesPerStep(), piece = number % pieces;
  const int64_t begin = samples * piece / pieces, end = samples * (piece + 1) / pieces;
  return {.first = stage.FirstSample() + number / pieces * samples + begin, .count = end - begin};
}

absl::StatusOr<RunPlan> ResolveRun(const RunConfig& config, const RunSite& site) {
  RunPlan plan{.config = config};
  plan.config.run.ResolveAuto();
  ASSIGN_OR_RETURN(plan.device, ChooseDevice(plan.config, site));
  ASSIGN_OR_RETURN(plan.mesh, ResolveMesh(config.parallel.mesh, site.num_ranks));
  plan.stages = StagesOf(config);
  if (!site.own_batches) RETURN_IF_ERROR(DivideBatches(&plan));
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
