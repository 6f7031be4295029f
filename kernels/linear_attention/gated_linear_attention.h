// Gated linear attention: a state that decays and takes in k v^T. GLA (arXiv 2312.06635 eq. 3) has
// a decay per channel; one per head and none are the same recurrence.
//
//   S_t = Diag(exp(g_t)) S_{t-1} + k_t v_t^T      o_t = scale S_t^T q_t
//
// T packed tokens, N documents, H key heads, HV value heads (HV % H == 0; value head j reads key
// head j / (HV / H)), K key dim, V value dim, G = 1 (decay per head) or K (per channel). Row-major,
// contiguous. S_0 of each document is h0 or zero; a document without tokens has ht = h0, dh0 = dht.
//
// Adjoint of one step, dS starting as dht and running backward:
//   dS += scale q_t do_t^T      dq_t = scale S_t do_t      dk_t = dS v_t      dv_t = dS^T k_t
//   dg_t[d] = sum_v dS[d,v] exp(g_t[d]) S_{t-1}[d,v]       dS = Diag(exp(g_t)) dS
#ifndef WYVERN_KERNELS_LINEAR_ATTENTION_GATED_LINEAR_ATTENTION_H_
#define WYVERN_KERNELS_LINEAR_ATTENTION_GATED_LINEAR_ATTENTION_H_

#include <limits>

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

// The part of the state that has a decay of its own: none, a head's, or each of its K rows.
enum class LinearDecay { kNone, kPerHead, kPerChannel };

// The meaning of the gate input x. Either way g is then raised to min_log_decay where it lies
// below, which sends no gradient back.
//   kLogDecay    g itself, the natural logarithm of one step's decay, <= 0
//   kLogSigmoid  g = log(sigmoid(x)) / normalizer
enum class LinearGate { kLogDecay, kLogSigmoid };

// The op's inputs, shared by both directions.
template <typename Io>
struct GatedLinearAttentionInputs {
  using Acc = AccOf<Io>;
  int64_t num_docs = 0, num_tokens = 0;        // N, T
  int64_t num_heads = 0, num_value_heads = 0;  // H, HV
  int64_t key_dim = 0, value_dim = 0;          // K: 1 .. 256 on CUDA; V
  LinearDecay decay = LinearDecay::kNone;
  LinearGate gate_form = LinearGate::kLogDecay;
  double normalizer = 1;  // of kLogSigmoid, > 0
  double min_log_decay = -std::numeric_limits<double>::infinity();
  double scale = 1;                          // multiplies q as it is: 0 stands for nothing here
  const int32_t* cu_seqlens_host = nullptr;  // [N + 1] first token of each document, on the host;
                                             // read before the call returns
  const int32_t* cu_seqlens = nullptr;       // [N + 1] the same on the op's device
  const Io* q = nullptr;                     // [T, H, K]
  const Io* k = nullptr;                     // [T, H, K]
  const Io* v = nullptr;                     // [T, HV, V]
  const Io* gate = nullptr;                  // [T, HV, G] as gate_form says; null without decay
  const Acc* h0 = nullptr;                   // [N, HV, K, V] or null: zeros
};

template <typename Io>
struct GatedLinearAttentionFwdParams {
  using Acc = AccOf<Io>;
  GatedLinearAttentionInputs<Io> in;
  Io* o = nullptr;    // [T, HV, V]
  Acc* ht = nullptr;  // [N, HV, K, V] or null
  StreamHandle stream = nullptr;
};

// Gradients are written, not added; a null one is not wanted. Nothing is kept from the forward:
// states are computed again.
template <typename Io>
struct GatedLinearAttentionBwdParams {
  using Acc = AccOf<Io>;
  GatedLinearAttentionInputs<Io> in;
  const Io* d_o = nullptr;    // [T, HV, V] or null: zeros
  const Acc* d_ht = nullptr;  // [N, HV, K, V] or null: zeros
  Io* dq = nullptr;           // [T, H, K] summed over the value heads of a group
  Io* dk = nullptr;           // [T, H, K] likewise
  Io* dv = nullptr;           // [T, HV, V]
  Io* d_gate = nullptr;       // [T, HV, G] of what `gate` holds
  Acc* d_h0 = nullptr;        // [N, HV, K, V]
  StreamHandle stream = nullptr;
};

template <typename Io>
void GatedLinearAttentionFwd(CpuTag, const GatedLinearAttentionFwdParams<Io>& p);
template <typename Io>
void GatedLinearAttentionBwd(CpuTag, const GatedLinearAttentionBwdParams<Io>& p);
template <typename Io>
void GatedLinearAttentionFwd(CudaTag, const GatedLinearAttentionFwdParams<Io>& p);
template <typename Io>
void GatedLinearAttentionBwd(CudaTag, const GatedLinearAttentionBwdParams<Io>& p);
template <typename Io>
void GatedLinearAttentionFwd(MetaTag, const GatedLinearAttentionFwdParams<Io>& p);
template <typename Io>
void GatedLinearAttentionBwd(MetaTag, const GatedLinearAttentionBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_LINEAR_ATTENTION_GATED_LINEAR_ATTENTION_H_
