// One micro batch: the input of a model's forward.
#ifndef WYVERN_DATA_SAMPLING_BATCH_H_
#define WYVERN_DATA_SAMPLING_BATCH_H_

#include <cstdint>
#include <vector>

namespace wyvern {

// The target of a token that predicts nothing.
inline constexpr int32_t kIgnoredTarget = -100;

// T packed tokens in N sequences; no state, convolution or attention crosses from one to the next.
struct Batch {
  int64_t num_tokens = 0;           // T
  std::vector<int32_t> tokens;      // [T]
  std::vector<int32_t> targets;     // [T] the next token, or kIgnoredTarget
  std::vector<int32_t> positions;   // [T] index in the token's sequence
  std::vector<int32_t> cu_seqlens;  // [N + 1] from 0 to T
  int64_t num_targets = 0;          // targets that count
};

}  // namespace wyvern

#endif  // WYVERN_DATA_SAMPLING_BATCH_H_
