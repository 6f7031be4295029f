// Tokens' sums over their experts' rows (the inverse of kernels/ops/moe_permute.h, weighted).
//
//   y[t] = shared[t] + sum over j < k of w[t, j] rows[position[t k + j]]
//   d_rows[position[t k + j]] = w[t, j] dy[t]         d_w[t, j] = <dy[t], rows[position[t k + j]]>
//
// (d_shared is dy.) T tokens of D elements, R = T k rows. The sum starts with shared[t], or 0, and
// goes on in the order of j, in Acc, rounded once. Without weights w = 1.
#ifndef WYVERN_KERNELS_OPS_MOE_COMBINE_H_
#define WYVERN_KERNELS_OPS_MOE_COMBINE_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

template <typename Io>
struct MoeCombineFwdParams {
  using Acc = AccOf<Io>;
  int64_t num_tokens = 0, dim = 0, experts_per_token = 1;
  const Io* rows = nullptr;           // [R, D]
  const Acc* weights = nullptr;       // [T, k] or null
  const Io* shared = nullptr;         // [T, D] or null
  const int32_t* position = nullptr;  // [R]
  Io* y = nullptr;                    // [T, D]
  StreamHandle stream = nullptr;
};

template <typename Io>
struct MoeCombineBwdParams {
  using Acc = AccOf<Io>;
  int64_t num_tokens = 0, dim = 0, experts_per_token = 1;
  const Io* rows = nullptr;           // [R, D]; not read without d_weights
  const Acc* weights = nullptr;       // [T, k] or null
  const int32_t* position = nullptr;  // [R] a permutation
  const Io* dy = nullptr;             // [T, D]
  Io* d_rows = nullptr;               // [R, D] or null
  Acc* d_weights = nullptr;           // [T, k] or null
  StreamHandle stream = nullptr;
};

template <typename Io>
void MoeCombineFwd(CpuTag, const MoeCombineFwdParams<Io>& p);
template <typename Io>
void MoeCombineBwd(CpuTag, const MoeCombineBwdParams<Io>& p);
template <typename Io>
void MoeCombineFwd(CudaTag, const MoeCombineFwdParams<Io>& p);
template <typename Io>
void MoeCombineBwd(CudaTag, const MoeCombineBwdParams<Io>& p);
template <typename Io>
void MoeCombineFwd(MetaTag, const MoeCombineFwdParams<Io>&) {}
template <typename Io>
void MoeCombineBwd(MetaTag, const MoeCombineBwdParams<Io>&) {}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_OPS_MOE_COMBINE_H_
