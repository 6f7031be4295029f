// Between tokens and the rows of their experts, in the order of a plan (kernels/moe/expert_plan.h).
//
//   gather    y[t] = shared[t] + sum over j < k of w[t, j] rows[position[t k + j]]
//   scatter   to[position[t k + j]] = w[t, j] x[t]
//             dots[t, j] = <x[t], rows[position[t k + j]]>
//
// T tokens of D elements, R = T k rows. The sum starts with shared[t], or 0, and continues in the
// order of j, in Acc, rounded once. Without weights w = 1. Both go by tokens, so that each token's
// row is moved once.
//
// Each is the other's gradient. To hand out rows to experts is to scatter without weights, from
// d_to to d_x is to gather so. To combine their results is to gather; with x = dy, `to` is then
// d_rows and `dots` d_w, and d_shared is dy.
#ifndef WYVERN_KERNELS_MOE_MOE_ROWS_H_
#define WYVERN_KERNELS_MOE_MOE_ROWS_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

template <typename Io>
struct MoeGatherParams {
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
struct MoeScatterParams {
  using Acc = AccOf<Io>;
  int64_t num_tokens = 0, dim = 0, experts_per_token = 1;
  const Io* rows = nullptr;           // [R, D]; not read without dots
  const Acc* weights = nullptr;       // [T, k] or null
  const int32_t* position = nullptr;  // [R] a permutation
  const Io* x = nullptr;              // [T, D]
  Io* to = nullptr;                   // [R, D] or null
  Acc* dots = nullptr;                // [T, k] or null
  StreamHandle stream = nullptr;
};

template <typename Io>
void MoeGather(CpuTag, const MoeGatherParams<Io>& p);
template <typename Io>
void MoeScatter(CpuTag, const MoeScatterParams<Io>& p);
template <typename Io>
void MoeGather(CudaTag, const MoeGatherParams<Io>& p);
template <typename Io>
void MoeScatter(CudaTag, const MoeScatterParams<Io>& p);
template <typename Io>
void MoeGather(MetaTag, const MoeGatherParams<Io>& p);
template <typename Io>
void MoeScatter(MetaTag, const MoeScatterParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_MOE_MOE_ROWS_H_
