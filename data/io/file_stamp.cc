#include "data/io/file_stamp.h"

#include <sys/stat.h>
#include <time.h>

#include <cerrno>

#include "data/io/file.h"

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

bool IsSameStamp(const FileStamp& a, const FileStamp& b) {
  return a.is_regular == b.is_regular && a.bytes == b.bytes && a.device == b.device &&
         a.inode == b.inode && a.modified_ns == b.modified_ns && a.changed_ns == b.changed_ns;
}

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
