// Checkpoints: a folder of HDF5 shards and a manifest, `RUN/checkpoints/step_00012000/`. The layout
// is described in trainer/CHECKPOINT_FORMAT.md, for readers without Wyvern's code. A training run
// writes its own in the background and on all its ranks (trainer/checkpoint_saver.h).
//
// A folder appears under its name only when all of it is on disk: it is written under a temporary
// name, every file is synced, the manifest last, and then renamed. A reader takes only folders
// whose manifest is whole and whose shards have their full size, and compares the checksum of
// every slice of every tensor that it reads.
#ifndef WYVERN_TRAINER_CHECKPOINT_H_
#define WYVERN_TRAINER_CHECKPOINT_H_

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "autograd/tensor.h"

namespace wyvern {

inline constexpr int64_t kCheckpointFormatVersion = 1;

struct NamedTensor {
  std::string name;  // "model/blocks.3.mixer.q_proj.weight", "optimizer/<parameter>/m"
  Tensor tensor;     // any device
};

// A tensor as the manifest describes it.
struct CheckpointTensor {
  std::string name;
  Shape shape;  // global: of all slices together
  DType dtype = DType::kFloat32;
};

// Elements [begin, begin + values.numel()) of a tensor, row-major: what one of several processes
// has of it.
struct TensorPart {
  CheckpointTensor tensor;
  int64_t begin = 0;
  Tensor values;  // any shape, any device, of the tensor's dtype; undefined: nothing
};

// A tensor that is made while it is written, a few rows of its first axis at a time.
struct StreamedTensor {
  CheckpointTensor tensor;
  int64_t rows_at_once = 1;
  // Rows [begin, end), on the CPU, of the tensor's dtype. Called in order.
  std::function<absl::StatusOr<Tensor>(int64_t begin, int64_t end)> rows;
};

struct CheckpointInfo {
  std::string path;
  int64_t step = 0;
  nlohmann::json meta;  // as given to WriteCheckpoint
  std::vector<CheckpointTensor> tensors;
  int64_t num_bytes = 0;  // of all shards
};

struct CheckpointWriteOptions {
  int64_t max_shard_bytes = int64_t{4} << 30;  // of tensor data; a larger tensor is cut by rows
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

// Complete checkpoints of a run, by step. None, or no such folder, is an empty list.
absl::StatusOr<std::vector<CheckpointInfo>> ListCheckpoints(const std::string& run_dir);

// NotFound if there is none; the message counts the incomplete ones that were passed over.
absl::StatusOr<CheckpointInfo> FindNewestCheckpoint(const std::string& run_dir);

// A checkpoint folder, or a run folder, of which the newest is taken. Reads the manifest only.
// Errors: NotFound, incomplete or damaged (DataLoss), another format version.
absl::StatusOr<CheckpointInfo> OpenCheckpoint(const std::string& path);

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
absl::Status ReadCheckpointParts(const std::string& path, const std::vector<TensorPart>& into);

// Reads everything and compares every checksum.
absl::Status VerifyCheckpoint(const std::string& path);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_CHECKPOINT_H_
