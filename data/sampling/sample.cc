#include "data/sampling/sample.h"

#include <climits>

#include "kernels/runtime/check.h"
#include "kernels/runtime/status.h"

namespace wyvern {

absl::Status AppendSample(const TokenStore& store, int64_t begin, int64_t end,
                          DocumentBoundary boundary, Batch* batch) {
  CHECK(begin < end && end < store.num_tokens());
  CHECK(batch->num_tokens() + (end - begin) <= INT_MAX, "cu_seqlens are 32 bits wide");
  std::vector<int32_t> tokens(end - begin + 1);
  RETURN_IF_ERROR(store.Read(begin, end + 1, tokens.data()));
  std::vector<uint8_t> learnt;
  if (store.has_learnt()) {
    learnt.resize(tokens.size());
    RETURN_IF_ERROR(store.ReadLearnt(begin, end + 1, learnt.data()));
  }

  // The end of the current token's document; an empty document ends where it begins.
  const absl::Span<const int64_t> offsets = store.document_offsets();
  const bool reset = boundary == DocumentBoundary::kReset;
  int64_t document = reset ? store.DocumentAt(begin) : 0;
  if (batch->cu_seqlens.empty()) batch->cu_seqlens.push_back(0);
  for (int64_t t = begin; t < end; ++t) {
    bool last_of_document = false;
    if (reset) {
      while (offsets[document + 1] <= t) ++document;
      last_of_document = offsets[document + 1] == t + 1;
    }
    batch->tokens.push_back(tokens[t - begin]);
    const bool is_target = !last_of_document && (learnt.empty() || learnt[t - begin + 1] == 1);
    batch->targets.push_back(is_target ? tokens[t - begin + 1] : kIgnoredTarget);
    if (last_of_document || t + 1 == end) {
      batch->cu_seqlens.push_back(static_cast<int32_t>(batch->tokens.size()));
    }
  }
  return absl::OkStatus();
}

}  // namespace wyvern
