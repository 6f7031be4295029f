// Tokens back to text.
#ifndef WYVERN_DATA_TOKENIZER_TOKEN_DECODER_H_
#define WYVERN_DATA_TOKENIZER_TOKEN_DECODER_H_

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer/json_part.h"
#include "data/tokenizer/text_growth.h"

namespace wyvern {

class TokenDecoder {
 public:
  virtual ~TokenDecoder() = default;
  // Changes tokens in their order; bytes that are no UTF-8 stay as they are.
  virtual void Apply(std::vector<std::string>* tokens) const = 0;
  // Adds the characters that it looks for and writes.
  virtual void AddNamed(std::set<uint32_t>* /*characters*/) const {}
  // Adds itself to what follows.
  virtual void Bound(TextGrowth* growth) const { growth->Rewrite(1); }
};

struct TokenDecoding {
  std::vector<std::unique_ptr<TokenDecoder>> steps;
  bool joins_with_spaces = false;  // without any decoder
};

// Makes that of the part "decoder", which may be null. Errors name what is unknown, and what could
// make a text more than kMaxTextGrowth times as long.
absl::StatusOr<TokenDecoding> MakeTokenDecoding(const JsonPart& part);

// Tokens that write every byte as a character.
TokenDecoding DecodeBytes();

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_TOKEN_DECODER_H_
