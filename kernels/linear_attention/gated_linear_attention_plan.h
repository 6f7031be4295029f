// How the GPU's gated linear attention divides its work, and the memory that it takes, as values
// that can be computed without a GPU.
#ifndef WYVERN_KERNELS_LINEAR_ATTENTION_GATED_LINEAR_ATTENTION_PLAN_H_
#define WYVERN_KERNELS_LINEAR_ATTENTION_GATED_LINEAR_ATTENTION_PLAN_H_

#include <string>

#include "kernels/linear_attention/gated_linear_attention.h"

namespace wyvern {

inline constexpr int64_t kLinearAttentionChunk = 64;       // tokens
inline constexpr int64_t kMaxLinearAttentionKeyDim = 256;  // on CUDA

// Documents are cut into pieces of `unit` tokens, the last one shorter. Piece i of document n has
// slot cu_seqlens[n] / unit + n + i, which needs no table; rounding leaves at most one slot of a
// document unused.
inline int64_t LinearAttentionSlots(int64_t num_docs, int64_t num_tokens, int64_t unit) {
  return num_tokens / unit + num_docs;
}

struct LinearAttentionPlan {
  bool steps = false;     // forward token by token: documents are short
  int64_t key_pad = 0;    // K as 64, 128 or 256
  int64_t value_pad = 0;  // V as a multiple of 64
  int64_t chunk_slots = 0;
  int64_t span_tokens = 0;  // documents are cut into spans of so many tokens; 0: scanned whole
  int64_t span_slots = 0;

  std::string ToString() const;
};

// A choice without GpuInfo: the sums' order is the same on every GPU.
template <typename Io>
LinearAttentionPlan ChooseLinearAttention(const GatedLinearAttentionInputs<Io>& in);

// Memory that a direction takes on CUDA beside its inputs and outputs.
template <typename Io>
int64_t LinearAttentionScratchBytes(const GatedLinearAttentionInputs<Io>& in, bool backward);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_LINEAR_ATTENTION_GATED_LINEAR_ATTENTION_PLAN_H_
