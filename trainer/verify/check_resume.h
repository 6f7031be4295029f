#ifndef WYVERN_TRAINER_VERIFY_CHECK_RESUME_H_
#define WYVERN_TRAINER_VERIFY_CHECK_RESUME_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/config/run_config.h"
#include "trainer/verify/card.h"

namespace wyvern {

// Trains VerifiedRun without interruption, in the folder run.dir, as a process of `wyvern train`.
// Errors: the process fails; with the end of its log.
absl::Status TrainVerifiedRun(const RunConfig& run);

// Trains a run that was trained so again from each of its checkpoints before the last. Of all
// checkpoints the last one of run.dir alone stays, for later checks. Errors: as above.
absl::StatusOr<std::vector<ResumeCheck>> CheckResume(const RunConfig& run);

// The checkpoints' tensors that are not the same bits, each by its name, and those that only one of
// them has. Both were written by one rank.
absl::StatusOr<std::vector<std::string>> DifferentTensors(const std::string& checkpoint,
                                                          const std::string& other);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_VERIFY_CHECK_RESUME_H_
