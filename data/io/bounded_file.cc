#include "data/io/bounded_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "data/io/file.h"
#include "data/io/file_descriptor.h"
#include "kernels/runtime/operation.h"

namespace wyvern {

absl::StatusOr<std::string> ReadFileOf(const FileKind& kind, const std::string& path) {
  const Operation reading(absl::StrCat("reading ", path));
  const FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoStatus(errno, "cannot open", path);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return ErrnoStatus(errno, "cannot read", path);
  if (S_ISDIR(info.st_mode)) return ErrnoStatus(EISDIR, "cannot read", path);
  if (!S_ISREG(info.st_mode) && !S_ISFIFO(info.st_mode) && isatty(fd.get()) == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": neither a file nor a pipe; expected ", kind.name));
  }
  const auto too_long = [&](absl::string_view size) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": it has ", size, " bytes, and ",
                                                   kind.name, " has at most ", kind.max_bytes,
                                                   "; name another file"));
  };
  const auto limit = static_cast<size_t>(kind.max_bytes);
  std::string content;
  if (S_ISREG(info.st_mode)) {
    if (info.st_size > kind.max_bytes) return too_long(absl::StrCat(info.st_size));
    content.reserve(static_cast<size_t>(info.st_size));
  }
  std::string buffer(size_t{1} << 16, '\0');
  while (true) {
    const ssize_t got = read(fd.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(errno, "cannot read", path);
    if (got == 0) return content;
    if (content.size() + static_cast<size_t>(got) > limit) {
      return too_long(absl::StrCat("more than ", kind.max_bytes));
    }
    content.append(buffer, 0, static_cast<size_t>(got));
  }
}

}  // namespace wyvern
