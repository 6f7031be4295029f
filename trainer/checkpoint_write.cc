#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/file.h"
#include "data/hdf5_file.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint.h"
#include "trainer/checkpoint_manifest.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

constexpr char kTemporaryPrefix[] = ".tmp-";
constexpr char kDoomedPrefix[] = ".doomed-";

// A folder that is not yet, or no longer, a checkpoint.
fs::path Hidden(const char* prefix, const fs::path& folder) {
  return folder.parent_path() /
         absl::StrCat(prefix, folder.filename().string(), "-", static_cast<int64_t>(getpid()));
}

// Removes what a killed writer left of folders whose names start with `name`.
void RemoveLeftovers(const fs::path& parent, const std::string& name) {
  std::error_code error;
  std::vector<fs::path> stale;
  for (const auto& entry : fs::directory_iterator(parent, error)) {
    const std::string found = entry.path().filename().string();
    if (absl::StartsWith(found, absl::StrCat(kTemporaryPrefix, name)) ||
        absl::StartsWith(found, absl::StrCat(kDoomedPrefix, name))) {
      stale.push_back(entry.path());
    }
  }
  for (const fs::path& path : stale) fs::remove_all(path, error);
}

// A reader never sees a half-deleted checkpoint: the folder first loses its name. One that cannot
// be renamed or deleted stays; the next write tries again.
void Delete(const fs::path& folder) {
  const fs::path doomed = Hidden(kDoomedPrefix, folder);
  std::error_code error;
  fs::remove_all(doomed, error);
  fs::rename(folder, doomed, error);
  if (!error) fs::remove_all(doomed, error);
}

// Gives the finished `temporary` the name `path`, in one step also where `path` exists already:
// then the old folder gets the temporary name and is deleted.
absl::Status Publish(const fs::path& temporary, const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) {
    fs::rename(temporary, path, error);
    if (error) {
      return ErrnoStatus(error.value(), "cannot rename the finished checkpoint to", path.string());
    }
  } else if (renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0) {
    fs::remove_all(temporary, error);
  } else {
    // A file system without the exchange (NFS): the old folder goes first.
    Delete(path);
    fs::rename(temporary, path, error);
    if (error) {
      return ErrnoStatus(error.value(), "cannot rename the finished checkpoint to", path.string());
    }
  }
  return SyncPath(path.parent_path().string());
}

absl::Status CheckNames(const std::vector<NamedTensor>& tensors) {
  std::set<std::string> paths;
  for (const NamedTensor& t : tensors) {
    const bool plain = std::all_of(t.name.begin(), t.name.end(),
                                   [](char c) { return c > ' ' && c < 0x7f && c != '@'; });
    if (t.name.empty() || !plain || t.name.front() == '/' || t.name.back() == '/' ||
        absl::StrContains(t.name, "//")) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", t.name, "' cannot name a tensor in a checkpoint"));
    }
    if (!paths.insert(t.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("two tensors of a checkpoint are named '", t.name, "'"));
    }
  }
  // A dataset cannot be a group as well.
  for (const std::string& path : paths) {
    const auto next = paths.lower_bound(absl::StrCat(path, "/"));
    if (next != paths.end() && absl::StartsWith(*next, absl::StrCat(path, "/"))) {
      return absl::InvalidArgumentError(absl::StrCat("a tensor cannot be named '", path,
                                                     "' where another one is named '", *next, "'"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSpace(const std::string& folder, const std::vector<NamedTensor>& tensors) {
  double needed = 0;
  for (const NamedTensor& t : tensors) needed += static_cast<double>(t.tensor.nbytes());
  struct statvfs disk;
  // A file system that does not say how large it is gets no verdict.
  if (statvfs(folder.c_str(), &disk) != 0 || disk.f_blocks == 0) return absl::OkStatus();
  const double available = static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize);
  if (needed <= available) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("no checkpoint was written: it needs %.1f MiB, the disk of %s has %.1f MiB "
                      "free; free some space or let the run write to another disk",
                      needed / (1 << 20), folder, available / (1 << 20)));
}

// Writes the tensors into shards, one after the other, and notes in the manifest where each went.
class ShardWriter {
 public:
  ShardWriter(std::string folder, int64_t max_bytes, Manifest* manifest)
      : folder_(std::move(folder)), max_bytes_(max_bytes), manifest_(manifest) {}

  absl::Status Add(const NamedTensor& named) {
    const Tensor& tensor = named.tensor;
    manifest_->tensors.push_back({{named.name, tensor.shape(), tensor.dtype()}, {}});
    if (tensor.numel() == 0) return absl::OkStatus();  // covered by no slice at all
    const Tensor host = tensor.To(Device::kCpu);
    if (tensor.rank() == 0 || tensor.nbytes() <= max_bytes_) {
      return AddSlice(host, 0, absl::StrCat("/", named.name));
    }
    const int64_t row_bytes = tensor.nbytes() / tensor.dim(0);
    const int64_t step = std::max<int64_t>(1, max_bytes_ / row_bytes);
    for (int64_t row = 0; row < tensor.dim(0); row += step) {
      const int64_t end = std::min(tensor.dim(0), row + step);
      RETURN_IF_ERROR(AddSlice(host.Rows(row, end), row, absl::StrCat("/", named.name, "@", row)));
    }
    return absl::OkStatus();
  }

  absl::Status FinishShard() {
    if (shard_.empty()) return absl::OkStatus();
    const std::string path = absl::StrCat(folder_, "/", manifest_->shards.back().file);
    RETURN_IF_ERROR(shard_.front().Close());
    shard_.clear();
    RETURN_IF_ERROR(SyncPath(path));
    std::error_code error;
    manifest_->shards.back().num_bytes = static_cast<int64_t>(fs::file_size(path, error));
    if (error) return ErrnoStatus(error.value(), "cannot examine", path);
    return absl::OkStatus();
  }

 private:
  absl::Status AddSlice(const Tensor& host, int64_t first_row, const std::string& dataset) {
    if (!shard_.empty() && used_ + host.nbytes() > max_bytes_) RETURN_IF_ERROR(FinishShard());
    if (shard_.empty()) {
      manifest_->shards.push_back({absl::StrFormat("shard-%05d.h5", manifest_->shards.size()), 0});
      ASSIGN_OR_RETURN(Hdf5File file,
                       Hdf5File::Create(absl::StrCat(folder_, "/", manifest_->shards.back().file)));
      shard_.push_back(std::move(file));
      used_ = 0;
    }
    used_ += host.nbytes();
    Hdf5File& file = shard_.front();
    const Hdf5Type type = StorageType(host.dtype());
    RETURN_IF_ERROR(file.CreateDataset(dataset, type, host.shape()));
    RETURN_IF_ERROR(
        file.WriteSlice(dataset, type, 0, host.rank() == 0 ? 1 : host.dim(0), host.raw()));
    RETURN_IF_ERROR(file.SetAttribute(dataset, "dtype", std::string(Name(host.dtype()))));
    ManifestSlice slice{.shard = manifest_->shards.back().file,
                        .dataset = dataset,
                        .start = Shape(host.rank(), 0),
                        .size = host.shape(),
                        .crc32 = Crc32(host.raw(), host.nbytes())};
    if (host.rank() > 0) slice.start[0] = first_row;
    manifest_->tensors.back().slices.push_back(std::move(slice));
    return absl::OkStatus();
  }

  const std::string folder_;
  const int64_t max_bytes_;
  Manifest* manifest_;
  std::vector<Hdf5File> shard_;  // the open one, if any
  int64_t used_ = 0;             // bytes of tensors in it
};

absl::Status WriteContents(const std::string& folder, const std::vector<NamedTensor>& tensors,
                           const CheckpointWriteOptions& options, Manifest* manifest) {
  ShardWriter writer(folder, options.max_shard_bytes, manifest);
  for (const NamedTensor& tensor : tensors) RETURN_IF_ERROR(writer.Add(tensor));
  RETURN_IF_ERROR(writer.FinishShard());
  RETURN_IF_ERROR(
      WriteFileAtomically(absl::StrCat(folder, "/", kManifestName), ManifestToText(*manifest)));
  return SyncPath(folder);
}

}  // namespace

absl::Status WriteCheckpointFolder(const std::string& path, int64_t step,
                                   const std::vector<NamedTensor>& tensors,
                                   const nlohmann::json& meta,
                                   const CheckpointWriteOptions& options) {
  CHECK(step >= 0 && options.max_shard_bytes > 0);
  for (const NamedTensor& t : tensors) CHECK(t.tensor.defined(), t.name, " is undefined");
  RETURN_IF_ERROR(CheckNames(tensors));
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
  RETURN_IF_ERROR(MakeFolders(parent.string()));
  RETURN_IF_ERROR(CheckSpace(parent.string(), tensors));

  const std::string name = target.filename().string();
  RemoveLeftovers(parent, absl::StrCat(name, "-"));
  const fs::path temporary = Hidden(kTemporaryPrefix, target);
  Manifest manifest{.step = step, .meta = meta};
  absl::Status status = MakeFolders(temporary.string());
  if (status.ok()) status = WriteContents(temporary.string(), tensors, options, &manifest);
  if (status.ok()) status = Publish(temporary, target);
  if (!status.ok()) {
    fs::remove_all(temporary, error);
    return absl::Status(status.code(), absl::StrCat("the checkpoint ", target.string(),
                                                    " was not written, older ones are untouched: ",
                                                    absl::string_view(status.message())));
  }
  return absl::OkStatus();
}

absl::Status WriteCheckpoint(const std::string& run_dir, int64_t step,
                             const std::vector<NamedTensor>& tensors, const nlohmann::json& meta,
                             int keep_last, const CheckpointWriteOptions& options) {
  const fs::path folder = fs::path(run_dir) / "checkpoints";
  RETURN_IF_ERROR(MakeFolders(folder.string()));
  RemoveLeftovers(folder, "step_");
  RETURN_IF_ERROR(WriteCheckpointFolder((folder / absl::StrFormat("step_%08d", step)).string(),
                                        step, tensors, meta, options));
  RETURN_IF_ERROR(SyncPath(run_dir));
  if (keep_last <= 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::vector<CheckpointInfo> all, ListCheckpoints(run_dir));
  const auto later = std::find_if(all.begin(), all.end(),
                                  [&](const CheckpointInfo& info) { return info.step > step; });
  const int64_t up_to_now = later - all.begin();
  for (int64_t i = 0; i < up_to_now - keep_last; ++i) Delete(all[i].path);
  return absl::OkStatus();
}

}  // namespace wyvern
