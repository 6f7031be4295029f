// How a checkpoint's folder comes into being and goes: under a temporary name until it is complete,
// under another one before it is deleted.
#ifndef WYVERN_TRAINER_CHECKPOINT_FOLDER_H_
#define WYVERN_TRAINER_CHECKPOINT_FOLDER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/tensors.h"

namespace wyvern {

// RUN/checkpoints/step_<step>.
std::string CheckpointFolder(const std::string& run_dir, int64_t step);

// The step of a checkpoint of a run from its folder's name, which is exactly that of
// CheckpointFolder; nullopt for any other, such as a copy that someone named step_00000003_good.
std::optional<int64_t> StepOfFolderName(absl::string_view name);

// InvalidArgument where names cannot be those of a checkpoint's tensors (checkpoint.h).
absl::Status CheckTensorNames(const std::vector<CheckpointTensor>& tensors);

int64_t NumBytes(const CheckpointTensor& tensor);

// Makes the empty folder under whose name the checkpoint `target` of a run is to be written, which
// no other process has or will have, and its parents. What a killed writer left of any checkpoint
// of the run is removed: the caller alone may write into it. ResourceExhausted if the disk has less
// than `num_bytes` free.
absl::StatusOr<std::string> MakeTemporaryFolder(const std::string& target, int64_t num_bytes);

// ResourceExhausted if the disk of `folder` has less than `num_bytes` free.
absl::Status CheckSpace(const std::string& folder, int64_t num_bytes);

// Removes what a killed writer of `target`, or of any step of a run beside it, left under the names
// that MakeTemporaryFolder gives.
void RemoveLeftovers(const std::string& target, bool all_steps);

// Writes the manifest into `temporary`, whose shards are on disk in the sizes that it says.
absl::Status WriteManifest(const std::string& temporary, const Manifest& manifest);

// WriteManifest; then the folder gets the name `target`, in the place of a folder that has it
// already. After an error the caller removes `temporary`.
absl::Status PublishCheckpoint(const std::string& temporary, const std::string& target,
                               const Manifest& manifest);

// Deletes the oldest complete checkpoints, so that `keep_last` of those up to `step` stay (0: all),
// and every one whose step is a multiple of `keep_every` (0: no other).
absl::Status RotateCheckpoints(const std::string& run_dir, int64_t step, int keep_last,
                               int64_t keep_every);

// The status of a checkpoint that failed, with what it means for the others.
absl::Status NotWritten(const std::string& target, const absl::Status& cause);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CHECKPOINT_FOLDER_H_
