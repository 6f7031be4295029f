#include "data/token_files/file_values.h"

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "data/io/file.h"

namespace wyvern {

absl::StatusOr<FileValues> FileValues::Open(const std::string& path, int64_t begin) {
  FileValues values(path, std::fopen(path.c_str(), "rbe"));
  if (values.file_ == nullptr) return ErrnoStatus(errno, "cannot read", path);
  if (fseeko(values.file_.get(), begin, SEEK_SET) != 0) {
    return ErrnoStatus(errno, "cannot read", path);
  }
  return values;
}

absl::Status FileValues::ReadBytes(char* bytes, size_t size) {
  if (std::fread(bytes, 1, size, file_.get()) == size) return absl::OkStatus();
  if (std::ferror(file_.get()) != 0) return ErrnoStatus(errno, "cannot read", path_);
  return absl::DataLossError(absl::StrCat(path_, ": the file ends too early; copy it again"));
}

}  // namespace wyvern
