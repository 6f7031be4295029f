#include "data/tokenizer/end_of_turn.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace wyvern {

std::string EndOfTurn::ToString() const {
  return id.has_value() ? absl::StrCat(text, " (token ", *id, ")") : text;
}

EndOfTurn FindEndOfTurn(const ChatTemplate& chat, const Tokenizer& tokenizer) {
  EndOfTurn end;
  const std::string behind = chat.BehindTurn();
  const absl::string_view text = absl::StripAsciiWhitespace(behind);
  end.text = std::string(text.substr(0, text.find('\n')));
  const std::vector<int32_t> ids = tokenizer.EncodeBehind(end.text);
  if (!ids.empty() && tokenizer.is_added(ids[0])) {
    end.id = ids[0];
    const std::string token = tokenizer.BytesOf(ids[0]);
    if (!token.empty()) end.text = token;
  }
  return end;
}

}  // namespace wyvern
