// The tokens of a chat template.
#ifndef WYVERN_DATA_CHAT_JINJA_LEXER_H_
#define WYVERN_DATA_CHAT_JINJA_LEXER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/chat/jinja_environment.h"
#include "data/chat/jinja_value.h"

namespace wyvern::jinja {

struct Token {
  enum class Kind {
    kText,
    kBlockBegin,
    kBlockEnd,
    kPrintBegin,
    kPrintEnd,
    kName,
    kNumber,
    kString,
    kOperator,
    kEnd
  };
  Kind kind = Kind::kEnd;
  std::string text;  // of a string, what it stands for
  Value number;
  int line = 1;
};

// The whitespace that Python's str.strip removes, at the front and at the end of `text`.
absl::string_view StripFront(absl::string_view text);
absl::string_view StripBack(absl::string_view text);

// Ends with kEnd. Comments are left out, and whitespace as the environment and the signs within the
// delimiters ask. Errors as of ParseTemplate.
absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view source, const std::string& origin,
                                            JinjaEnvironment environment);

}  // namespace wyvern::jinja

#endif  // WYVERN_DATA_CHAT_JINJA_LEXER_H_
