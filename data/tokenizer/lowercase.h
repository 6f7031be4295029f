#ifndef WYVERN_DATA_TOKENIZER_LOWERCASE_H_
#define WYVERN_DATA_TOKENIZER_LOWERCASE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace wyvern {

// Maps each character of valid UTF-8 by itself, as Unicode 17.0 says.
std::string Lowercase(absl::string_view text);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_LOWERCASE_H_
