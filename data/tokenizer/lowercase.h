#ifndef WYVERN_DATA_TOKENIZER_LOWERCASE_H_
#define WYVERN_DATA_TOKENIZER_LOWERCASE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace wyvern {

// Of valid UTF-8, each character by itself, by the mappings of Unicode 17.0.
std::string Lowercase(absl::string_view text);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_LOWERCASE_H_
