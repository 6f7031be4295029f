// Routing of tokens to experts (DeepSeek-V3, arXiv 2412.19437, eq. 12-16; Kimi Linear, 2510.26692).
//
//   z[t] = W x[t]                              [E] logits
//   s[t] = sigmoid(z[t]) or softmax(z[t])      [E] scores
//   b[t] = s[t] + bias                         what the choice is made by; bias 0 if absent
//   groups: the experts are G runs of E / G; a group's score is the sum of its two best b (of its
//           one with E / G = 1); the M groups with the best scores stay (G = M: all of them)
//   indices[t] = the k experts of those groups with the largest b, largest first
//   w[t, j] = scale s[t, indices[t, j]], divided by S[t] + 1e-20 if renormalised, where S[t] is the
//             sum over j of s[t, indices[t, j]] in the order of j
//
// Ties, of experts and of groups, go to the lower number. A NaN counts as less than every number,
// so that any x gives k different experts.
//
// T tokens, D width, E experts, k experts a token. The choice is to be that of exact products:
// products and sums in Acc throughout (on CUDA with bf16 x the fp32 W must not be rounded to bf16:
// three bf16 parts of it give fp32's accuracy). The choice itself has no gradient. Backward, with
// d_w and an optional d_s (of an auxiliary loss), by token, c = indices[t, j]:
//
//   renormalised:  r = scale / (S + 1e-20);  d_s[c] += r (d_w[j] - sum over i of d_w[i] w[i] /
//   scale) otherwise:     d_s[c] += scale d_w[j] sigmoid:       d_z[e] = d_s[e] s[e] (1 - s[e])
//   softmax:       d_z[e] = s[e] (d_s[e] - sum over f of d_s[f] s[f])
//   d_x = d_z W (written, rounded once);      d_W = sum over t of d_z[t] x[t]^T, in Acc
#ifndef WYVERN_KERNELS_MOE_MOE_ROUTE_H_
#define WYVERN_KERNELS_MOE_MOE_ROUTE_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

enum class RouterScore { kSigmoid, kSoftmax };

// Both directions have the same sizes. k <= 32, E <= 1024; G divides E; 1 <= M <= G; k <= M E / G.
struct MoeRouteShape {
  int64_t num_tokens = 0, dim = 0, num_experts = 0;
  int64_t experts_per_token = 1;
  int64_t num_groups = 1, top_groups = 1;
  RouterScore score = RouterScore::kSigmoid;
  bool renormalize = true;
  double scale = 1;
};

template <typename Io>
struct MoeRouteFwdParams {
  using Acc = AccOf<Io>;
  MoeRouteShape shape;
  const Io* x = nullptr;        // [T, D]
  const Acc* weight = nullptr;  // [E, D]
  const Acc* bias = nullptr;    // [E] or null
  Acc* scores = nullptr;        // [T, E] s, for the backward and the auxiliary loss
  int32_t* indices = nullptr;   // [T, k]
  Acc* weights = nullptr;       // [T, k] w
  StreamHandle stream = nullptr;
};

template <typename Io>
struct MoeRouteBwdParams {
  using Acc = AccOf<Io>;
  MoeRouteShape shape;
  const Io* x = nullptr;             // [T, D]
  const Acc* weight = nullptr;       // [E, D]
  const Acc* scores = nullptr;       // [T, E] of the forward
  const int32_t* indices = nullptr;  // [T, k]
  const Acc* weights = nullptr;      // [T, k]
  const Acc* d_weights = nullptr;    // [T, k] or null: zero
  const Acc* d_scores = nullptr;     // [T, E] or null: zero; at least one of the two is there
  Acc* d_logits = nullptr;           // [T, E] work space: d_z
  Io* d_x = nullptr;                 // [T, D] or null
  Acc* d_weight = nullptr;           // [E, D] or null; written or, if so asked, added to
  bool add_d_weight = false;
  StreamHandle stream = nullptr;
};

template <typename Io>
void MoeRouteFwd(CpuTag, const MoeRouteFwdParams<Io>& p);
template <typename Io>
void MoeRouteBwd(CpuTag, const MoeRouteBwdParams<Io>& p);
template <typename Io>
void MoeRouteFwd(CudaTag, const MoeRouteFwdParams<Io>& p);
template <typename Io>
void MoeRouteBwd(CudaTag, const MoeRouteBwdParams<Io>& p);
template <typename Io>
void MoeRouteFwd(MetaTag, const MoeRouteFwdParams<Io>& p);
template <typename Io>
void MoeRouteBwd(MetaTag, const MoeRouteBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_MOE_MOE_ROUTE_H_
