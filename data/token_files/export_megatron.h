// Token stores in the form of Megatron-LM, so that other programs can train on the same ids.
#ifndef WYVERN_DATA_TOKEN_FILES_EXPORT_MEGATRON_H_
#define WYVERN_DATA_TOKEN_FILES_EXPORT_MEGATRON_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "data/store/token_store.h"
#include "data/token_files/token_dtype.h"

namespace wyvern {

// How a store whose tokens are not all learnt is treated, as Megatron's form has no place for
// which.
enum class LossMask {
  kRefuse,  // an error
  kDrop,    // every token is written, and another program learns them all
};

struct ExportMegatronResult {
  std::string tokens_path, index_path;
  int64_t num_tokens = 0, num_documents = 0;
  TokenDtype dtype = TokenDtype::kUint16;
  std::string ToString() const;
};

// Writes PREFIX.bin and PREFIX.idx: a document is one sequence, or several if it has more than
// `max_sequence_tokens`, and none if it is empty. The type is the one that Megatron-LM chooses:
// uint16 for vocabularies below 65,500, else int32. PREFIX.idx comes last, so that it is there only
// with a whole PREFIX.bin. Errors: a damaged store, a full disk, another writer; a store of
// conversations, unless its loss mask is dropped; a prefix that names no files, or where files lie
// that are not of this form.
absl::StatusOr<ExportMegatronResult> ExportMegatron(const TokenStore& store,
                                                    const std::string& prefix, LossMask loss_mask,
                                                    int64_t max_sequence_tokens = INT32_MAX);

}  // namespace wyvern

#endif  // WYVERN_DATA_TOKEN_FILES_EXPORT_MEGATRON_H_
