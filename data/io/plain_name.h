// Names of files that files give.
#ifndef WYVERN_DATA_IO_PLAIN_NAME_H_
#define WYVERN_DATA_IO_PLAIN_NAME_H_

#include "absl/strings/string_view.h"

namespace wyvern {

// Whether the text names something in a folder itself: no path, not the folder or its parent.
inline bool IsPlainName(absl::string_view name) {
  constexpr absl::string_view kForbidden("/\0", 2);
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(kForbidden) == absl::string_view::npos;
}

}  // namespace wyvern

#endif  // WYVERN_DATA_IO_PLAIN_NAME_H_
