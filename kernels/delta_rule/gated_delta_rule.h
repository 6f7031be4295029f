// Gated delta rule, the core of DeltaNet (no decay), Gated DeltaNet (decay per head) and Kimi Delta
// Attention (decay per channel). arXiv 2406.06484; 2412.06464 eq. 8; 2510.26692 eq. 1.
//
//   S'  = Diag(exp(g_t)) S_{t-1}         decay first, then erase
//   e_t = beta_t (v_t - S'^T k_t)        the part of v_t that the state does not hold yet
//   S_t = S' + k_t e_t^T
//   o_t = scale S_t^T q_t                the output reads the state after the update
//
// With l2_norm, q and k above are x (sum x^2 + l2_norm_eps)^-1/2 of the inputs, over each head's K.
// T packed tokens, N documents, H key heads, HV value heads (HV % H == 0; value head j reads key
// head j / (HV / H)), K key dim, V value dim, G = 1 (decay per head) or K (per channel). Row-major,
// contiguous. S_0 of each document is h0 or zero; a document without tokens has ht = h0, dh0 = dht.
//
// Adjoint of one step, dS starting as dht and running backward:
//   dS += scale q_t do_t^T    dq_t = scale S_t do_t    de = dS^T k_t    dk_t = dS e_t
//   dbeta_t = de (v_t - S'^T k_t)     dv_t = beta_t de      dk_t -= S' dv_t
//   dS' = dS - k_t dv_t^T     dg_t[d] = sum_v dS'[d,v] S'[d,v]     dS = Diag(exp(g_t)) dS'
#ifndef WYVERN_KERNELS_DELTA_RULE_GATED_DELTA_RULE_H_
#define WYVERN_KERNELS_DELTA_RULE_GATED_DELTA_RULE_H_

#include <cstddef>

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

// The decay's extent: nothing, the state of a head as a whole, or each of its K rows.
enum class DeltaDecay { kNone, kPerHead, kPerChannel };

// The meaning of the gate input, x = gate + dt_bias:
//   kLogDecay  g itself, the natural logarithm of one step's decay, <= 0
//   kSoftplus  g = -exp(a_log) softplus(x)
//   kBounded   g = lower_bound sigmoid(exp(a_log) x)
enum class DeltaGate { kLogDecay, kSoftplus, kBounded };

// The meaning of the beta input: beta itself, or its logit b with beta = sigmoid(b) or 2 sigmoid(b)
// (negative eigenvalues, arXiv 2411.12537).
enum class DeltaBeta { kGiven, kSigmoid, kTwiceSigmoid };

// The op's inputs, shared by both directions.
template <typename Io>
struct GatedDeltaRuleInputs {
  using Acc = AccOf<Io>;
  int64_t num_docs = 0, num_tokens = 0;        // N, T
  int64_t num_heads = 0, num_value_heads = 0;  // H, HV
  int64_t key_dim = 0, value_dim = 0;          // K, V: 1 .. 256 on CUDA
  DeltaDecay decay = DeltaDecay::kNone;
  DeltaGate gate_form = DeltaGate::kLogDecay;
  DeltaBeta beta_form = DeltaBeta::kGiven;
  bool l2_norm = true;
  double l2_norm_eps = 1e-6;                 // > 0
  double lower_bound = -5;                   // of the bounded gate, in [-5, 0)
  double scale = 1;                          // multiplies q as it is: 0 stands for nothing here
  const int32_t* cu_seqlens_host = nullptr;  // [N + 1] first token of each document, on the host;
                                             // read before the call returns
  const int32_t* cu_seqlens = nullptr;       // [N + 1] the same on the op's device
  const Io* q = nullptr;                     // [T, H, K]
  const Io* k = nullptr;                     // [T, H, K]
  const Io* v = nullptr;                     // [T, HV, V]
  const Io* beta = nullptr;                  // [T, HV] as beta_form says, or null: ones
  const Io* gate = nullptr;                  // [T, HV, G] as gate_form says; null without decay
  const Acc* a_log = nullptr;                // [HV]; null for kLogDecay
  const Acc* dt_bias = nullptr;              // [HV, G]; null for kLogDecay
  const Acc* h0 = nullptr;                   // [N, HV, K, V] or null: zeros
};

template <typename Io>
struct GatedDeltaRuleFwdParams {
  using Acc = AccOf<Io>;
  GatedDeltaRuleInputs<Io> in;
  Io* o = nullptr;            // [T, HV, V]
  Acc* ht = nullptr;          // [N, HV, K, V] or null
  void* workspace = nullptr;  // kept for the backward, 256-byte aligned; or null
  StreamHandle stream = nullptr;
};

// Gradients are written, not added; a null one is not wanted.
template <typename Io>
struct GatedDeltaRuleBwdParams {
  using Acc = AccOf<Io>;
  GatedDeltaRuleInputs<Io> in;
  const void* workspace = nullptr;  // as the forward left it, or null: recomputed
  const Io* d_o = nullptr;          // [T, HV, V] or null: zeros
  const Acc* d_ht = nullptr;        // [N, HV, K, V] or null: zeros
  Io* dq = nullptr;                 // [T, H, K] summed over the value heads of a group
  Io* dk = nullptr;                 // [T, H, K] likewise
  Io* dv = nullptr;                 // [T, HV, V]
  Io* d_beta = nullptr;             // [T, HV] of what `beta` holds
  Io* d_gate = nullptr;             // [T, HV, G] of what `gate` holds
  Acc* d_a_log = nullptr;           // [HV]
  Acc* d_dt_bias = nullptr;         // [HV, G]
  Acc* d_h0 = nullptr;              // [N, HV, K, V]
  StreamHandle stream = nullptr;
};

// Bytes that the forward keeps for the backward when it is given a workspace; 0: nothing, and
// `workspace` stays null. Depends on sizes and cu_seqlens_host only.
template <typename Io>
size_t GatedDeltaRuleWorkspaceBytes(CpuTag, const GatedDeltaRuleInputs<Io>& in);
template <typename Io>
size_t GatedDeltaRuleWorkspaceBytes(CudaTag, const GatedDeltaRuleInputs<Io>& in);
template <typename Io>
size_t GatedDeltaRuleWorkspaceBytes(MetaTag, const GatedDeltaRuleInputs<Io>& in);

template <typename Io>
void GatedDeltaRuleFwd(CpuTag, const GatedDeltaRuleFwdParams<Io>& p);
template <typename Io>
void GatedDeltaRuleBwd(CpuTag, const GatedDeltaRuleBwdParams<Io>& p);
template <typename Io>
void GatedDeltaRuleFwd(CudaTag, const GatedDeltaRuleFwdParams<Io>& p);
template <typename Io>
void GatedDeltaRuleBwd(CudaTag, const GatedDeltaRuleBwdParams<Io>& p);
template <typename Io>
void GatedDeltaRuleFwd(MetaTag, const GatedDeltaRuleFwdParams<Io>& p);
template <typename Io>
void GatedDeltaRuleBwd(MetaTag, const GatedDeltaRuleBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_DELTA_RULE_GATED_DELTA_RULE_H_
