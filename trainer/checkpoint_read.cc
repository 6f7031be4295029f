#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/file.h"
#include "data/hdf5_file.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint.h"
#include "trainer/checkpoint_manifest.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

CheckpointInfo ToInfo(const std::string& path, Manifest manifest) {
  CheckpointInfo info{
      .path = path, .step = manifest.step, .meta = std::move(manifest.meta), .tensors = {}};
  for (ManifestTensor& entry : manifest.tensors) info.tensors.push_back(std::move(entry.tensor));
  for (const ManifestShard& shard : manifest.shards) info.num_bytes += shard.num_bytes;
  return info;
}

bool IsFloat(DType dtype) {
  return dtype == DType::kFloat64 || dtype == DType::kFloat32 || dtype == DType::kBf16;
}

// Complete checkpoints by step; `incomplete` gets what was passed over.
absl::StatusOr<std::vector<CheckpointInfo>> List(const std::string& run_dir,
                                                 std::vector<std::string>* incomplete) {
  std::vector<CheckpointInfo> result;
  const fs::path folder = fs::path(run_dir) / "checkpoints";
  std::error_code error;
  if (!fs::exists(folder, error)) return result;
  fs::directory_iterator entries(folder, error);
  if (error) return ErrnoStatus(error.value(), "cannot list", folder.string());
  for (const auto& entry : entries) {
    if (!absl::StartsWith(entry.path().filename().string(), "step_")) continue;
    absl::StatusOr<Manifest> manifest = ReadManifest(entry.path().string());
    if (manifest.ok()) {
      result.push_back(ToInfo(entry.path().string(), *std::move(manifest)));
    } else {
      incomplete->push_back(std::string(manifest.status().message()));
    }
  }
  std::sort(result.begin(), result.end(), [](const CheckpointInfo& a, const CheckpointInfo& b) {
    return a.step != b.step ? a.step < b.step : a.path < b.path;
  });
  std::sort(incomplete->begin(), incomplete->end());
  return result;
}

// Copies the block `source` of shape `size` to offset `start` of the row-major array `target` of
// shape `shape`.
void PlaceBlock(const char* source, const ManifestSlice& slice, const Shape& shape,
                int64_t element_bytes, char* target) {
  // Trailing axes that the block spans in full are contiguous in both arrays.
  size_t axes = shape.size();
  int64_t run = element_bytes;
  while (axes > 0 && slice.size[axes - 1] == shape[axes - 1]) run *= shape[--axes];
  int64_t stride = run;
  if (axes > 0) {
    --axes;
    target += slice.start[axes] * stride;
    run *= slice.size[axes];
    stride *= shape[axes];
  }
  std::vector<int64_t> strides(axes);
  for (size_t i = axes; i-- > 0; stride *= shape[i]) strides[i] = stride;
  std::vector<int64_t> index(axes, 0);
  while (true) {
    char* to = target;
    for (size_t i = 0; i < axes; ++i) to += (slice.start[i] + index[i]) * strides[i];
    std::memcpy(to, source, run);
    source += run;
    size_t i = axes;
    while (i > 0 && ++index[i - 1] == slice.size[i - 1]) index[--i] = 0;
    if (i == 0) return;
  }
}

class ShardReader {
 public:
  explicit ShardReader(std::string folder) : folder_(std::move(folder)) {}

  // The whole tensor, on the CPU, in the dtype of the file.
  absl::StatusOr<Tensor> Read(const ManifestTensor& entry) {
    Tensor whole = Tensor::Empty(entry.tensor.shape, entry.tensor.dtype, Device::kCpu);
    RETURN_IF_ERROR(ReadInto(entry, whole));
    return whole;
  }

  // `whole` has the tensor's shape and dtype and lies on the CPU.
  absl::Status ReadInto(const ManifestTensor& entry, const Tensor& whole) {
    for (const ManifestSlice& slice : entry.slices) {
      const bool all = slice.size == entry.tensor.shape;
      const Tensor block = all ? whole : Tensor::Empty(slice.size, whole.dtype(), Device::kCpu);
      RETURN_IF_ERROR(ReadSlice(entry.tensor, slice, block));
      if (!all) {
        PlaceBlock(static_cast<const char*>(block.raw()), slice, entry.tensor.shape,
                   SizeOf(whole.dtype()), static_cast<char*>(whole.raw()));
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::Status ReadSlice(const CheckpointTensor& tensor, const ManifestSlice& slice,
                         const Tensor& block) {
    const auto damaged = [&](absl::string_view what) {
      return absl::DataLossError(absl::StrCat("checkpoint ", folder_, ": tensor '", tensor.name,
                                              "' in ", slice.shard, " is damaged (", what,
                                              "); take another checkpoint"));
    };
    auto found = files_.find(slice.shard);
    if (found == files_.end()) {
      absl::StatusOr<Hdf5File> file =
          Hdf5File::OpenReadOnly(absl::StrCat(folder_, "/", slice.shard));
      if (!file.ok()) return damaged(file.status().message());
      found = files_.emplace(slice.shard, *std::move(file)).first;
    }
    const Hdf5Type type = StorageType(tensor.dtype);
    const absl::StatusOr<Hdf5Dataset> dataset = found->second.Describe(slice.dataset);
    if (!dataset.ok()) return damaged(dataset.status().message());
    if (dataset->type != type || dataset->shape != slice.size) {
      return damaged(absl::StrCat("expected ", Hdf5TypeName(type), " of shape ",
                                  ToString(slice.size), ", found ", Hdf5TypeName(dataset->type),
                                  " of shape ", ToString(dataset->shape)));
    }
    const int64_t num_rows = slice.size.empty() ? 1 : slice.size[0];
    const absl::Status read =
        found->second.ReadSlice(slice.dataset, type, 0, num_rows, block.raw());
    if (!read.ok()) return damaged(read.message());
    if (Crc32(block.raw(), block.nbytes()) != slice.crc32) return damaged("wrong checksum");
    return absl::OkStatus();
  }

  const std::string folder_;
  std::map<std::string, Hdf5File> files_;
};

// The folder that `path` stands for, with its manifest.
absl::StatusOr<std::pair<std::string, Manifest>> Resolve(const std::string& path) {
  std::error_code error;
  std::string folder = path;
  if (!fs::exists(fs::path(path) / kManifestName, error) &&
      fs::exists(fs::path(path) / "checkpoints", error)) {
    ASSIGN_OR_RETURN(const CheckpointInfo newest, FindNewestCheckpoint(path));
    folder = newest.path;
  }
  ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(folder));
  return std::make_pair(std::move(folder), std::move(manifest));
}

}  // namespace

absl::StatusOr<std::vector<CheckpointInfo>> ListCheckpoints(const std::string& run_dir) {
  std::vector<std::string> incomplete;
  return List(run_dir, &incomplete);
}

absl::StatusOr<CheckpointInfo> FindNewestCheckpoint(const std::string& run_dir) {
  std::vector<std::string> incomplete;
  ASSIGN_OR_RETURN(std::vector<CheckpointInfo> all, List(run_dir, &incomplete));
  if (!all.empty()) return std::move(all.back());
  std::string message = absl::StrCat(run_dir, ": there is no complete checkpoint");
  if (!incomplete.empty()) {
    absl::StrAppend(&message, "; incomplete or damaged: ", incomplete.size(),
                    ", of which the last: ", incomplete.back());
  }
  return absl::NotFoundError(message);
}

absl::StatusOr<CheckpointInfo> OpenCheckpoint(const std::string& path) {
  ASSIGN_OR_RETURN(auto resolved, Resolve(path));
  return ToInfo(resolved.first, std::move(resolved.second));
}

absl::Status ReadCheckpoint(const std::string& path, const std::vector<NamedTensor>& into,
                            const CheckpointReadOptions& options) {
  ASSIGN_OR_RETURN(const auto resolved, Resolve(path));
  const auto& [folder, manifest] = resolved;
  std::map<std::string, const ManifestTensor*> by_name;
  for (const ManifestTensor& entry : manifest.tensors) by_name[entry.tensor.name] = &entry;
  for (const NamedTensor& want : into) {
    const auto found = by_name.find(want.name);
    if (found == by_name.end()) {
      return absl::NotFoundError(
          absl::StrCat("checkpoint ", folder, ": it holds no tensor '", want.name, "'"));
    }
    const CheckpointTensor& have = found->second->tensor;
    const bool convertible =
        options.convert_floats && IsFloat(have.dtype) && IsFloat(want.tensor.dtype());
    if (have.shape != want.tensor.shape() || (have.dtype != want.tensor.dtype() && !convertible)) {
      return absl::FailedPreconditionError(
          absl::StrCat("checkpoint ", folder, ": tensor '", want.name, "': expected ",
                       Name(want.tensor.dtype()), " ", ToString(want.tensor.shape()), ", found ",
                       Name(have.dtype), " ", ToString(have.shape)));
    }
  }
  ShardReader reader(folder);
  for (const NamedTensor& want : into) {
    const ManifestTensor& entry = *by_name.at(want.name);
    if (want.tensor.device() == Device::kCpu && want.tensor.dtype() == entry.tensor.dtype) {
      RETURN_IF_ERROR(reader.ReadInto(entry, want.tensor));
      continue;
    }
    ASSIGN_OR_RETURN(const Tensor host, reader.Read(entry));
    want.tensor.CopyFrom(host.To(want.tensor.dtype()));
  }
  return absl::OkStatus();
}

absl::Status VerifyCheckpoint(const std::string& path) {
  ASSIGN_OR_RETURN(const auto resolved, Resolve(path));
  ShardReader reader(resolved.first);
  for (const ManifestTensor& entry : resolved.second.tensors) {
    RETURN_IF_ERROR(reader.Read(entry).status());
  }
  return absl::OkStatus();
}

}  // namespace wyvern
