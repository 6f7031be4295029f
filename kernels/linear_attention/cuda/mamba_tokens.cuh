// How the backward kernels of Mamba-2's inputs and output cut the tokens, whose sums are added in
// the order of the pieces.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/common/common.cuh"

namespace wyvern {

constexpr int kMaxMambaPieces = 256;

struct MambaPieces {
  int count = 0;
  int64_t tokens = 0;  // of each, the last one shorter
};
inline MambaPieces MambaPiecesOf(int64_t num_tokens) {
  if (num_tokens == 0) return {};
  constexpr int64_t kLeast = 32;
  const int64_t tokens = std::max(kLeast, CeilDiv<int64_t>(num_tokens, kMaxMambaPieces));
  return {static_cast<int>(CeilDiv<int64_t>(num_tokens, tokens)), tokens};
}

}  // namespace wyvern
