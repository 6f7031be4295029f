// The ids of SentencePiece's library, several times as fast.
//
// Pieces join characters that stand beside each other in some piece. Between two characters that do
// so in none, a text can be divided without any effect on its ids.
#ifndef WYVERN_DATA_TOKENIZER_SENTENCEPIECE_ENCODER_H_
#define WYVERN_DATA_TOKENIZER_SENTENCEPIECE_ENCODER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace wyvern {

class SentencePieceEncoder {
 public:
  // nullptr for a model with something that is left to the library: characters that are normalised,
  // white space that is removed, pieces that are user-defined or unused, no bytes to fall back to,
  // a type other than BPE and unigram.
  static std::unique_ptr<SentencePieceEncoder> Make(const std::string& model);
  virtual ~SentencePieceEncoder() = default;

  // `text` must be valid UTF-8.
  virtual std::vector<int32_t> Encode(absl::string_view text) const = 0;
};

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_SENTENCEPIECE_ENCODER_H_
