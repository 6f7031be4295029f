// Binary files by their first bytes, so that none is ever taken for text.
#ifndef WYVERN_DATA_TEXT_BINARY_KIND_H_
#define WYVERN_DATA_TEXT_BINARY_KIND_H_

#include <string>

#include "absl/strings/string_view.h"

namespace wyvern {

// Says what the binary data is and what to do about it; empty for what may be text. A zero byte in
// `head` is binary data of an unknown kind.
std::string BinaryKind(absl::string_view head);

}  // namespace wyvern

#endif  // WYVERN_DATA_TEXT_BINARY_KIND_H_
