#include "data/io/output.h"

#include <fcntl.h>
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
#include "data/io/file.h"
#include "data/io/file_descriptor.h"
#include "data/io/replace_folder.h"
#include "data/io/unique_name.h"
#include "kernels/runtime/catch.h"
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

absl::Status WriteNew(const std::string& path, absl::string_view content) {
  FileDescriptor fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (fd.get() < 0) return ErrnoStatus(errno, "cannot create", path);
  while (!content.empty()) {
    const ssize_t written = write(fd.get(), content.data(), content.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "cannot write", path);
    }
    content.remove_prefix(written);
  }
  if (fd.Close() != 0) return ErrnoStatus(errno, "cannot write", path);
  return absl::OkStatus();
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
  for (const fs::path& path : found) {
    if (!LockFile::IsGuarded(path.string())) fs::remove_all(path, error);
  }
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

absl::Status Output::CommitBy(absl::Status (*rename)(const std::string& temporary,
                                                     const std::string& path)) {
  CHECK(!temporary_.empty(), path_, " is committed already");
  RETURN_IF_ERROR(SyncPath(temporary_));
  // The lock goes before the name comes: killed in between, this leaves what the next writer
  // removes, and never a lock beside a finished output, which may have no next writer. Meanwhile
  // the guard keeps the next one from taking the temporary file for a dead one's.
  const FileDescriptor guard = LockFile::Guard(temporary_);
  if (guard.get() >= 0) RETURN_IF_ERROR(lock_->Remove());
  RETURN_IF_ERROR(rename(temporary_, path_));
  temporary_.clear();
  return guard.get() >= 0 ? absl::OkStatus() : lock_->Remove();
}

absl::Status Output::Commit() {
  return CommitBy([](const std::string& temporary, const std::string& path) {
    if (std::rename(temporary.c_str(), path.c_str()) != 0) {
      return ErrnoStatus(errno, absl::StrCat("cannot give ", temporary, " its name"), path);
    }
    return SyncPath(FolderOf(path).string());
  });
}

absl::Status Output::CommitReplacing() {
  return CommitBy([](const std::string& temporary, const std::string& path) {
    return ReplaceFolder(temporary, path, absl::StrCat(path, kSuffix, UniqueName()));
  });
}

absl::Status Output::CommitFile(absl::string_view content) {
  RETURN_IF_ERROR(WriteNew(temporary_, content));
  return Commit();
}

Output& Output::operator=(Output&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(lock_, other.lock_);
  return *this;
}

Output::~Output() {
  if (temporary_.empty()) return;
  CatchAll([this] {
    std::error_code error;
    fs::remove_all(temporary_, error);
    return absl::OkStatus();
  }).IgnoreError();
}

}  // namespace wyvern
