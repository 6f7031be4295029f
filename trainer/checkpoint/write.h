// Checkpoints written by one process: a folder of HDF5 shards and a manifest,
// `RUN/checkpoints/step_00012000/`. The layout is described in trainer/checkpoint/FORMAT.md, for
// readers without Wyvern's code. A training run writes its own in the background and on all its
// ranks (trainer/checkpoint/saver.h).
//
// A folder appears under its name only when all of it is on disk: it is written under a temporary
// name, every file is synced, the manifest last, and then renamed.
#ifndef WYVERN_TRAINER_CHECKPOINT_WRITE_H_
#define WYVERN_TRAINER_CHECKPOINT_WRITE_H_

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/checkpoint/tensors.h"

namespace wyvern {

// A tensor that is made while it is written, a few rows of its first axis at a time.
struct StreamedTensor {
  CheckpointTensor tensor;
  int64_t rows_at_once = 1;
  // Rows [begin, end), on the CPU, of the tensor's dtype. Called in order.
  std::function<absl::StatusOr<Tensor>(int64_t begin, int64_t end)> rows;
};

struct CheckpointWriteOptions {
  int64_t max_shard_bytes = int64_t{4} << 30;  // of tensor data; a larger tensor is cut by rows
  int64_t keep_every = 0;  // rotation spares steps that are a multiple of this; 0: none
};

// Writes RUN/checkpoints/step_<step> and then deletes the oldest complete checkpoints, so that
// `keep_last` of those up to this step stay (0: all). A complete checkpoint of the same step is
// replaced, later ones are left alone. `meta` is kept as it is: counters, config hash, resolved
// config, whatever the caller needs to resume. What a killed writer left behind is removed. Only
// one process may write into a run folder at a time.
// Errors: a full disk (ResourceExhausted) or any other failure leaves every older checkpoint as it
// was and no temporary folder. Names must be distinct, not empty, without "//", and not a prefix
// of another one's path.
absl::Status WriteCheckpoint(const std::string& run_dir, int64_t step,
                             const std::vector<NamedTensor>& tensors, const nlohmann::json& meta,
                             int keep_last, const CheckpointWriteOptions& options = {});

// The same, as the folder `path` itself; no other checkpoint is touched. AlreadyExists if `path` is
// something else than a checkpoint.
absl::Status WriteCheckpointFolder(const std::string& path, int64_t step,
                                   const std::vector<NamedTensor>& tensors,
                                   const nlohmann::json& meta,
                                   const CheckpointWriteOptions& options = {});

// The same of tensors of which a part is in memory at a time. An error of `rows` is returned, and
// no folder is left.
absl::Status WriteStreamedCheckpoint(const std::string& path, int64_t step,
                                     const std::vector<StreamedTensor>& tensors,
                                     const nlohmann::json& meta,
                                     const CheckpointWriteOptions& options = {});

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CHECKPOINT_WRITE_H_
