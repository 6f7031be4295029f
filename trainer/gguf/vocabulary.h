// A tokenizer as llama.cpp has one: the model that makes its ids, and its tokens by id.
#ifndef WYVERN_TRAINER_GGUF_VOCABULARY_H_
#define WYVERN_TRAINER_GGUF_VOCABULARY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/io/gguf.h"
#include "data/tokenizer/tokenizer.h"

namespace wyvern {

// The values are the format's.
enum class GgufTokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6
};

struct GgufVocabulary {
  struct Token {
    std::string text;
    GgufTokenType type = GgufTokenType::kUnused;
    float score = 0;
  };
  std::string model;          // tokenizer.ggml.model
  std::string pre;            // how text is divided: tokenizer.ggml.pre
  std::vector<Token> tokens;  // by id; one without a text is none
  bool has_scores = false;
  std::vector<std::string> merges;    // of BPE over bytes: "left right"
  GgufMetadata more;                  // further keys
  std::vector<std::string> warnings;  // what llama.cpp does differently, one sentence each
};

// tokenizer.json or a tiktoken file whose model is BPE over bytes, and Wyvern's tokenizer of bytes.
// FailedPrecondition names what llama.cpp has no place for.
absl::StatusOr<GgufVocabulary> ByteLevelVocabulary(const Tokenizer& tokenizer);

// A SentencePiece model. Errors: as ByteLevelVocabulary, and a damaged one.
absl::StatusOr<GgufVocabulary> SentencePieceVocabulary(absl::string_view model);

}  // namespace wyvern

#endif  // WYVERN_TRAINER_GGUF_VOCABULARY_H_
