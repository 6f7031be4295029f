#include "autograd/fields.h"

#include "absl/strings/str_split.h"

namespace wyvern {

std::vector<std::string> SplitFieldNames(const char* names) {
  return absl::StrSplit(names, absl::ByAnyChar(", "), absl::SkipEmpty());
}

}  // namespace wyvern
