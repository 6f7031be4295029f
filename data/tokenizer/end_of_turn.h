// The end of an assistant's turn, by which generation stops.
#ifndef WYVERN_DATA_TOKENIZER_END_OF_TURN_H_
#define WYVERN_DATA_TOKENIZER_END_OF_TURN_H_

#include <cstdint>
#include <optional>
#include <string>

#include "data/chat/chat_template.h"
#include "data/tokenizer/tokenizer.h"

namespace wyvern {

struct EndOfTurn {
  // The text that the template writes behind a turn, without space and up to the first line's end;
  // empty: none, or the template cannot say it.
  std::string text;
  // The token with which it begins, where that is one of the tokenizer's added tokens, as
  // <|im_end|> is. Else the text alone tells the end.
  std::optional<int32_t> id;

  // "<|im_end|> (token 3)"
  std::string ToString() const;
};

EndOfTurn FindEndOfTurn(const ChatTemplate& chat, const Tokenizer& tokenizer);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_END_OF_TURN_H_
