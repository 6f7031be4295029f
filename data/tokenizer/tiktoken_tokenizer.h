// Files of tiktoken: a line "base64 rank" for each token.
#ifndef WYVERN_DATA_TOKENIZER_TIKTOKEN_TOKENIZER_H_
#define WYVERN_DATA_TOKENIZER_TIKTOKEN_TOKENIZER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_bundle.h"

namespace wyvern {

// Whether the first line is one of such a file.
bool IsTiktoken(absl::string_view content);

// Gives the ids that PyPI's tiktoken gives with allowed_special="all". settings.pattern says how
// text is divided: gpt2, cl100k, o200k, llama3, qwen or kimi. Special tokens are the
// "added_tokens_decoder" of tokenizer_config.json. Errors (InvalidArgument) begin with `origin`: no
// pattern or an unknown one; a line, with its number; a byte without a token; special tokens that
// are tokens already.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTiktokenTokenizer(TokenizerBundle bundle,
                                                                 const std::string& origin);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_TIKTOKEN_TOKENIZER_H_
