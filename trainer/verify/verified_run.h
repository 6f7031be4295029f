// The run in which a recipe is verified: its model, optimizer and precision, over random documents.
#ifndef WYVERN_TRAINER_VERIFY_VERIFIED_RUN_H_
#define WYVERN_TRAINER_VERIFY_VERIFIED_RUN_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/sampling/batch.h"
#include "trainer/config/run_config.h"

namespace wyvern {

inline constexpr int64_t kVerifiedSteps = 9;
inline constexpr int64_t kVerifiedEvery = 3;  // steps between its checkpoints

// A token store of random documents for it, dir/train.h5.
absl::Status WriteRandomDocuments(const RunConfig& recipe, const std::string& dir);

// The recipe with the store of `data` in the place of its data and what goes with them: one stage
// at a constant rate, steps of two micro batches at most, no validation, no sample, one rank. It
// keeps its checkpoints of every third step.
RunConfig VerifiedRun(const RunConfig& recipe, const std::string& data, const std::string& dir);

// The run's first sample, cut to `max_tokens`.
absl::StatusOr<Batch> VerifiedBatch(const RunConfig& run, int64_t max_tokens);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_VERIFY_VERIFIED_RUN_H_
