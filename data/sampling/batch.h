// One micro batch: the input of a model's forward.
#ifndef WYVERN_DATA_SAMPLING_BATCH_H_
#define WYVERN_DATA_SAMPLING_BATCH_H_

#include <algorithm>
#include <cstdint>
#include <vector>

namespace wyvern {

// The target of a token that predicts nothing.
inline constexpr int32_t kIgnoredTarget = -100;

// T packed tokens in N sequences; no state, convolution or attention crosses from one to the next.
struct Batch {
  std::vector<int32_t> tokens;      // [T]
  std::vector<int32_t> targets;     // [T] the next token, or kIgnoredTarget
  std::vector<int32_t> cu_seqlens;  // [N + 1] from 0 to T
  std::vector<int32_t> sources;     // [T] of a mixture: the number of each token's source

  int64_t num_tokens() const { return static_cast<int64_t>(tokens.size()); }
  // Targets that count.
  int64_t num_targets() const {
    return num_tokens() - std::count(targets.begin(), targets.end(), kIgnoredTarget);
  }
};

// The cu_seqlens of `count` sequences of `length` tokens each.
inline std::vector<int32_t> EqualSequences(int64_t count, int64_t length) {
  std::vector<int32_t> cu_seqlens;
  for (int64_t n = 0; n <= count; ++n) cu_seqlens.push_back(static_cast<int32_t>(n * length));
  return cu_seqlens;
}

}  // namespace wyvern

#endif  // WYVERN_DATA_SAMPLING_BATCH_H_
