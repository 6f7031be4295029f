// The normal forms of Unicode (UAX 15).
#ifndef WYVERN_DATA_TOKENIZER_NORMAL_FORM_H_
#define WYVERN_DATA_TOKENIZER_NORMAL_FORM_H_

#include <string>

#include "absl/strings/string_view.h"

namespace wyvern {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

// Takes valid UTF-8 and the properties of Unicode 9.0, which is what tokenizers knows here: later
// characters stay as they are, and where they are.
std::string Normalized(absl::string_view text, NormalForm form);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_NORMAL_FORM_H_
