// The content of a SentencePiece model: the parts of its ModelProto that make ids.
#ifndef WYVERN_DATA_TOKENIZER_SENTENCEPIECE_FILE_H_
#define WYVERN_DATA_TOKENIZER_SENTENCEPIECE_FILE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace wyvern {

// Field numbers and defaults are those of sentencepiece_model.proto.
struct SentencePieceFile {
  enum PieceType {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6
  };
  enum ModelType { kUnigram = 1, kBpe = 2 };  // other ones are words and characters
  struct Piece {
    std::string text;
    float score = 0;
    uint64_t type = kNormal;
  };

  std::vector<Piece> pieces;  // by id
  uint64_t model_type = kUnigram;
  bool byte_fallback = false;
  bool treat_whitespace_as_suffix = false;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
  bool has_character_map = false;
};

// Nothing for what is no such message.
std::optional<SentencePieceFile> ReadSentencePieceFile(absl::string_view model);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_SENTENCEPIECE_FILE_H_
