// A tokenizer of parts: added tokens are found, the text between them is normalised, divided, and
// encoded piece by piece.
#ifndef WYVERN_DATA_TOKENIZER_PIPELINE_TOKENIZER_H_
#define WYVERN_DATA_TOKENIZER_PIPELINE_TOKENIZER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer/added_tokens.h"
#include "data/tokenizer/normalizer.h"
#include "data/tokenizer/pre_tokenizer.h"
#include "data/tokenizer/special_tokens.h"
#include "data/tokenizer/token_decoder.h"
#include "data/tokenizer/token_model.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_bundle.h"

namespace wyvern {

struct TokenizerParts {
  std::string kind;
  TokenizerBundle bundle;
  std::unique_ptr<Vocabulary> vocabulary;
  std::unique_ptr<TokenModel> model;  // of `vocabulary`
  std::vector<std::unique_ptr<Normalizer>> normalizers;
  PreTokenization pre_tokenization;
  std::vector<AddedToken> added_tokens;  // none of them empty
  TokenDecoding decoding;
};

// Text that is not UTF-8 has U+FFFD in the place of each error. Errors (InvalidArgument) begin with
// `origin`: added tokens that look alike once they are normalised; bos or eos that are no tokens.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakePipelineTokenizer(TokenizerParts parts,
                                                                 const std::string& origin);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_PIPELINE_TOKENIZER_H_
