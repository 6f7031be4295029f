#include "data/io/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/io/lock_holder.h"
#include "data/io/say.h"
#include "data/io/unique_name.h"
#include "kernels/runtime/catch.h"
#include "kernels/runtime/status.h"

namespace wyvern {
namespace {

constexpr size_t kMaxText = 4000;  // of the holder's line; a link's target has 4095 bytes at most

constexpr int kKernelEnotsupp = 524;  // NFS lets it through; errno.h does not know it

// 0, or what flock failed with.
int Lock(int fd, int kind = LOCK_EX) {
  while (flock(fd, kind | LOCK_NB) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

std::string ReadText(int fd) {
  std::string text(kMaxText, '\0');
  const ssize_t got = pread(fd, text.data(), text.size(), 0);
  text.resize(static_cast<size_t>(std::max<ssize_t>(0, got)));
  return text;
}

// nullopt: there is no such link.
std::optional<std::string> ReadLink(const std::string& path) {
  std::string target(kMaxText + 96, '\0');
  const ssize_t got = readlink(path.c_str(), target.data(), target.size());
  if (got < 0) return std::nullopt;
  target.resize(static_cast<size_t>(got));
  return target;
}

// Asks by opening: that is when a network's file system looks whether the name still means the
// same file.
bool IsFileAt(int fd, const std::string& path) {
  const FileDescriptor now(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  struct stat held = {}, found = {};
  return now.get() >= 0 && fstat(fd, &held) == 0 && fstat(now.get(), &found) == 0 &&
         held.st_dev == found.st_dev && held.st_ino == found.st_ino;
}

void WarnOnce(const std::string& path, int error) {
  static std::atomic<bool> warned{false};
  if (warned.exchange(true)) return;
  SayError(absl::StrCat("warning: the file system of ", path, " has no locks (flock: ",
                        error == kKernelEnotsupp ? "not supported" : std::strerror(error),
                        "); writers are kept apart by links that name their owners instead"));
}

// Removes the link of a dead owner, and nobody else's: of two that find the owner dead, the slower
// one would otherwise remove the link of the faster one.
void RemoveOwner(const std::string& path, const std::string& text) {
  const std::string away = absl::StrCat(path, "-", UniqueName());
  if (rename(path.c_str(), away.c_str()) != 0) return;
  const std::optional<std::string> found = ReadLink(away);
  if (found.has_value() && *found != text) (void)symlink(found->c_str(), path.c_str());
  unlink(away.c_str());
}

}  // namespace

bool MeansNoLocks(int error) {
  return error == ENOSYS || error == ENOLCK || error == EOPNOTSUPP || error == kKernelEnotsupp;
}

absl::StatusOr<LockFile> LockFile::Take(const std::string& path, const std::string& busy,
                                        const std::string& advice, double wait_seconds) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  auto pause = std::chrono::milliseconds(5);
  LockFile lock;
  lock.path_ = path;
  lock.self_text_ = LockHolder::Self().Text();
  while (true) {
    std::string holder;
    const absl::StatusOr<bool> taken = lock.Try(&holder);
    if (taken.ok() && *taken) return lock;
    if (!taken.ok() ||
        std::chrono::duration<double>(Clock::now() - begin).count() >= wait_seconds) {
      lock.path_.clear();
      RETURN_IF_ERROR(taken.status());
      return absl::AbortedError(absl::StrCat(busy, ": ", holder, "; ", advice));
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, std::chrono::milliseconds(500));
  }
}

absl::StatusOr<bool> LockFile::Try(std::string* holder) {
  while (true) {
    constexpr int kFlags = O_NOFOLLOW | O_CLOEXEC;
    bool created = true, writable = true;
    FileDescriptor fd(open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | kFlags, 0666));
    if (fd.get() < 0 && errno == EEXIST) {
      created = false;
      fd = FileDescriptor(open(path_.c_str(), O_RDWR | kFlags));
      if (fd.get() < 0 && errno == EACCES) {  // another user's
        writable = false;
        fd = FileDescriptor(open(path_.c_str(), O_RDONLY | kFlags));
      }
      if (fd.get() < 0 && errno == ENOENT) continue;  // its holder has just removed it
    }
    if (fd.get() < 0) return ErrnoStatus(errno, "cannot open the lock", path_);
    const int error = Lock(fd.get());
    if (MeansNoLocks(error)) {
      if (created) unlink(path_.c_str());
      WarnOnce(path_, error);
      return TryOwnerLink(holder);
    }
    if (error == EWOULDBLOCK) {
      const auto found = LockHolder::Parse(ReadText(fd.get()));
      *holder = found.has_value() ? found->ToString() : "a process that has not said its name";
      return false;
    }
    if (error != 0) return ErrnoStatus(error, "cannot lock", path_);
    // Its last holder removed it between our open and our lock: then it locks nothing.
    if (!IsFileAt(fd.get(), path_)) continue;
    if (!LockHolder::MayBeText(ReadText(fd.get()))) {
      return absl::FailedPreconditionError(absl::StrCat(
          path_, ": this name is a lock's, but the file is none; move it to another name"));
    }
    if (!writable) {
      if (unlink(path_.c_str()) != 0) return ErrnoStatus(errno, "cannot remove the lock", path_);
      continue;
    }
    // One that holds the lock in the other way, or that was killed so.
    if (const std::optional<std::string> owner = ReadLink(OwnerPath(path_))) {
      const auto other = LockHolder::Parse(*owner);
      if (!other.has_value() || other->life() != LockHolder::Life::kDead) {
        unlink(path_.c_str());
        return TryOwnerLink(holder);
      }
      RemoveOwner(OwnerPath(path_), *owner);
    }
    // For the second one's message alone: a full disk does not matter.
    if (ftruncate(fd.get(), 0) == 0) {
      (void)!pwrite(fd.get(), self_text_.data(), std::min(self_text_.size(), kMaxText), 0);
    }
    fd_ = std::move(fd);
    return true;
  }
}

absl::StatusOr<bool> LockFile::TryOwnerLink(std::string* holder) {
  const std::string owner = OwnerPath(path_);
  while (symlink(self_text_.c_str(), owner.c_str()) != 0) {
    if (errno != EEXIST) return ErrnoStatus(errno, "cannot create the lock", owner);
    const std::optional<std::string> text = ReadLink(owner);
    if (!text.has_value()) {
      if (errno == EINVAL) {
        return absl::FailedPreconditionError(absl::StrCat(
            owner, ": this name is a lock's, but the file is none; move it to another name"));
      }
      continue;  // its holder has just removed it
    }
    const auto other = LockHolder::Parse(*text);
    const auto life = other.has_value() ? other->life() : LockHolder::Life::kUnknown;
    if (life == LockHolder::Life::kDead) {
      RemoveOwner(owner, *text);
      continue;
    }
    *holder = other.has_value() ? other->ToString() : "an owner that has not said its name";
    if (life == LockHolder::Life::kUnknown) {
      absl::StrAppend(holder,
                      " (whether it still works cannot be told from here; if it does not, "
                      "delete ",
                      owner, ")");
    }
    return false;
  }
  return true;
}

bool LockFile::HasLiveOwnerLink(const std::string& path) {
  const auto holder = LockHolder::Parse(ReadLink(OwnerPath(path)).value_or(""));
  return holder.has_value() && holder->life() != LockHolder::Life::kDead;
}

bool LockFile::IsHeld() const {
  if (path_.empty()) return false;
  return fd_.get() >= 0 ? IsFileAt(fd_.get(), path_) : ReadLink(OwnerPath(path_)) == self_text_;
}

absl::Status LockFile::Remove() {
  const std::string path = fd_.get() >= 0 ? path_ : OwnerPath(path_);
  if (!IsHeld()) {
    return absl::AbortedError(absl::StrCat(
        path, ": this lock was removed while it was held, so another process may hold it too"));
  }
  if (unlink(path.c_str()) != 0) return ErrnoStatus(errno, "cannot remove the lock", path);
  path_.clear();
  return absl::OkStatus();
}

FileDescriptor LockFile::Guard(const std::string& path) {
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  return fd.get() >= 0 && Lock(fd.get(), LOCK_SH) == 0 ? std::move(fd) : FileDescriptor();
}

bool LockFile::IsGuarded(const std::string& path) {
  const FileDescriptor fd(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  return fd.get() >= 0 && Lock(fd.get()) == EWOULDBLOCK;
}

LockFile& LockFile::operator=(LockFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(self_text_, other.self_text_);
  return *this;
}

LockFile::~LockFile() {
  if (!path_.empty()) CatchAll([this] { return Remove(); }).IgnoreError();
}

}  // namespace wyvern
