#include "data/io/output_file.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace wyvern {

absl::StatusOr<Output> ClaimFile(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": a folder; name a file to write"));
  }
  return Output::Claim(path);
}

}  // namespace wyvern
