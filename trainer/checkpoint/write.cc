#include "trainer/checkpoint/write.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "data/file.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/folder.h"
#include "trainer/checkpoint/shards.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<Manifest> WriteShards(const std::string& folder,
                                     const std::vector<StreamedTensor>& tensors,
                                     const CheckpointWriteOptions& options) {
  ShardWriter writer(folder, "shard-", options.max_shard_bytes);
  for (const StreamedTensor& t : tensors) {
    const Shape& shape = t.tensor.shape;
    const int64_t rows = shape.empty() ? 1 : shape[0];
    const int64_t row_size = rows == 0 ? 0 : NumElements(shape) / rows;
    if (rows == 0) RETURN_IF_ERROR(writer.Add(t.tensor, 0, 0, nullptr));
    for (int64_t begin = 0; begin < rows; begin += t.rows_at_once) {
      const int64_t end = std::min(rows, begin + t.rows_at_once);
      ASSIGN_OR_RETURN(const Tensor part, t.rows(begin, end));
      CHECK(part.numel() == (end - begin) * row_size && part.dtype() == t.tensor.dtype,
            t.tensor.name, ": rows ", begin, " to ", end, " are ", ToString(part.shape()));
      RETURN_IF_ERROR(writer.Add(t.tensor, begin * row_size, end * row_size, part.raw()));
    }
  }
  RETURN_IF_ERROR(writer.Finish());
  return writer.written();
}

// `target` has no slash at its end.
absl::Status WriteFolder(const std::string& target, int64_t step,
                         const std::vector<StreamedTensor>& tensors, const nlohmann::json& meta,
                         bool all_steps, const CheckpointWriteOptions& options) {
  CHECK(step >= 0 && options.max_shard_bytes > 0);
  std::vector<CheckpointTensor> names;
  int64_t num_bytes = 0;
  for (const StreamedTensor& t : tensors) {
    names.push_back(t.tensor);
    num_bytes += NumBytes(t.tensor);
  }
  RETURN_IF_ERROR(CheckTensorNames(names));
  ASSIGN_OR_RETURN(const std::string temporary, MakeTemporaryFolder(target, num_bytes, all_steps));
  absl::StatusOr<Manifest> manifest = WriteShards(temporary, tensors, options);
  absl::Status status = manifest.status();
  if (status.ok()) {
    manifest->step = step;
    manifest->meta = meta;
    status = PublishCheckpoint(temporary, target, *manifest);
  }
  if (status.ok()) return status;
  std::error_code error;
  fs::remove_all(temporary, error);
  return NotWritten(target, status);
}

// Each in one piece.
std::vector<StreamedTensor> Whole(const std::vector<NamedTensor>& tensors) {
  std::vector<StreamedTensor> streamed;
  for (const NamedTensor& t : tensors) {
    CHECK(t.tensor.defined(), t.name, " is undefined");
    const Tensor tensor = t.tensor;
    streamed.push_back({.tensor = {t.name, tensor.shape(), tensor.dtype()},
                        .rows_at_once = tensor.rank() == 0 ? 1 : tensor.dim(0),
                        .rows = [tensor](int64_t, int64_t) -> absl::StatusOr<Tensor> {
                          return tensor.To(Device::kCpu);
                        }});
  }
  return streamed;
}

}  // namespace

absl::Status WriteCheckpointFolder(const std::string& path, int64_t step,
                                   const std::vector<NamedTensor>& tensors,
                                   const nlohmann::json& meta,
                                   const CheckpointWriteOptions& options) {
  return WriteStreamedCheckpoint(path, step, Whole(tensors), meta, options);
}

absl::Status WriteStreamedCheckpoint(const std::string& path, int64_t step,
                                     const std::vector<StreamedTensor>& tensors,
                                     const nlohmann::json& meta,
                                     const CheckpointWriteOptions& options) {
  fs::path target = fs::path(path).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();  // a slash at the end
  const fs::path parent = target.has_parent_path() ? target.parent_path() : fs::path(".");
  target = parent / target.filename();
  std::error_code error;
  if (fs::exists(target, error) && !fs::is_empty(target, error) &&
      !fs::exists(target / kManifestName, error)) {
    return absl::AlreadyExistsError(absl::StrCat(
        target.string(), " exists and is no checkpoint; remove it or choose another name"));
  }
  return WriteFolder(target.string(), step, tensors, meta, /*all_steps=*/false, options);
}

absl::Status WriteCheckpoint(const std::string& run_dir, int64_t step,
                             const std::vector<NamedTensor>& tensors, const nlohmann::json& meta,
                             int keep_last, const CheckpointWriteOptions& options) {
  RETURN_IF_ERROR(WriteFolder(CheckpointFolder(run_dir, step), step, Whole(tensors), meta,
                              /*all_steps=*/true, options));
  RETURN_IF_ERROR(SyncPath(run_dir));
  return RotateCheckpoints(run_dir, step, keep_last);
}

}  // namespace wyvern
