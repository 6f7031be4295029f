#ifndef WYVERN_TESTS_RANKS_BATCHES_H_
#define WYVERN_TESTS_RANKS_BATCHES_H_

#include "data/sampling/batch.h"
#include "kernels/runtime/random.h"

namespace wyvern {

// Sizes that no number of ranks divides.
constexpr int64_t kVocab = 53;

// Documents of 1 to 12 tokens, of which the last and a few others predict nothing.
inline Batch MakeBatch(int64_t number) {
  Batch batch;
  const Random random(static_cast<uint64_t>(number), "rank test");
  uint64_t draw = 0;
  batch.cu_seqlens = {0};
  for (int64_t document = 0; document < 3 + number % 3; ++document) {
    const auto length = static_cast<int64_t>(1 + random.Below(draw++, 12));
    for (int64_t t = 0; t < length; ++t) {
      const bool counted = t + 1 < length && random.Below(draw++, 7) != 0;
      batch.tokens.push_back(static_cast<int32_t>(random.Below(draw++, kVocab)));
      batch.targets.push_back(counted ? static_cast<int32_t>(random.Below(draw++, kVocab))
                                      : kIgnoredTarget);
    }
    batch.cu_seqlens.push_back(batch.cu_seqlens.back() + static_cast<int32_t>(length));
  }
  return batch;
}

}  // namespace wyvern

#endif  // WYVERN_TESTS_RANKS_BATCHES_H_
