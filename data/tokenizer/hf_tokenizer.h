// Hugging Face's tokenizer.json.
#ifndef WYVERN_DATA_TOKENIZER_HF_TOKENIZER_H_
#define WYVERN_DATA_TOKENIZER_HF_TOKENIZER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "data/tokenizer/tokenizer.h"
#include "data/tokenizer/tokenizer_bundle.h"

namespace wyvern {

// Gives the ids that PyPI's tokenizers gives without add_special_tokens. Truncation and padding
// count for nothing, as in transformers. Errors (InvalidArgument) name what Wyvern cannot do by its
// place in the file, such as "pre_tokenizer.pretokenizers[1].pattern.Regex".
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeHfTokenizer(TokenizerBundle bundle,
                                                           const std::string& origin);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_HF_TOKENIZER_H_
