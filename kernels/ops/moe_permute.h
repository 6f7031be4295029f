// Tokens' rows in the order of a plan (kernels/ops/expert_plan.h).
//
//   rows[position[t k + j]] = x[t]      d_x[t] = sum over j < k of d_rows[position[t k + j]]
//
// T tokens of D elements, R = T k rows. The sum is in Acc, in the order of j, rounded once. Both
// ways go by tokens, so that each token's row is moved once.
#ifndef WYVERN_KERNELS_OPS_MOE_PERMUTE_H_
#define WYVERN_KERNELS_OPS_MOE_PERMUTE_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

template <typename Io>
struct MoePermuteFwdParams {
  int64_t num_tokens = 0, dim = 0, experts_per_token = 1;
  const Io* x = nullptr;              // [T, D]
  const int32_t* position = nullptr;  // [R] a permutation
  Io* rows = nullptr;                 // [R, D]
  StreamHandle stream = nullptr;
};

template <typename Io>
struct MoePermuteBwdParams {
  int64_t num_tokens = 0, dim = 0, experts_per_token = 1;
  const Io* d_rows = nullptr;         // [R, D]
  const int32_t* position = nullptr;  // [R]
  Io* d_x = nullptr;                  // [T, D], written
  StreamHandle stream = nullptr;
};

template <typename Io>
void MoePermuteFwd(CpuTag, const MoePermuteFwdParams<Io>& p);
template <typename Io>
void MoePermuteBwd(CpuTag, const MoePermuteBwdParams<Io>& p);
template <typename Io>
void MoePermuteFwd(CudaTag, const MoePermuteFwdParams<Io>& p);
template <typename Io>
void MoePermuteBwd(CudaTag, const MoePermuteBwdParams<Io>& p);
template <typename Io>
void MoePermuteFwd(MetaTag, const MoePermuteFwdParams<Io>&) {}
template <typename Io>
void MoePermuteBwd(MetaTag, const MoePermuteBwdParams<Io>&) {}

}  // namespace wyvern

#endif  // WYVERN_KERNELS_OPS_MOE_PERMUTE_H_
