#ifndef WYVERN_TRAINER_RUN_RUN_DATA_H_
#define WYVERN_TRAINER_RUN_RUN_DATA_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/chat/chat_template.h"
#include "data/sampling/batch.h"
#include "data/sampling/sampler.h"
#include "data/tokenizer/tokenizer.h"
#include "trainer/config/stages.h"
#include "trainer/inference/eval.h"

namespace wyvern {

// The samples of a stage.
struct StageData {
  std::unique_ptr<Sampler> sampler;
  // For each source of the run, the tokens of its order that were read before the stage's mixture
  // began.
  std::vector<int64_t> positions;
  std::vector<int64_t> epochs;  // tokens of an epoch of each source of the run, padding included
};

// The data of a run, ready to be read.
struct RunData {
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<std::shared_ptr<TokenStore>> stores;  // train.h5 of each source (SourcesOf)
  std::vector<StageData> stages;
  // val.h5 of each of data.sources; null of one that holds nothing out.
  std::vector<std::shared_ptr<TokenStore>> validation;
  std::vector<std::shared_ptr<TokenStore>> sets;  // of each of validation.sets
  // The chat template of the first source of conversations that has one, for the run's checkpoints.
  std::optional<ChatOptions> chat;
  bool adds_bos = false;  // documents of a source were prepared to begin with bos

  std::vector<std::shared_ptr<TokenStore>> AllStores() const;
};

// `stages` are those of the configuration. Trains the tokenizer and makes the token stores where
// the configuration gives text and they are not there yet, says on stdout what it does, and opens
// them. Errors: missing or empty data, stores that were made with other options or another
// tokenizer, a vocabulary larger than the model's. With `is_one_of_several` ranks the process forks
// no workers (data/store/worker_processes.h), and makes all shards itself.
absl::StatusOr<RunData> PrepareRunData(const RunConfig& config, const std::vector<Stage>& stages,
                                       bool is_one_of_several = false);

// Makes data->stages anew, of stages whose batches changed.
absl::Status MakeStages(const RunConfig& config, const std::vector<Stage>& stages, RunData* data);

// The stores that a stage mixes: share of the tokens, and epochs read before its mixture began.
std::string DescribeMixture(const RunData& data, const Stage& stage);

// How often the run has gone through each source once `step` steps are done, of which the last, or
// with none the first, belongs to `stage`.
std::vector<double> EpochsOf(const RunData& data, const Stage& stage, int64_t step);

// EvalSamples of each validation store, EvalSamplesAtOnce to a batch: no bit of it depends on the
// micro batch or the ranks. Result 0 is the validation loss, over the stores of data.sources, and
// result 1 + i that of validation.sets[i]; a set that is also a source's is run once for both.
absl::StatusOr<std::vector<EvalBatch>> ValidationBatches(const RunConfig& config,
                                                         const RunData& data);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_RUN_RUN_DATA_H_
