// Checkpoints found and read. A reader takes only folders whose manifest is whole and whose shards
// have their full size, and compares the checksum of every slice of every tensor that it reads.
#ifndef WYVERN_TRAINER_CHECKPOINT_READ_H_
#define WYVERN_TRAINER_CHECKPOINT_READ_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/checkpoint/tensors.h"

namespace wyvern {

struct CheckpointInfo {
  std::string path;
  int64_t step = 0;
  nlohmann::json meta;  // as given to WriteCheckpoint
  std::vector<CheckpointTensor> tensors;
  int64_t num_bytes = 0;  // of all shards
  // Where this is the newest complete one of a run: a line for each later one, with what is wrong.
  std::vector<std::string> passed_over;
};

// Complete checkpoints of a run, by step. None, or no such folder, is an empty list. Only folders
// that have exactly the name of a checkpoint of the run, and hold that step, are the run's;
// `damaged` gets a line "passed over FOLDER: why" for each of them that is not complete, by step.
absl::StatusOr<std::vector<CheckpointInfo>> ListCheckpoints(
    const std::string& run_dir, std::vector<std::string>* damaged = nullptr);

// The line that says why a checkpoint is passed over, without naming its folder twice.
std::string PassedOver(const std::string& folder, absl::string_view reason);

// NotFound if there is none; the message counts the incomplete ones that were passed over.
absl::StatusOr<CheckpointInfo> FindNewestCheckpoint(const std::string& run_dir);

// The path of the checkpoint that a user names: RUN@STEP, or with a run folder one of its steps. A
// name that is a path, or neither of these, stays as it is.
std::string CheckpointPath(const std::string& name, const std::string& run_dir = "");

// A checkpoint folder, RUN@STEP, or a run folder, of which the newest is taken. Reads the manifest
// only. Errors: NotFound, with the steps that the run has; incomplete or damaged (DataLoss);
// another format version.
absl::StatusOr<CheckpointInfo> OpenCheckpoint(const std::string& name);

struct CheckpointReadOptions {
  bool convert_floats = false;  // a tensor of another floating type is rounded to nearest even
};

// Fills the given tensors, which may lie on any device, with those of the same names; what else
// the checkpoint holds is left alone. Every name, shape and dtype is compared before the first
// tensor is touched: the error names the first tensor that differs (NotFound if it is missing,
// FailedPrecondition on a mismatch). DataLoss names the tensor whose checksum is wrong; the
// tensors' contents are then undefined.
absl::Status ReadCheckpoint(const std::string& path, const std::vector<NamedTensor>& into,
                            const CheckpointReadOptions& options = {});

// The same for parts: reads the slices that hold elements of them, and no others.
absl::Status ReadCheckpointParts(const std::string& path, const std::vector<TensorPart>& into,
                                 const CheckpointReadOptions& options = {});

// Reads everything and compares every checksum.
absl::Status VerifyCheckpoint(const std::string& path);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CHECKPOINT_READ_H_
