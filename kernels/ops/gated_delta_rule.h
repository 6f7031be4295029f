// Gated delta rule, the core of DeltaNet (no decay), Gated DeltaNet (decay per head) and Kimi Delta
// Attention (decay per channel). arXiv 2406.06484; 2412.06464 eq. 8; 2510.26692 eq. 1.
//
//   S'  = Diag(exp(g_t)) S_{t-1}         decay first, then erase
//   e_t = beta_t (v_t - S'^T k_t)        the part of v_t that the state does not hold yet
//   S_t = S' + k_t e_t^T
//   o_t = scale S_t^T q_t                the output reads the state after the update
//
// T packed tokens, N documents, H key heads, HV value heads, K key dim, V value dim.
#ifndef WYVERN_KERNELS_OPS_GATED_DELTA_RULE_H_
#define WYVERN_KERNELS_OPS_GATED_DELTA_RULE_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/dispatch.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

// What decays: nothing, the state of a head as a whole, or each of its K rows.
enum class DeltaDecay { kNone, kPerHead, kPerChannel };

// What the gate input holds, x = gate + dt_bias:
//   kLogDecay  g itself, the natural logarithm of one step's decay, <= 0
//   kSoftplus  g = -exp(a_log) softplus(x)
//   kBounded   g = lower_bound sigmoid(exp(a_log) x)
enum class DeltaGate { kLogDecay, kSoftplus, kBounded };

// What the beta input holds: beta itself, or its logit b with beta = sigmoid(b) or 2 sigmoid(b)
// (negative eigenvalues, arXiv 2411.12537).
enum class DeltaBeta { kGiven, kSigmoid, kTwiceSigmoid };

}  // namespace wyvern

#endif  // WYVERN_KERNELS_OPS_GATED_DELTA_RULE_H_
