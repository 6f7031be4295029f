// Compares text with the text that token stores were made from
// (data/store/made_from.h). The options of the description are those of PrepareOptions, with the
// tokenizer's hash.
#ifndef WYVERN_DATA_STORE_PREPARATION_H_
#define WYVERN_DATA_STORE_PREPARATION_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/io/json.h"
#include "data/store/prepare.h"
#include "data/store/text_input.h"
#include "data/tokenizer/tokenizer.h"

namespace wyvern {

// The options on which the tokens depend.
absl::StatusOr<nlohmann::json> DescribeOptions(const PrepareOptions& options,
                                               const Tokenizer& tokenizer);

// `text` was read to its end.
absl::StatusOr<std::string> DescribePreparation(const PrepareOptions& options,
                                                const Tokenizer& tokenizer, const TextInput& text);

// The records that were left out, as descriptions have them; null where none may be.
nlohmann::json DescribeLeftOut(const PrepareOptions& options, const TextInput& text);

// Whether PrepareStore would make the store train.h5 in options.output_dir the same again, by
// CheckMadeFrom. Files that are gone are said in `notes`. OK, too, where the store does not say
// what it was made from. FailedPrecondition says what is different.
absl::Status CheckPrepared(const PrepareOptions& options, const Tokenizer& tokenizer,
                           std::vector<std::string>* notes);

// Whether documents of dir/train.h5 were prepared to begin with bos (TextSourceOptions::add_bos).
bool PreparedWithBos(const std::string& dir);

}  // namespace wyvern

#endif  // WYVERN_DATA_STORE_PREPARATION_H_
