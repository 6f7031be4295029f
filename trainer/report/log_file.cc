#include "trainer/report/log_file.h"

#include <unistd.h>

#include <cerrno>

#include "data/io/file.h"
#include "kernels/runtime/status.h"

namespace wyvern {

LogFile::~LogFile() {
  Flush().IgnoreError();
  close(fd_);
}

absl::Status LogFile::Append(absl::string_view record) {
  const std::lock_guard<std::mutex> lock(mutex_);
  kept_.append(record.data(), record.size());
  const absl::Status status = Flush();
  return absl::IsResourceExhausted(status) && kept_.size() <= kMaxKept ? absl::OkStatus() : status;
}

absl::Status LogFile::Sync() {
  const std::lock_guard<std::mutex> lock(mutex_);
  RETURN_IF_ERROR(Flush());
  if (fsync(fd_) != 0) return ErrnoStatus(errno, "cannot sync", path_);
  return absl::OkStatus();
}

absl::Status LogFile::Flush() {
  size_t done = 0;
  int error = 0;
  while (done < kept_.size() && error == 0) {
    const ssize_t written = write(fd_, kept_.data() + done, kept_.size() - done);
    if (written >= 0) {
      done += static_cast<size_t>(written);
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  kept_.erase(0, done);
  return error == 0 ? absl::OkStatus() : ErrnoStatus(error, "cannot write", path_);
}

}  // namespace wyvern
