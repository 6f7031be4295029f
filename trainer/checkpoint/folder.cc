#include "trainer/checkpoint/folder.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "data/file.h"
#include "kernels/runtime/status.h"
#include "trainer/checkpoint/read.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

constexpr char kTemporaryPrefix[] = ".tmp-";
constexpr char kDoomedPrefix[] = ".doomed-";

// The name of a folder that is not yet, or no longer, a checkpoint. A rank that outlived a killed
// run may still write into that run's folder, so the name is another one each time.
fs::path Hidden(const char* prefix, const fs::path& folder) {
  const int64_t now = std::chrono::system_clock::now().time_since_epoch().count();
  return folder.parent_path() / absl::StrCat(prefix, folder.filename().string(), "-",
                                             static_cast<int64_t>(getpid()), "-", now);
}

// Removes the folders that a killed writer left whose names start with `name`.
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
  fs::rename(folder, doomed, error);
  if (!error) fs::remove_all(doomed, error);
}

// In one step also where `path` exists already: then the old folder gets the temporary name and is
// deleted.
absl::Status Rename(const fs::path& temporary, const fs::path& path) {
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

absl::Status CheckSpace(const std::string& folder, double needed) {
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

}  // namespace

std::string CheckpointFolder(const std::string& run_dir, int64_t step) {
  return (fs::path(run_dir) / "checkpoints" / absl::StrFormat("step_%08d", step)).string();
}

absl::Status CheckTensorNames(const std::vector<CheckpointTensor>& tensors) {
  std::set<std::string> paths;
  for (const CheckpointTensor& t : tensors) {
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

int64_t NumBytes(const CheckpointTensor& tensor) {
  return NumElements(tensor.shape) * SizeOf(tensor.dtype);
}

absl::StatusOr<std::string> MakeTemporaryFolder(const std::string& target, int64_t num_bytes,
                                                bool all_steps) {
  const fs::path parent = fs::path(target).parent_path();
  RETURN_IF_ERROR(MakeFolders(parent.string()));
  const std::string name = fs::path(target).filename().string();
  RemoveLeftovers(parent, all_steps ? "step_" : absl::StrCat(name, "-"));
  RETURN_IF_ERROR(CheckSpace(parent.string(), static_cast<double>(num_bytes)));
  const std::string temporary = Hidden(kTemporaryPrefix, target).string();
  const absl::Status made = MakeFolders(temporary);
  if (!made.ok()) return NotWritten(target, made);
  return temporary;
}

absl::Status PublishCheckpoint(const std::string& temporary, const std::string& target,
                               const Manifest& manifest) {
  const std::string text = ManifestToText(manifest);
  // What readers will ask of it: whole tensors, shards in full size.
  RETURN_IF_ERROR(ManifestFromText(text, absl::StrCat(temporary, "/", kManifestName)).status());
  RETURN_IF_ERROR(CheckShards(temporary, manifest));
  RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(temporary, "/", kManifestName), text));
  RETURN_IF_ERROR(SyncPath(temporary));
  return Rename(temporary, target);
}

absl::Status RotateCheckpoints(const std::string& run_dir, int64_t step, int keep_last) {
  if (keep_last <= 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::vector<CheckpointInfo> all, ListCheckpoints(run_dir));
  const auto later = std::find_if(all.begin(), all.end(),
                                  [&](const CheckpointInfo& info) { return info.step > step; });
  const int64_t up_to_now = later - all.begin();
  for (int64_t i = 0; i < up_to_now - keep_last; ++i) Delete(all[static_cast<size_t>(i)].path);
  return absl::OkStatus();
}

absl::Status NotWritten(const std::string& target, const absl::Status& cause) {
  return absl::Status(cause.code(), absl::StrCat("the checkpoint ", target,
                                                 " was not written, older ones are untouched: ",
                                                 absl::string_view(cause.message())));
}

}  // namespace wyvern
