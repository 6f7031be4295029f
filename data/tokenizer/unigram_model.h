// The unigram language model of SentencePiece (arXiv 1804.10959): the division of a piece into
// tokens whose scores have the largest sum.
#ifndef WYVERN_DATA_TOKENIZER_UNIGRAM_MODEL_H_
#define WYVERN_DATA_TOKENIZER_UNIGRAM_MODEL_H_

#include <memory>
#include <vector>

#include "data/tokenizer/token_model.h"

namespace wyvern {

// scores[id] of each token. `unk` stands for characters that no token holds, one for a run of them;
// with byte_fallback their bytes do, if the tokens <0x00> to <0xFF> are there. `vocabulary` must
// outlive the model.
std::unique_ptr<TokenModel> MakeUnigramModel(const Vocabulary& vocabulary,
                                             const std::vector<double>& scores, int32_t unk,
                                             bool byte_fallback);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_UNIGRAM_MODEL_H_
