// Tells the user of a run that resumes with another configuration.
#ifndef WYVERN_TRAINER_LOOP_RESUME_NOTES_H_
#define WYVERN_TRAINER_LOOP_RESUME_NOTES_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "trainer/config/run_config.h"

namespace wyvern {

// Says what the rate does where a run of `before`, which was at its end at step `step` after
// `stage_updates` updates of its last stage, goes on as `now`. Empty: it was not at its end, or
// `now` ends there too.
std::string ExtensionNote(const RunConfig& before, const RunConfig& now, int64_t step,
                          int64_t stage_updates);

// How to continue from step `step` with the batch, sequence length or document boundary of `now`,
// where these are all that differs between two manifests of data; else empty. Both are objects of
// TrainingRun::DataManifest, without their stores.
std::string NewStageAdvice(nlohmann::json now, nlohmann::json then, int64_t step);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_LOOP_RESUME_NOTES_H_
