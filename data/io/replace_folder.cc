#include "data/io/replace_folder.h"

#include <fcntl.h>

#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "data/io/file.h"

namespace wyvern {

namespace fs = std::filesystem;

absl::Status ReplaceFolder(const std::string& temporary, const std::string& path,
                           const std::string& away) {
  std::error_code error, ignored;
  const bool existed = fs::exists(fs::symlink_status(path, ignored));
  const bool exchanged = existed && renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(),
                                              RENAME_EXCHANGE) == 0;
  if (!exchanged) {
    if (existed) fs::rename(path, away, error);
    if (!error) fs::rename(temporary, path, error);
    if (error) {
      if (existed && !fs::exists(path, ignored)) fs::rename(away, path, ignored);
      return ErrnoStatus(error.value(), absl::StrCat("cannot give ", temporary, " its name"), path);
    }
  }
  if (existed) fs::remove_all(exchanged ? temporary : away, ignored);
  const std::string folder = fs::path(path).parent_path().string();
  return SyncPath(folder.empty() ? "." : folder);
}

}  // namespace wyvern
