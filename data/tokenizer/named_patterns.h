// The expressions by which well-known tokenizers divide text.
#ifndef WYVERN_DATA_TOKENIZER_NAMED_PATTERNS_H_
#define WYVERN_DATA_TOKENIZER_NAMED_PATTERNS_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace wyvern {

// The expression of gpt2, cl100k, o200k, llama3, qwen or kimi, which means the same in both
// dialects of patterns; nothing for another name.
std::optional<absl::string_view> FindNamedPattern(absl::string_view name);

// All names, for messages.
std::string NamedPatternNames();

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_NAMED_PATTERNS_H_
