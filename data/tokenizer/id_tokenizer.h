// Stands for a tokenizer that is not known: of the tokens only the number of ids and eos are. It
// writes ids as decimal numbers, each followed by a space, and reads them so.
#ifndef WYVERN_DATA_TOKENIZER_ID_TOKENIZER_H_
#define WYVERN_DATA_TOKENIZER_ID_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/tokenizer/tokenizer.h"

namespace wyvern {

inline constexpr char kIdTokenizerKind[] = "ids";

// Errors: a vocabulary outside [1, 2^31), an eos outside it.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeIdTokenizer(int64_t vocab_size, int64_t eos_id);

// The same, of Tokenizer::model: {"eos_id": E, "vocab_size": N}.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeIdTokenizer(const std::string& model,
                                                           const std::string& origin);

// Encode leaves out what is no id. InvalidArgument names such a word, if `tokenizer` is of this
// kind.
absl::Status CheckIsIds(const Tokenizer& tokenizer, absl::string_view text);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKENIZER_ID_TOKENIZER_H_
