// Makes a tokenizer.json of a byte-level byte-pair encoding that is trained on documents.
#ifndef WYVERN_DATA_TOKENIZER_BYTE_LEVEL_TRAINING_H_
#define WYVERN_DATA_TOKENIZER_BYTE_LEVEL_TRAINING_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace wyvern {

// A byte-level tokenizer has these besides its merges.
struct ByteLevelOptions {
  std::string pattern = "gpt2";  // data/tokenizer/named_patterns.h
  // Special tokens; empty: none.
  std::string bos;
  std::string eos = "<|endoftext|>";
  std::string pad;
  std::vector<std::string> specials;  // more of them, such as the markers of chats

  // bos, eos, pad and the others, which have the first ids in this order.
  std::vector<std::string> SpecialTokens() const;
  // Errors (InvalidArgument) begin with the field: an unknown pattern; a special token that is
  // empty, no UTF-8 or there twice.
  absl::Status Validate() const;

  bool operator==(const ByteLevelOptions&) const = default;
};

// The content of the tokenizer.json, as PyPI's tokenizers saves it once it is trained on the same
// documents (BpeTrainer with initial_alphabet=ByteLevel.alphabet()). Does not depend on the number
// of threads (0: every core). Errors: as Validate; fewer than `vocab_size` tokens in the text, or
// no more than the special ones and bytes wanted.
absl::StatusOr<std::string> TrainByteLevel(const std::vector<std::string>& documents,
                                           int64_t vocab_size, const ByteLevelOptions& options,
                                           int num_threads);

// Whether a tokenizer.json divides text by the named pattern and no other.
absl::StatusOr<bool> DividesBy(const std::string& tokenizer_json, const std::string& pattern);

// The tokenizer_config.json beside it, which names bos, eos and pad.
std::string ByteLevelConfig(const ByteLevelOptions& options);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_BYTE_LEVEL_TRAINING_H_
