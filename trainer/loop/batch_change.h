// Batches that change where a run resumes: the same stores in other batches, samples or order.
#ifndef WYVERN_TRAINER_LOOP_BATCH_CHANGE_H_
#define WYVERN_TRAINER_LOOP_BATCH_CHANGE_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/io/json_members.h"
#include "trainer/config/run_config.h"
#include "trainer/config/stages.h"

namespace wyvern {

// From this step on, where so many tokens were consumed, a run had batches of another size or
// samples of another length.
struct BatchChange {
  int64_t step = 0, tokens = 0;
};

// Everything that the data of a stage depend on, besides the sources and the changes of
// batches.
nlohmann::json BatchManifest(const RunConfig& config, const Stage& stage);

// The key of the mixture of a stage: "stages[1].sources" or "data.sources".
std::string MixtureKey(const RunConfig& config, const Stage& stage);

// The error of a checkpoint whose data position means nothing to the run: `difference` says why.
absl::Status DifferentData(const std::string& checkpoint, const std::string& difference);

// The changes that a manifest of data (TrainingRun::DataManifest) records, in order of their steps,
// none of them beyond `step`.
absl::StatusOr<std::vector<BatchChange>> ReadBatchChanges(const JsonMembers& data, int64_t step);
void WriteBatchChanges(const std::vector<BatchChange>& changes, nlohmann::json* data);

// A run that resumes at a step, and what differs from its checkpoint.
struct BatchDifference {
  const RunConfig& config;
  const std::vector<Stage>& stages;  // with the changes of the past
  int64_t step = 0, stage_updates = 0;
  // The manifests of data, without their stores, of the configuration and of the checkpoint.
  const nlohmann::json& now;
  const nlohmann::json& then;

  // Whether batch, length of samples, document boundary and seed are all that differs.
  bool IsAll() const;
  // The first other difference: the key of the configuration that makes it.
  std::string Describe() const;
  // Whether the change moves the place in the data, so that it is a BatchChange.
  bool Moves() const;
  // The change, where Moves.
  BatchChange Change() const;
  // OK if it is known what the steps that follow do. Else the key and what to do instead.
  absl::Status Check() const;
  // OK where nothing differs or the change is one that Check takes. Errors name `checkpoint`.
  absl::Status CheckFrom(const std::string& checkpoint) const;
  // Says from which sample on the change holds; `changed`: the stage of the step with the change.
  std::string Note(const Stage& changed) const;
};

}  // namespace wyvern

#endif  // WYVERN_TRAINER_LOOP_BATCH_CHANGE_H_
