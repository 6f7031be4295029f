#include "data/output.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "data/file.h"
#include "data/unique_name.h"
#include "kernels/runtime/check.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kSuffix = ".tmp-";
constexpr size_t kUniqueDigits = 32;

// Earlier versions wrote to NAME.tmp-PID without a lock: such a writer lives if a process of that
// number does the same work as this one.
bool IsOldWriterAlive(absl::string_view digits) {
  int64_t pid = 0;
  if (!absl::SimpleAtoi(digits, &pid) || pid == getpid() || pid <= 0) return false;
  const absl::StatusOr<std::string> other = ReadFile(absl::StrCat("/proc/", pid, "/comm"));
  const absl::StatusOr<std::string> self = ReadFile("/proc/self/comm");
  return other.ok() && self.ok() && *other == *self;
}

bool IsLeftover(absl::string_view file, absl::string_view name) {
  if (!absl::ConsumePrefix(&file, name) || !absl::ConsumePrefix(&file, kSuffix)) return false;
  if (file.size() == kUniqueDigits) {
    return std::all_of(file.begin(), file.end(), [](char c) { return absl::ascii_isxdigit(c); });
  }
  return !file.empty() && file.size() <= 10 &&
         std::all_of(file.begin(), file.end(), [](char c) { return absl::ascii_isdigit(c); }) &&
         !IsOldWriterAlive(file);
}

fs::path FolderOf(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

void RemoveLeftovers(const fs::path& folder, const std::string& name) {
  std::error_code error;
  std::vector<fs::path> found;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (IsLeftover(entry->path().filename().string(), name)) found.push_back(entry->path());
  }
  for (const fs::path& path : found) fs::remove_all(path, error);
}

}  // namespace

absl::StatusOr<Output> Output::Claim(const std::string& path, double wait_seconds) {
  Output output;
  output.path_ = path;
  while (output.path_.size() > 1 && output.path_.back() == '/') output.path_.pop_back();
  const fs::path target = output.path_;
  const std::string name = target.filename().string();
  if (name.empty() || name == "." || name == "..") {
    return absl::InvalidArgumentError(
        absl::StrCat("'", path, "': expected the name of a file or folder to write"));
  }
  std::error_code error;
  const fs::file_status existing = fs::status(target, error);
  if (fs::exists(existing) && !fs::is_regular_file(existing) && !fs::is_directory(existing)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": neither a file nor a folder, so it cannot be replaced"));
  }
  const fs::path folder = FolderOf(target);
  absl::StatusOr<LockFile> lock =
      LockFile::Take((folder / absl::StrCat(".", name, ".lock")).string(),
                     absl::StrCat(path, ": another process is writing it"),
                     "wait until it has ended, or write under another name", wait_seconds);
  if (absl::IsAborted(lock.status())) return lock.status();
  if (!lock.ok()) {
    return absl::Status(lock.status().code(),
                        absl::StrCat("cannot write ", path, ": ", lock.status().message()));
  }
  output.lock_ = *std::move(lock);
  RemoveLeftovers(folder, name);
  output.temporary_ = absl::StrCat(output.path_, kSuffix, UniqueName());
  return output;
}

absl::Status Output::Commit() {
  CHECK(!temporary_.empty(), path_, " is committed already");
  if (!lock_->IsHeld()) {
    return absl::AbortedError(
        absl::StrCat(path_,
                     ": its lock was removed while it was being written, so another process may be "
                     "writing it too; nothing was replaced"));
  }
  RETURN_IF_ERROR(SyncPath(temporary_));
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("cannot give ", temporary_, " its name"), path_);
  }
  temporary_.clear();
  const absl::Status synced = SyncPath(FolderOf(path_).string());
  lock_.reset();
  return synced;
}

Output& Output::operator=(Output&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(lock_, other.lock_);
  return *this;
}

Output::~Output() {
  std::error_code error;
  if (!temporary_.empty()) fs::remove_all(temporary_, error);
}

}  // namespace wyvern
