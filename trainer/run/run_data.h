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

// The data of a run, ready to be read.
struct RunData {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Sampler> sampler;                      // samples of data.seq_len
  std::vector<std::unique_ptr<Sampler>> stage_samplers;  // of each stage
  std::vector<std::shared_ptr<TokenStore>> validation;   // one per source that holds some out
};

// `stages` are those of the configuration. Trains the tokenizer and makes the token stores where
// the configuration gives text and they are not there yet, says on stdout what it does, and opens
// them. Errors: missing or empty data, stores that were made with other options or another
// tokenizer, a vocabulary larger than the model's.
absl::StatusOr<RunData> PrepareRunData(const RunConfig& config, const std::vector<Stage>& stages);

// EvalSamples of each validation store, EvalSamplesAtOnce to a batch: no bit of it depends on the
// micro batch or the ranks.
absl::StatusOr<std::vector<Batch>> ValidationBatches(const RunConfig& config, const RunData& data);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_RUN_RUN_DATA_H_
