#include "trainer/checkpoint/folder.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "data/io/file.h"
#include "data/io/replace_folder.h"
#include "data/io/unique_name.h"
#include "kernels/runtime/memory_text.h"
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
  return folder.parent_path() / absl::StrCat(prefix, folder.filename().string(), "-", UniqueName());
}

// Whether a file is left over from the checkpoint of that name, or from any of a run.
bool IsLeftover(absl::string_view file, absl::string_view name, bool all_steps) {
  if (!absl::ConsumePrefix(&file, kTemporaryPrefix) && !absl::ConsumePrefix(&file, kDoomedPrefix)) {
    return false;
  }
  const size_t end = file.find('-', all_steps ? 0 : name.size());
  if (end == absl::string_view::npos) return false;
  const absl::string_view of = file.substr(0, end), unique = file.substr(end + 1);
  return (of == name || (all_steps && StepOfFolderName(of).has_value())) &&
         std::all_of(unique.begin(), unique.end(),
                     [](char c) { return absl::ascii_isxdigit(c) || c == '-'; });
}

// A reader never sees a half-deleted checkpoint: the folder first loses its name. One that cannot
// be renamed or deleted stays; the next write tries again.
void Delete(const fs::path& folder) {
  const fs::path doomed = Hidden(kDoomedPrefix, folder);
  std::error_code error;
  fs::rename(folder, doomed, error);
  if (!error) fs::remove_all(doomed, error);
}

}  // namespace

std::string CheckpointFolder(const std::string& run_dir, int64_t step) {
  return (fs::path(run_dir) / "checkpoints" / absl::StrFormat("step_%08d", step)).string();
}

std::optional<int64_t> StepOfFolderName(absl::string_view name) {
  int64_t step = 0;
  absl::string_view digits = name;
  if (!absl::ConsumePrefix(&digits, "step_") || !absl::SimpleAtoi(digits, &step) || step < 0 ||
      name != absl::StrFormat("step_%08d", step)) {
    return std::nullopt;
  }
  return step;
}

absl::Status CheckSpace(const std::string& folder, int64_t num_bytes) {
  const auto needed = static_cast<double>(num_bytes);
  struct statvfs disk;
  // A file system that does not say how large it is gets no verdict.
  if (statvfs(folder.c_str(), &disk) != 0 || disk.f_blocks == 0) return absl::OkStatus();
  const double available = static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize);
  if (needed <= available) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrFormat("no checkpoint was written: it needs %s, the disk of %s has %s "
                      "free; free some space or let the run write to another disk",
                      MemoryText(needed), folder, MemoryText(available)));
}

void RemoveLeftovers(const std::string& target, bool all_steps) {
  const fs::path path = target;
  std::error_code error;
  std::vector<fs::path> stale;
  for (fs::directory_iterator entry(path.parent_path(), error), end; !error && entry != end;
       entry.increment(error)) {
    if (IsLeftover(entry->path().filename().string(), path.filename().string(), all_steps)) {
      stale.push_back(entry->path());
    }
  }
  for (const fs::path& folder : stale) fs::remove_all(folder, error);
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

absl::StatusOr<std::string> MakeTemporaryFolder(const std::string& target, int64_t num_bytes) {
  const std::string parent = fs::path(target).parent_path().string();
  RETURN_IF_ERROR(MakeFolders(parent));
  RemoveLeftovers(target, /*all_steps=*/true);
  RETURN_IF_ERROR(CheckSpace(parent, num_bytes));
  const std::string temporary = Hidden(kTemporaryPrefix, target).string();
  const absl::Status made = MakeFolders(temporary);
  if (!made.ok()) return NotWritten(target, made);
  return temporary;
}

absl::Status WriteManifest(const std::string& temporary, const Manifest& manifest) {
  const std::string text = ManifestToText(manifest);
  const std::string path = absl::StrCat(temporary, "/", kManifestName);
  // The manifest must pass a reader's checks: whole tensors, shards in full size.
  RETURN_IF_ERROR(ManifestFromText(text, path).status());
  RETURN_IF_ERROR(CheckShards(temporary, manifest));
  RETURN_IF_ERROR(WriteFileAtomically(path, text));
  return SyncPath(temporary);
}

absl::Status PublishCheckpoint(const std::string& temporary, const std::string& target,
                               const Manifest& manifest) {
  RETURN_IF_ERROR(WriteManifest(temporary, manifest));
  return ReplaceFolder(temporary, target, Hidden(kDoomedPrefix, target).string());
}

absl::Status RotateCheckpoints(const std::string& run_dir, int64_t step, int keep_last,
                               int64_t keep_every) {
  if (keep_last <= 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::vector<CheckpointInfo> all, ListCheckpoints(run_dir));
  const auto later = std::find_if(all.begin(), all.end(),
                                  [&](const CheckpointInfo& info) { return info.step > step; });
  const int64_t up_to_now = later - all.begin();
  for (int64_t i = 0; i < up_to_now - keep_last; ++i) {
    const CheckpointInfo& old = all[static_cast<size_t>(i)];
    if (keep_every == 0 || old.step % keep_every != 0) Delete(old.path);
  }
  return absl::OkStatus();
}

absl::Status NotWritten(const std::string& target, const absl::Status& cause) {
  return absl::Status(cause.code(), absl::StrCat("the checkpoint ", target,
                                                 " was not written, older ones are untouched: ",
                                                 absl::string_view(cause.message())));
}

}  // namespace wyvern
