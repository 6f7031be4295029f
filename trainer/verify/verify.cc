#include "trainer/verify/verify.h"

#include <map>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/io/say.h"
#include "kernels/comm/world.h"
#include "kernels/runtime/gpu.h"
#include "kernels/runtime/host_memory.h"
#include "kernels/runtime/status.h"
#include "layers/model.h"
#include "trainer/checkpoint/folder.h"
#include "trainer/config/load.h"
#include "trainer/plan/micro_batch.h"
#include "trainer/run/preflight.h"
#include "trainer/verify/check_exports.h"
#include "trainer/verify/check_numbers.h"
#include "trainer/verify/check_resume.h"
#include "trainer/verify/verified_run.h"

namespace wyvern {
namespace {

// "18 kda, 6 mla", by the names of the mixers in the recipe.
std::string LayersText(const ModelConfig& model) {
  std::vector<std::string> parts;
  for (const auto& [name, mixer] : model.mixers) {
    int64_t count = 0;
    for (int64_t i = 0; i < model.num_layers; ++i) count += &model.MixerOfLayer(i) == &mixer;
    if (count > 0) parts.push_back(absl::StrCat(count, " ", name));
  }
  return absl::StrJoin(parts, ", ");
}

std::vector<std::pair<std::string, std::string>> Facts(const RunConfig& recipe,
                                                       const VerifyOptions& options) {
  std::vector<std::pair<std::string, std::string>> facts = {
      {"recipe", options.recipe},
      {"configuration", ConfigHash(recipe)},
      {"parameters", absl::StrCat(CountParameters(recipe.model))},
      {"of one token", absl::StrCat(CountActiveParameters(recipe.model))},
      {"layers", LayersText(recipe.model)},
      {"device", *recipe.run.device == Device::kCuda ? "cuda" : "cpu"},
      {"precision", *recipe.run.precision == DType::kBf16 ? "bf16" : "fp32"}};
  for (const RankFact& fact : FactsOfProcess(*recipe.run.device)) {
    facts.emplace_back(fact.name, fact.value);
  }
  return facts;
}

// A step as the recipe has it, but on one rank.
absl::StatusOr<StepBench> MeasureSpeed(const RunConfig& recipe) {
  RunConfig config = recipe;
  config.parallel.mesh = {};
  const double memory =
      *config.run.device == Device::kCuda
          ? PlannedGpuBytes(static_cast<double>(CurrentGpu().total_bytes))
          : PlannedHostBytes(static_cast<double>(HostMemoryBytes()), /*ranks_of_host=*/1);
  ASSIGN_OR_RETURN(config, ChooseMicroBatches(config, /*num_ranks=*/1, memory));
  Say("timing steps");
  return BenchStep(config, {}, World::Single().get());
}

}  // namespace

absl::StatusOr<Card> VerifyRecipe(const RunConfig& recipe, const VerifyOptions& options,
                                  const std::string& scratch) {
  const auto wants = [&](const char* check) {
    return options.checks.empty() || options.checks.count(check) > 0;
  };
  RunConfig resolved = recipe;
  resolved.run.ResolveAuto();
  Card card = {.name = recipe.run.name, .facts = Facts(resolved, options)};
  const std::string data = scratch + "/data";
  const RunConfig run = VerifiedRun(resolved, data, scratch + "/run");
  if (wants("resume") || wants("exports") || wants("numbers")) {
    RETURN_IF_ERROR(WriteRandomDocuments(resolved, data));
    RETURN_IF_ERROR(TrainVerifiedRun(run));
  }
  if (wants("resume")) {
    ASSIGN_OR_RETURN(card.resume, CheckResume(run));
  }
  const std::string checkpoint = CheckpointFolder(run.run.dir, kVerifiedSteps);
  if (wants("exports")) {
    ASSIGN_OR_RETURN(card.exports, CheckExports(checkpoint, scratch));
  }
  if (wants("numbers")) {
    ASSIGN_OR_RETURN(const Batch batch, VerifiedBatch(run, options.max_tokens));
    ASSIGN_OR_RETURN(card.numbers, CheckNumbers(checkpoint, *resolved.run.device,
                                                *resolved.run.precision, batch));
  }
  if (wants("speed")) {
    ASSIGN_OR_RETURN(card.speed, MeasureSpeed(resolved));
  }
  return card;
}

}  // namespace wyvern
