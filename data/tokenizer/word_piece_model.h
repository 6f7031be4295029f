// WordPiece: from the left the longest token each (arXiv 1810.04805).
#ifndef WYVERN_DATA_TOKENIZER_WORD_PIECE_MODEL_H_
#define WYVERN_DATA_TOKENIZER_WORD_PIECE_MODEL_H_

#include <memory>
#include <string>

#include "data/tokenizer/token_model.h"

namespace wyvern {

struct WordPieceOptions {
  int32_t unk;             // of a piece that cannot be divided, or is too long
  std::string prefix;      // of tokens that continue a piece
  int64_t max_characters;  // of a piece
};

// `vocabulary` must outlive the model.
std::unique_ptr<TokenModel> MakeWordPieceModel(const Vocabulary& vocabulary,
                                               const WordPieceOptions& options);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_WORD_PIECE_MODEL_H_
