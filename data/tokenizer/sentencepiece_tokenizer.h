// Tokenizers of SentencePiece models (arXiv 1808.06226), from any trainer.
#ifndef WYVERN_DATA_TOKENIZER_SENTENCEPIECE_TOKENIZER_H_
#define WYVERN_DATA_TOKENIZER_SENTENCEPIECE_TOKENIZER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "data/tokenizer/tokenizer.h"

namespace wyvern {

// `model` is the content of a .model file; `origin` names it in messages. A truncated or foreign
// model is DataLoss or InvalidArgument.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeSentencePieceTokenizer(const std::string& model,
                                                                      const std::string& origin);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_SENTENCEPIECE_TOKENIZER_H_
