// Which tokens begin and end a document.
#ifndef WYVERN_DATA_TOKENIZER_SPECIAL_TOKENS_H_
#define WYVERN_DATA_TOKENIZER_SPECIAL_TOKENS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer/tokenizer_bundle.h"

namespace wyvern {

struct DocumentTokens {
  std::optional<int32_t> bos, eos;
};

// By the settings; else by bos_token and eos_token of tokenizer_config.json, or of
// special_tokens_map.json; else by names that are well known, as </s>, if `added` holds exactly
// one. `find` gives the id of a token. Errors: files that are no JSON; a token that is not there.
absl::StatusOr<DocumentTokens> FindDocumentTokens(
    const TokenizerBundle& bundle, const std::string& origin, const std::vector<std::string>& added,
    const std::function<std::optional<int32_t>(const std::string&)>& find);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_SPECIAL_TOKENS_H_
