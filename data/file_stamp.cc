#include "data/file_stamp.h"

#include <sys/stat.h>
#include <time.h>

#include <cerrno>

#include "data/file.h"

namespace wyvern {
namespace {

int64_t Nanoseconds(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

FileStamp MakeStamp(const struct stat& info) {
  constexpr int64_t kCoarsestClock = 2'000'000'000;
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  FileStamp stamp;
  stamp.is_regular = S_ISREG(info.st_mode);
  stamp.bytes = info.st_size;
  stamp.device = info.st_dev;
  stamp.inode = info.st_ino;
  stamp.modified_ns = Nanoseconds(info.st_mtim);
  stamp.changed_ns = Nanoseconds(info.st_ctim);
  stamp.is_settled = stamp.changed_ns + kCoarsestClock < Nanoseconds(now);
  return stamp;
}

}  // namespace

absl::StatusOr<FileStamp> StampOf(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, "cannot read", path);
  return MakeStamp(info);
}

absl::StatusOr<FileStamp> StampOf(int descriptor, const std::string& path) {
  struct stat info;
  if (fstat(descriptor, &info) != 0) return ErrnoStatus(errno, "cannot read", path);
  return MakeStamp(info);
}

}  // namespace wyvern
