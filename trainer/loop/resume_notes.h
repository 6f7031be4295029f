// Tells the user of a run that resumes with another configuration.
#ifndef WYVERN_TRAINER_LOOP_RESUME_NOTES_H_
#define WYVERN_TRAINER_LOOP_RESUME_NOTES_H_

#include <cstdint>
#include <string>

#include "trainer/config/run_config.h"

namespace wyvern {

// Says what the rate does where a run of `before`, which was at its end at step `step` after
// `stage_updates` updates of its last stage, goes on as `now`. Empty: it was not at its end, or
// `now` ends there too.
std::string ExtensionNote(const RunConfig& before, const RunConfig& now, int64_t step,
                          int64_t stage_updates);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_LOOP_RESUME_NOTES_H_
