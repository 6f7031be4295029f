// The ranks of a sequence combine each other's delta-rule states. A run of tokens maps the
// state S that enters it to
//
//   M S + A      M [K, K] the product of its transitions, A [K, V] its contribution
//
// and, backward, the gradient dS of the state that leaves it to M^T dS + F.
//
//   StateMerge     out_h = op(M_h) s_h + a_h        for each head h
//   StateIdentity  out_h = I, whose image under a run without values is M_h
//
// H heads. Sums in the states' type, in the order of the K rows: products of fp32 stay in fp32.
#ifndef WYVERN_KERNELS_DELTA_RULE_STATE_MERGE_H_
#define WYVERN_KERNELS_DELTA_RULE_STATE_MERGE_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"

namespace wyvern {

// Acc: fp32, and fp64 on the CPU. out is none of the inputs.
template <typename Acc>
struct StateMergeParams {
  int64_t num_heads = 0, key_dim = 0, value_dim = 0;
  bool transpose = false;      // op(M) = M^T
  const Acc* map = nullptr;    // M [H, K, K]
  const Acc* state = nullptr;  // s [H, K, V]
  const Acc* add = nullptr;    // a [H, K, V]
  Acc* out = nullptr;          // [H, K, V]
  StreamHandle stream = nullptr;
};

template <typename Acc>
struct StateIdentityParams {
  int64_t num_heads = 0, key_dim = 0;
  Acc* out = nullptr;  // [H, K, K]
  StreamHandle stream = nullptr;
};

template <typename Acc>
void StateMerge(CpuTag, const StateMergeParams<Acc>& p);
template <typename Acc>
void StateIdentity(CpuTag, const StateIdentityParams<Acc>& p);
template <typename Acc>
void StateMerge(CudaTag, const StateMergeParams<Acc>& p);
template <typename Acc>
void StateIdentity(CudaTag, const StateIdentityParams<Acc>& p);
template <typename Acc>
void StateMerge(MetaTag, const StateMergeParams<Acc>& p);
template <typename Acc>
void StateIdentity(MetaTag, const StateIdentityParams<Acc>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_DELTA_RULE_STATE_MERGE_H_
