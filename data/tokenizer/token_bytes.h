#ifndef WYVERN_DATA_TOKENIZER_TOKEN_BYTES_H_
#define WYVERN_DATA_TOKENIZER_TOKEN_BYTES_H_

#include <cstdint>
#include <vector>

#include "data/tokenizer/tokenizer.h"

namespace wyvern {

// How many bytes of text each token stands for. Over the tokens of a text behind a special token
// the counts add up to the bytes of the text, as far as the tokenizer gives it back.
class TokenBytes {
 public:
  explicit TokenBytes(const Tokenizer& tokenizer);

  // The bytes of `token` where it follows `previous`. Special tokens and ids outside the vocabulary
  // have none. Behind one, a text begins: a space that the tokenizer puts before every text does
  // not count.
  int64_t Count(int32_t previous, int32_t token) const;

 private:
  std::vector<int32_t> inside_, first_;  // [vocab_size] inside of a text and at its beginning
};

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_TOKEN_BYTES_H_
