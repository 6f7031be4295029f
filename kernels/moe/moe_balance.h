// Sequence-wise balance loss of a router (DeepSeek-V3, arXiv 2412.19437, eq. 17-20).
//
//   q[t, e] = s[t, e] / sum over f of s[t, f]                  normalised scores
//   f[n, e] = E / (k T_n) number of tokens of document n that have e among the k largest s[t]
//   loss = factor sum over n of T_n sum over e of f[n, e] mean over tokens of n of q[t, e]
//        = factor sum over t of sum over e of f[n(t), e] q[t, e]
//
// T tokens in N documents of T_n (an empty one counts nothing), E experts. The choice in f is made
// by the scores without bias and groups, ties to the lower expert, as in the paper; it has no
// gradient:
//
//   d_s[t, e] = d_loss factor (f[n(t), e] - sum over g of f[n(t), g] q[t, g]) / sum over g of s[t,
//   g]
//
// Each token's term is a sum over e in order; the loss is a sum of these of fixed order.
#ifndef WYVERN_KERNELS_MOE_MOE_BALANCE_H_
#define WYVERN_KERNELS_MOE_MOE_BALANCE_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

template <typename Acc>
struct MoeBalanceFwdParams {
  int64_t num_tokens = 0, num_documents = 0, num_experts = 0, experts_per_token = 1;
  double factor = 1;
  const int32_t* cu_seqlens = nullptr;  // [N + 1], from 0 to T
  const Acc* scores = nullptr;          // [T, E]
  Acc* fractions = nullptr;             // [N, E] f, for the backward; 0 of an empty document
  Acc* loss = nullptr;                  // [1]
  StreamHandle stream = nullptr;
};

template <typename Acc>
struct MoeBalanceBwdParams {
  int64_t num_tokens = 0, num_documents = 0, num_experts = 0;
  double factor = 1;
  const int32_t* cu_seqlens = nullptr;  // [N + 1]
  const Acc* scores = nullptr;          // [T, E]
  const Acc* fractions = nullptr;       // [N, E]
  const Acc* d_loss = nullptr;          // [1]
  Acc* d_scores = nullptr;              // [T, E], written
  StreamHandle stream = nullptr;
};

template <typename Acc>
void MoeBalanceFwd(CpuTag, const MoeBalanceFwdParams<Acc>& p);
template <typename Acc>
void MoeBalanceBwd(CpuTag, const MoeBalanceBwdParams<Acc>& p);
template <typename Acc>
void MoeBalanceFwd(CudaTag, const MoeBalanceFwdParams<Acc>& p);
template <typename Acc>
void MoeBalanceBwd(CudaTag, const MoeBalanceBwdParams<Acc>& p);
template <typename Acc>
void MoeBalanceFwd(MetaTag, const MoeBalanceFwdParams<Acc>& p);
template <typename Acc>
void MoeBalanceBwd(MetaTag, const MoeBalanceBwdParams<Acc>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_MOE_MOE_BALANCE_H_
