#include "trainer/checkpoint/write.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/io/output.h"
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

int64_t NumBytes(const std::vector<StreamedTensor>& tensors) {
  int64_t num_bytes = 0;
  for (const StreamedTensor& t : tensors) num_bytes += NumBytes(t.tensor);
  return num_bytes;
}

absl::Status CheckNames(const std::vector<StreamedTensor>& tensors) {
  std::vector<CheckpointTensor> names;
  for (const StreamedTensor& t : tensors) names.push_back(t.tensor);
  return CheckTensorNames(names);
}

// Into the empty folder `temporary`.
absl::StatusOr<Manifest> WriteContents(const std::string& temporary, int64_t step,
                                       const std::vector<StreamedTensor>& tensors,
                                       const nlohmann::json& meta,
                                       const CheckpointWriteOptions& options) {
  CHECK(step >= 0 && options.max_shard_bytes > 0);
  ASSIGN_OR_RETURN(Manifest manifest, WriteShards(temporary, tensors, options));
  manifest.step = step;
  manifest.meta = meta;
  return manifest;
}

// Each as one slice.
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
  RETURN_IF_ERROR(CheckNames(tensors));
  RETURN_IF_ERROR(MakeFolders(parent.string()));
  ASSIGN_OR_RETURN(Output output, Output::Claim(target.string()));
  RemoveLeftovers(target.string(), /*all_steps=*/false);
  RETURN_IF_ERROR(CheckSpace(parent.string(), NumBytes(tensors)));
  const auto write = [&]() -> absl::Status {
    RETURN_IF_ERROR(MakeFolders(output.temporary()));
    ASSIGN_OR_RETURN(const Manifest manifest,
                     WriteContents(output.temporary(), step, tensors, meta, options));
    RETURN_IF_ERROR(WriteManifest(output.temporary(), manifest));
    return output.CommitReplacing();
  };
  const absl::Status status = write();
  return status.ok() ? status : NotWritten(target.string(), status);
}

absl::Status WriteCheckpoint(const std::string& run_dir, int64_t step,
                             const std::vector<NamedTensor>& tensors, const nlohmann::json& meta,
                             int keep_last, const CheckpointWriteOptions& options) {
  const std::vector<StreamedTensor> whole = Whole(tensors);
  RETURN_IF_ERROR(CheckNames(whole));
  const std::string target = CheckpointFolder(run_dir, step);
  ASSIGN_OR_RETURN(const std::string temporary, MakeTemporaryFolder(target, NumBytes(whole)));
  const absl::StatusOr<Manifest> manifest = WriteContents(temporary, step, whole, meta, options);
  const absl::Status status =
      manifest.ok() ? PublishCheckpoint(temporary, target, *manifest) : manifest.status();
  if (!status.ok()) {
    std::error_code error;
    fs::remove_all(temporary, error);
    return NotWritten(target, status);
  }
  RETURN_IF_ERROR(SyncPath(run_dir));
  return RotateCheckpoints(run_dir, step, keep_last, options.keep_every);
}

}  // namespace wyvern
