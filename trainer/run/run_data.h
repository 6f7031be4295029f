#ifndef WYVERN_TRAINER_RUN_RUN_DATA_H_
#define WYVERN_TRAINER_RUN_RUN_DATA_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/sampling/batch.h"
#include "data/sampling/sampler.h"
#include "data/tokenizer/tokenizer.h"
#include "trainer/config/stages.h"

namespace wyvern {

// The samples of a stage.
struct StageData {
  std::unique_ptr<Sampler> sampler;
  // For each source of the run, the tokens of its order that were read before the stage's mixture
  // began.
  std::vector<int64_t> positions;
};

// The data of a run, ready to be read.
struct RunData {
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<std::shared_ptr<TokenStore>> stores;  // train.h5 of each source (SourcesOf)
  std::vector<StageData> stages;
  std::vector<std::shared_ptr<TokenStore>> validation;  // of data.sources that hold some out
};

// `stages` are those of the configuration. Trains the tokenizer and makes the token stores where
// the configuration gives text and they are not there yet, says on stdout what it does, and opens
// them. Errors: missing or empty data, stores that were made with other options or another
// tokenizer, a vocabulary larger than the model's.
absl::StatusOr<RunData> PrepareRunData(const RunConfig& config, const std::vector<Stage>& stages);

// The stores that a stage mixes: share of the tokens, and epochs read before its mixture began.
std::string DescribeMixture(const RunData& data, const Stage& stage);

// EvalSamples of each validation store, EvalSamplesAtOnce to a batch: no bit of it depends on the
// micro batch or the ranks.
absl::StatusOr<std::vector<Batch>> ValidationBatches(const RunConfig& config, const RunData& data);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_RUN_RUN_DATA_H_
