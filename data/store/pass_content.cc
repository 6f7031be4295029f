#include "data/store/pass_content.h"

#include "absl/strings/str_cat.h"

namespace wyvern {

absl::Status PassContent::Check(const std::vector<std::string>& files,
                                const std::vector<ReadFileInfo>& read) {
  if (!is_known_) {
    is_known_ = true;
    files_ = files;
    read_ = read;
    return absl::OkStatus();
  }
  if (files != files_) {
    return absl::FailedPreconditionError(
        "the files of the text changed while it was read; prepare again when nothing writes there");
  }
  for (size_t i = 0; i < files.size(); ++i) {
    if (read[i].bytes == read_[i].bytes && read[i].crc32 == read_[i].crc32) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        files[i], " changed while it was read; prepare again when nothing writes to it"));
  }
  return absl::OkStatus();
}

}  // namespace wyvern
