#ifndef WYVERN_KERNELS_RUNTIME_NEAREST_H_
#define WYVERN_KERNELS_RUNTIME_NEAREST_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace wyvern {

// The candidate with the fewest edits (insert, delete, replace, swap of neighbours) from `word`;
// empty when every one needs more than max(2, half the word's length).
std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_RUNTIME_NEAREST_H_
