#include "trainer/checkpoint/read.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "data/io/file.h"
#include "data/io/hdf5_file.h"
#include "kernels/runtime/operation.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/folder.h"
#include "trainer/checkpoint/manifest.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

CheckpointInfo ToInfo(const std::string& path, Manifest manifest) {
  CheckpointInfo info{.path = path,
                      .step = manifest.step,
                      .meta = std::move(manifest.meta),
                      .tensors = {},
                      .passed_over = {}};
  for (ManifestTensor& entry : manifest.tensors) info.tensors.push_back(std::move(entry.tensor));
  for (const ManifestShard& shard : manifest.shards) info.num_bytes += shard.num_bytes;
  return info;
}

bool IsFloat(DType dtype) {
  return dtype == DType::kFloat64 || dtype == DType::kFloat32 || dtype == DType::kBf16;
}

// A checkpoint of a run that is not complete.
struct Damaged {
  int64_t step;
  std::string line;  // "passed over FOLDER: why"
};

struct RunCheckpoints {
  std::vector<CheckpointInfo> complete;  // by step
  std::vector<Damaged> damaged;          // by step
};

absl::StatusOr<RunCheckpoints> List(const std::string& run_dir) {
  RunCheckpoints result;
  const fs::path folder = fs::path(run_dir) / "checkpoints";
  std::error_code error;
  if (!fs::exists(folder, error)) return result;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const std::string path = entry->path().string();
    const auto step = StepOfFolderName(entry->path().filename().string());
    std::error_code ignored;
    if (!step.has_value() || !fs::is_directory(entry->symlink_status(ignored))) continue;
    absl::StatusOr<Manifest> manifest = ReadManifest(path);
    if (!manifest.ok()) {
      result.damaged.push_back({*step, PassedOver(path, manifest.status().message())});
    } else if (manifest->step != *step) {
      result.damaged.push_back(
          {*step, PassedOver(path, absl::StrCat("what it holds is of step ", manifest->step))});
    } else {
      result.complete.push_back(ToInfo(path, *std::move(manifest)));
    }
  }
  if (error) return ErrnoStatus(error.value(), "cannot list", folder.string());
  const auto by_step = [](const auto& a, const auto& b) { return a.step < b.step; };
  std::sort(result.complete.begin(), result.complete.end(), by_step);
  std::sort(result.damaged.begin(), result.damaged.end(), by_step);
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

// The elements of a tensor that a block may have lie in [first, second), row-major.
std::pair<int64_t, int64_t> Extent(const ManifestSlice& slice, const Shape& shape) {
  int64_t first = 0, last = 0;
  for (size_t i = 0; i < shape.size(); ++i) {
    first = first * shape[i] + slice.start[i];
    last = last * shape[i] + slice.start[i] + slice.size[i] - 1;
  }
  return {first, last + 1};
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

  // Elements [begin, begin + values.numel()); `values` has the tensor's dtype and lies on the CPU.
  absl::Status ReadPart(const ManifestTensor& entry, int64_t begin, const Tensor& values) {
    const int64_t end = begin + values.numel(), element_bytes = SizeOf(values.dtype());
    auto* target = static_cast<char*>(values.raw());
    for (const ManifestSlice& slice : entry.slices) {
      const auto [first, last] = Extent(slice, entry.tensor.shape);
      if (last <= begin || end <= first) continue;
      if (last - first != NumElements(slice.size)) {  // columns, say
        ASSIGN_OR_RETURN(const Tensor whole, Read(entry));
        const auto* source = static_cast<const char*>(whole.raw());
        std::memcpy(target, source + begin * element_bytes, values.nbytes());
        return absl::OkStatus();
      }
      const bool exact = first == begin && last == end;
      const Tensor block = exact ? values.Reshape(slice.size)
                                 : Tensor::Empty(slice.size, values.dtype(), Device::kCpu);
      RETURN_IF_ERROR(ReadSlice(entry.tensor, slice, block));
      if (exact) continue;
      const int64_t from = std::max(begin, first), to = std::min(end, last);
      std::memcpy(target + (from - begin) * element_bytes,
                  static_cast<const char*>(block.raw()) + (from - first) * element_bytes,
                  (to - from) * element_bytes);
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
    if (Crc32OnThreads(block.raw(), block.nbytes()) != slice.crc32)
      return damaged("wrong checksum");
    return absl::OkStatus();
  }

  const std::string folder_;
  std::map<std::string, Hdf5File> files_;
};

// The folder that `path` stands for, with its manifest; `passed_over` as in CheckpointInfo.
absl::StatusOr<std::pair<std::string, Manifest>> Resolve(
    const std::string& path, std::vector<std::string>* passed_over = nullptr) {
  std::error_code error;
  std::string folder = path;
  if (!fs::exists(fs::path(path) / kManifestName, error) &&
      fs::exists(fs::path(path) / "checkpoints", error)) {
    ASSIGN_OR_RETURN(CheckpointInfo newest, FindNewestCheckpoint(path));
    folder = newest.path;
    if (passed_over != nullptr) *passed_over = std::move(newest.passed_over);
  }
  ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(folder));
  return std::make_pair(std::move(folder), std::move(manifest));
}

// Adds the steps that the run has to the error of a checkpoint of it that is not there.
absl::Status WithSteps(const absl::Status& missing, const std::string& path) {
  const fs::path folder(path), checkpoints = folder.parent_path();
  std::error_code ignored;
  if (!StepOfFolderName(folder.filename().string()).has_value() ||
      checkpoints.filename() != "checkpoints" || !fs::exists(checkpoints, ignored)) {
    return missing;
  }
  const std::string run = checkpoints.parent_path().string();
  ASSIGN_OR_RETURN(const RunCheckpoints all, List(run));
  std::vector<int64_t> steps;
  for (const CheckpointInfo& info : all.complete) steps.push_back(info.step);
  return absl::NotFoundError(
      absl::StrCat(missing.message(), "; ", run, " has ",
                   steps.empty() ? "none" : absl::StrCat("steps ", absl::StrJoin(steps, ", "))));
}

struct Opened {
  std::string folder;
  Manifest manifest;
  std::map<std::string, const ManifestTensor*> by_name;  // in the manifest
};

absl::StatusOr<std::unique_ptr<Opened>> Open(const std::string& path) {
  ASSIGN_OR_RETURN(auto resolved, Resolve(path));
  auto opened = std::make_unique<Opened>();
  opened->folder = std::move(resolved.first);
  opened->manifest = std::move(resolved.second);
  for (const ManifestTensor& entry : opened->manifest.tensors) {
    opened->by_name[entry.tensor.name] = &entry;
  }
  return opened;
}

// The entry of a tensor that is as `want` says.
absl::StatusOr<const ManifestTensor*> Find(const Opened& opened, const CheckpointTensor& want,
                                           bool convert_floats) {
  const auto found = opened.by_name.find(want.name);
  if (found == opened.by_name.end()) {
    return absl::NotFoundError(
        absl::StrCat("checkpoint ", opened.folder, ": it holds no tensor '", want.name, "'"));
  }
  const CheckpointTensor& have = found->second->tensor;
  const bool convertible = convert_floats && IsFloat(have.dtype) && IsFloat(want.dtype);
  if (have.shape != want.shape || (have.dtype != want.dtype && !convertible)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "checkpoint ", opened.folder, ": tensor '", want.name, "': expected ", Name(want.dtype),
        " ", ToString(want.shape), ", found ", Name(have.dtype), " ", ToString(have.shape)));
  }
  return found->second;
}

}  // namespace

absl::StatusOr<std::vector<CheckpointInfo>> ListCheckpoints(const std::string& run_dir,
                                                            std::vector<std::string>* damaged) {
  ASSIGN_OR_RETURN(RunCheckpoints all, List(run_dir));
  if (damaged != nullptr) {
    damaged->clear();
    for (Damaged& one : all.damaged) damaged->push_back(std::move(one.line));
  }
  return std::move(all.complete);
}

std::string PassedOver(const std::string& folder, absl::string_view reason) {
  absl::ConsumePrefix(&reason, "checkpoint ");
  if (absl::ConsumePrefix(&reason, folder)) {
    if (!absl::ConsumePrefix(&reason, ": ")) absl::ConsumePrefix(&reason, "/");
  }
  return absl::StrCat("passed over ", folder, ": ", reason);
}

absl::StatusOr<CheckpointInfo> FindNewestCheckpoint(const std::string& run_dir) {
  ASSIGN_OR_RETURN(RunCheckpoints all, List(run_dir));
  if (!all.complete.empty()) {
    CheckpointInfo newest = std::move(all.complete.back());
    for (Damaged& one : all.damaged) {
      if (one.step > newest.step) newest.passed_over.push_back(std::move(one.line));
    }
    return newest;
  }
  std::string message = absl::StrCat(run_dir, ": there is no complete checkpoint");
  if (!all.damaged.empty()) {
    absl::StrAppend(&message, "; incomplete or damaged: ", all.damaged.size(),
                    ", of which the last: ", all.damaged.back().line);
  }
  return absl::NotFoundError(message);
}

std::string CheckpointPath(const std::string& name, const std::string& run_dir) {
  std::error_code ignored;
  if (fs::exists(name, ignored)) return name;
  const size_t at = name.rfind('@');
  const std::string run = at == std::string::npos ? run_dir : name.substr(0, at);
  const std::string digits = at == std::string::npos ? name : name.substr(at + 1);
  uint32_t step = 0;
  if (run.empty() || !absl::SimpleAtoi(digits, &step)) return name;
  return CheckpointFolder(run, step);
}

absl::StatusOr<CheckpointInfo> OpenCheckpoint(const std::string& name) {
  const std::string path = CheckpointPath(name);
  std::vector<std::string> passed_over;
  absl::StatusOr<std::pair<std::string, Manifest>> found = Resolve(path, &passed_over);
  if (absl::IsNotFound(found.status())) return WithSteps(found.status(), path);
  ASSIGN_OR_RETURN(auto resolved, std::move(found));
  CheckpointInfo info = ToInfo(resolved.first, std::move(resolved.second));
  info.passed_over = std::move(passed_over);
  return info;
}

absl::Status ReadCheckpoint(const std::string& path, const std::vector<NamedTensor>& into,
                            const CheckpointReadOptions& options) {
  const Operation reading(absl::StrCat("reading the checkpoint ", path));
  ASSIGN_OR_RETURN(const std::unique_ptr<Opened> opened, Open(path));
  std::vector<const ManifestTensor*> entries;
  for (const NamedTensor& want : into) {
    ASSIGN_OR_RETURN(const ManifestTensor* entry,
                     Find(*opened, {want.name, want.tensor.shape(), want.tensor.dtype()},
                          options.convert_floats));
    entries.push_back(entry);
  }
  ShardReader reader(opened->folder);
  for (size_t i = 0; i < into.size(); ++i) {
    const NamedTensor& want = into[i];
    const ManifestTensor& entry = *entries[i];
    if (want.tensor.device() == Device::kCpu && want.tensor.dtype() == entry.tensor.dtype) {
      RETURN_IF_ERROR(reader.ReadInto(entry, want.tensor));
      continue;
    }
    ASSIGN_OR_RETURN(const Tensor host, reader.Read(entry));
    want.tensor.CopyFrom(host.To(want.tensor.dtype()));
  }
  return absl::OkStatus();
}

absl::Status ReadCheckpointParts(const std::string& path, const std::vector<TensorPart>& into,
                                 const CheckpointReadOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Opened> opened, Open(path));
  std::vector<const ManifestTensor*> entries;
  for (const TensorPart& want : into) {
    ASSIGN_OR_RETURN(const ManifestTensor* entry,
                     Find(*opened, want.tensor, options.convert_floats));
    entries.push_back(entry);
  }
  ShardReader reader(opened->folder);
  for (size_t i = 0; i < into.size(); ++i) {
    const Tensor& values = into[i].values;
    if (!values.defined() || values.numel() == 0) continue;
    CHECK(values.dtype() == into[i].tensor.dtype, into[i].tensor.name, " is ",
          Name(values.dtype()));
    const DType stored = entries[i]->tensor.dtype;
    const bool in_place = values.device() == Device::kCpu && values.dtype() == stored;
    const Tensor host = in_place ? values : Tensor::Empty(values.shape(), stored, Device::kCpu);
    RETURN_IF_ERROR(reader.ReadPart(*entries[i], into[i].begin, host));
    if (!in_place) values.CopyFrom(host.To(values.dtype()));
  }
  return absl::OkStatus();
}

absl::Status VerifyCheckpoint(const std::string& path) {
  const Operation verifying(absl::StrCat("verifying the checkpoint ", path));
  ASSIGN_OR_RETURN(const auto resolved, Resolve(path));
  ShardReader reader(resolved.first);
  for (const ManifestTensor& entry : resolved.second.tensors) {
    RETURN_IF_ERROR(reader.Read(entry).status());
  }
  return absl::OkStatus();
}

}  // namespace wyvern
