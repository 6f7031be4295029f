#include "data/text/path_list.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "data/io/bounded_file.h"
#include "data/io/utf8.h"
#include "data/text/binary_kind.h"
#include "kernels/runtime/status.h"

namespace wyvern {

bool IsPathList(absl::string_view path) { return path.size() > 1 && path[0] == '@'; }

absl::StatusOr<std::vector<std::string>> ReadPathList(const std::string& path) {
  const std::string name = path.substr(1);
  ASSIGN_OR_RETURN(const std::string content, ReadFileOf(kPathListFile, name));
  std::vector<std::string> paths;
  const std::string binary = BinaryKind(content);
  if (!binary.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": a list of paths is text, with a path a line; ", binary));
  }
  int line_number = 0;
  for (const absl::string_view line : absl::StrSplit(absl::StripPrefix(content, kUtf8Bom), '\n')) {
    ++line_number;
    const absl::string_view listed = absl::StripAsciiWhitespace(line);
    if (listed.empty() || listed[0] == '#') continue;
    if (IsPathList(listed)) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ":", line_number, ": a list in a list; name ", listed,
                       " beside it (or write ./", listed, " for a file of this name)"));
    }
    paths.emplace_back(listed);
  }
  if (paths.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": no path in this list; expected one a line"));
  }
  return paths;
}

}  // namespace wyvern
