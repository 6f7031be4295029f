#include "trainer/loop/continuation.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "data/io/json_members.h"
#include "kernels/runtime/status.h"
#include "layers/model.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/sharded_state.h"
#include "trainer/config/stages.h"
#include "trainer/loop/batch_change.h"

namespace wyvern {
namespace {

// How the mixture of a step differs, in weights, packing or number of its sources. Folders may have
// moved.
std::string MixtureDifference(const RunConfig& before, const RunConfig& now, int64_t step) {
  const std::vector<Stage> old_stages = StagesOf(before), new_stages = StagesOf(now);
  const Stage& then = StageOfStep(old_stages, step);
  const Stage& stage = StageOfStep(new_stages, step);
  const std::string key = MixtureKey(now, stage);
  if (stage.mixture.size() != then.mixture.size()) {
    return absl::StrCat(key, ": ", stage.mixture.size(), " sources now, ", then.mixture.size(),
                        " then");
  }
  const std::vector<RunSource> old_sources = SourcesOf(before), new_sources = SourcesOf(now);
  for (size_t i = 0; i < stage.mixture.size(); ++i) {
    const StageSource &a = stage.mixture[i], &b = then.mixture[i];
    const std::string entry = absl::StrCat(key, "[", i, "]");
    if (a.weight != b.weight) {
      return absl::StrCat(entry, ".weight: ", a.weight, ", was ", b.weight);
    }
    const SamplePacking packing = new_sources[static_cast<size_t>(a.source)].source.packing;
    const SamplePacking old = old_sources[static_cast<size_t>(b.source)].source.packing;
    if (packing != old)
      return absl::StrCat(entry, ".packing: ", Name(packing), ", was ", Name(old));
  }
  return "";
}

}  // namespace

absl::Status CheckContinuation(const CheckpointInfo& checkpoint, const RunConfig& before,
                               const RunConfig& config) {
  RETURN_IF_ERROR(CheckOptimizer(checkpoint, Model::Declare(config.model).get(), config.optimizer));
  const JsonMembers meta(checkpoint.meta, absl::StrCat(checkpoint.path, "/", kManifestName),
                         "meta");
  const int64_t step = checkpoint.step, last = std::max<int64_t>(step - 1, 0);
  const std::string mixture = MixtureDifference(before, config, last);
  if (!mixture.empty()) return DifferentData(checkpoint.path, mixture);
  ASSIGN_OR_RETURN(const int64_t updates, meta.At("training").Count("stage_updates", step));
  ASSIGN_OR_RETURN(const nlohmann::json* data, meta.Object("data"));
  ASSIGN_OR_RETURN(const std::vector<BatchChange> changes, ReadBatchChanges(meta.At("data"), step));
  std::vector<Stage> stages = StagesOf(config);
  for (const BatchChange& change : changes) ChangeBatches(change.step, change.tokens, &stages);
  const nlohmann::json now = BatchManifest(config, StageOfStep(stages, last));
  nlohmann::json then = *data;
  for (const char* key : {"stores", "mixture", "batch_changes"}) then.erase(key);
  const BatchDifference difference{.config = config,
                                   .stages = stages,
                                   .step = step,
                                   .stage_updates = updates,
                                   .now = now,
                                   .then = then};
  return difference.CheckFrom(checkpoint.path);
}

}  // namespace wyvern
