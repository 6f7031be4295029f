// Attention over some keys put together with that over others, for the same queries: with o_1, o_2
// and the logarithms lse_1, lse_2 of their sums of exponentials,
//
//   lse = log(exp(lse_1) + exp(lse_2))    o = exp(lse_1 - lse) o_1 + exp(lse_2 - lse) o_2
//
// T queries, H heads, DV value dim. The first part takes the result. In Acc.
#ifndef WYVERN_KERNELS_ATTENTION_ATTENTION_MERGE_H_
#define WYVERN_KERNELS_ATTENTION_ATTENTION_MERGE_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

// Where lse of query i and head h lies: at h * head + i * token. [T, H] has strides 1 and H, [H, T]
// has T and 1.
struct LseStrides {
  int64_t head = 1, token = 0;
};

template <typename Io>
struct AttentionMergeParams {
  using Acc = AccOf<Io>;
  int64_t num_queries = 0, num_heads = 0, value_dim = 0;
  LseStrides strides, added_strides;  // of lse and added_lse
  const Io* added = nullptr;          // [T, H, DV] of the second part
  const Acc* added_lse = nullptr;     // finite, as every query sees a key of each part
  Io* o = nullptr;                    // [T, H, DV] of the first part, then of both
  Acc* lse = nullptr;
  StreamHandle stream = nullptr;
};

template <typename Io>
void AttentionMerge(CpuTag, const AttentionMergeParams<Io>& p);
template <typename Io>
void AttentionMerge(CudaTag, const AttentionMergeParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_ATTENTION_ATTENTION_MERGE_H_
