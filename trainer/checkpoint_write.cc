#include <filesystem>

#include "absl/strings/str_cat.h"
#include "data/file.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint.h"
#include "trainer/checkpoint_folder.h"
#include "trainer/checkpoint_shards.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

absl::StatusOr<Manifest> WriteShards(const std::string& folder,
                                     const std::vector<NamedTensor>& tensors,
                                     const CheckpointWriteOptions& options) {
  ShardWriter writer(folder, "shard-", options.max_shard_bytes);
  for (const auto& [name, tensor] : tensors) {
    const Tensor host = tensor.To(Device::kCpu);
    RETURN_IF_ERROR(
        writer.Add({name, tensor.shape(), tensor.dtype()}, 0, tensor.numel(), host.raw()));
  }
  RETURN_IF_ERROR(writer.Finish());
  return writer.written();
}

// `target` has no slash at its end.
absl::Status WriteFolder(const std::string& target, int64_t step,
                         const std::vector<NamedTensor>& tensors, const nlohmann::json& meta,
                         bool all_steps, const CheckpointWriteOptions& options) {
  CHECK(step >= 0 && options.max_shard_bytes > 0);
  std::vector<CheckpointTensor> names;
  int64_t num_bytes = 0;
  for (const NamedTensor& t : tensors) {
    CHECK(t.tensor.defined(), t.name, " is undefined");
    names.push_back({t.name, t.tensor.shape(), t.tensor.dtype()});
    num_bytes += t.tensor.nbytes();
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

}  // namespace

absl::Status WriteCheckpointFolder(const std::string& path, int64_t step,
                                   const std::vector<NamedTensor>& tensors,
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
  RETURN_IF_ERROR(WriteFolder(CheckpointFolder(run_dir, step), step, tensors, meta,
                              /*all_steps=*/true, options));
  RETURN_IF_ERROR(SyncPath(run_dir));
  return RotateCheckpoints(run_dir, step, keep_last);
}

}  // namespace wyvern
