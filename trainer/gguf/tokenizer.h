// The tokenizer inside of a GGUF file.
#ifndef WYVERN_TRAINER_GGUF_TOKENIZER_H_
#define WYVERN_TRAINER_GGUF_TOKENIZER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/io/gguf.h"
#include "data/tokenizer/tokenizer.h"

namespace wyvern {

struct GgufTokenizerOptions {
  int64_t vocab_size = 0;  // the model's: ids that the tokenizer has not are unused
  int64_t padding_id = -1;
  bool add_bos = false;                   // before every prompt
  std::string chat_template;              // empty: none
  std::optional<int32_t> end_of_turn_id;  // with which generation ends, besides eos
};

struct GgufTokenizer {
  GgufMetadata metadata;
  std::vector<std::string> warnings;  // what llama.cpp does differently, one sentence each
};

// FailedPrecondition: llama.cpp has no such tokenizer, or it has more tokens than the model.
absl::StatusOr<GgufTokenizer> MakeGgufTokenizer(const Tokenizer& tokenizer,
                                                const GgufTokenizerOptions& options);

// Whether a Hugging Face tokenizer's own files put bos before a text: its configuration's
// add_bos_token, else the post_processor of its tokenizer.json.
absl::StatusOr<bool> TokenizerAddsBos(const Tokenizer& tokenizer);

// A file without a tokenizer, whose model takes token ids alone.
GgufMetadata NoGgufTokenizer();

}  // namespace wyvern

#endif  // WYVERN_TRAINER_GGUF_TOKENIZER_H_
