// A file's metadata, by which it is known to be the same without being read.
#ifndef WYVERN_DATA_IO_FILE_STAMP_H_
#define WYVERN_DATA_IO_FILE_STAMP_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace wyvern {

// write() and its kin set a file's change time, which no program can set otherwise: two stamps that
// are equal, the first of them settled, are stamps of the same bytes. But for a mapping that was
// writable before: the kernel may set the time of a write through it when it writes the page back.
struct FileStamp {
  bool is_regular = false;
  // False within two seconds after a change: another one might get the same time.
  bool is_settled = false;
  int64_t bytes = 0;
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t modified_ns = 0;  // since 1970
  int64_t changed_ns = 0;
};

// Whether both are of the same file with the same bytes, as far as the file system says.
bool IsSameStamp(const FileStamp& a, const FileStamp& b);

absl::StatusOr<FileStamp> StampOf(const std::string& path);  // of what a link leads to
absl::StatusOr<FileStamp> StampOf(int descriptor, const std::string& path);

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_FILE_STAMP_H_
