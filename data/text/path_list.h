// A file that lists the paths of an input.
#ifndef WYVERN_DATA_TEXT_PATH_LIST_H_
#define WYVERN_DATA_TEXT_PATH_LIST_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace wyvern {

// Whether an input's path names a list: @LIST. A file whose own name begins so is ./@NAME.
bool IsPathList(absl::string_view path);

// The paths in the file LIST of "@LIST", a line each. Empty lines and those that begin with # are
// left out, and the space around a path. Relative paths start, as those on a command line do, at
// the current folder, not at the list's. Errors: a file that cannot be read or
// is no text, a list of no path, or with another list in it.
absl::StatusOr<std::vector<std::string>> ReadPathList(const std::string& path);

}  // namespace wyvern

#endif  // WYVERN_DATA_TEXT_PATH_LIST_H_
