// How a checkpoint's folder comes into being and goes: under a temporary name until it is complete,
// under another one before it is deleted.
#ifndef WYVERN_TRAINER_CHECKPOINT_FOLDER_H_
#define WYVERN_TRAINER_CHECKPOINT_FOLDER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/tensors.h"

namespace wyvern {

// RUN/checkpoints/step_<step>.
std::string CheckpointFolder(const std::string& run_dir, int64_t step);

// InvalidArgument where names cannot be those of a checkpoint's tensors (checkpoint.h).
absl::Status CheckTensorNames(const std::vector<CheckpointTensor>& tensors);

int64_t NumBytes(const CheckpointTensor& tensor);

// Makes the empty folder under whose name `target` is to be written, which no other process has or
// will have, and its parents. What a killed writer of `target` left is removed; with `all_steps`,
// what it left of any step_* beside it. ResourceExhausted if the disk has less than `num_bytes`
// free.
absl::StatusOr<std::string> MakeTemporaryFolder(const std::string& target, int64_t num_bytes,
                                                bool all_steps);

// Writes the manifest into `temporary`, whose shards are on disk in the sizes that it says, and
// gives the folder the name `target`, in the place of a folder that has it already. After an error
// the caller removes `temporary`.
absl::Status PublishCheckpoint(const std::string& temporary, const std::string& target,
                               const Manifest& manifest);

// Deletes the oldest complete checkpoints, so that `keep_last` of those up to `step` stay (0: all).
absl::Status RotateCheckpoints(const std::string& run_dir, int64_t step, int keep_last);

// The status of a checkpoint that failed, with what it means for the others.
absl::Status NotWritten(const std::string& target, const absl::Status& cause);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CHECKPOINT_FOLDER_H_
