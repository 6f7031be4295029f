#include "trainer/run_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "data/file.h"

namespace wyvern {

absl::StatusOr<std::unique_ptr<RunLock>> RunLock::Take(const std::string& run_dir) {
  const std::string path = run_dir + "/lock";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus(errno, "cannot create", path);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    close(fd);
    if (error != EWOULDBLOCK) return ErrnoStatus(error, "cannot lock", path);
    return absl::FailedPreconditionError(
        absl::StrCat(run_dir,
                     ": another process is training in this run folder; wait for it, or "
                     "set another run.dir"));
  }
  return std::unique_ptr<RunLock>(new RunLock(fd));
}

RunLock::~RunLock() { close(fd_); }

}  // namespace wyvern
