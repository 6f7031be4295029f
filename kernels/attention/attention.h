// Causal softmax attention over packed documents, full or over a sliding window, with grouped query
// heads (arXiv 1706.03762; tiled with a running softmax as in arXiv 2307.08691).
//
//   i = the query's position among its document's keys: the queries are the document's last ones
//   s_ij = scale q_i . k_j            for i - window < j <= i (window 0: for j <= i)
//   max_logit = max_ij s_ij over all documents, one for each query head, if asked for
//   lse_i = log sum_j exp(s_ij)       p_ij = exp(s_ij - lse_i)       o_i = sum_j p_ij v_j
// Backward, with delta_i = do_i . o_i and ds_ij = p_ij (do_i . v_j - delta_i) scale:
//   dq_i = sum_j ds_ij k_j    dk_j = sum_i ds_ij q_i    dv_j = sum_i p_ij do_i
//
// N documents, Tq queries, Tk keys, H query heads, HK key heads (H a multiple of HK; query head h
// reads key head h / (H / HK)), D key dim, DV value dim. Row-major, contiguous but for q, k, v and
// dv, which may be columns of wider tensors. Every document has at least as many keys as queries;
// either may be none. Scores, softmax and sums in Acc.
// Every sum has a fixed order: results repeat bit for bit, whatever the number of threads.
#ifndef WYVERN_KERNELS_ATTENTION_ATTENTION_H_
#define WYVERN_KERNELS_ATTENTION_ATTENTION_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

// The largest D and DV that the CUDA kernels serve; the CPU has no limit.
inline constexpr int64_t kMaxAttentionHeadDim = 256;
// Where q, k, v or dv are columns of a wider tensor, their rows begin at multiples of this.
inline constexpr int64_t kAttentionRowBytes = 16;

struct AttentionShape {
  int64_t num_docs = 0, num_queries = 0, num_keys = 0;
  int64_t num_heads = 0, num_kv_heads = 0, key_dim = 0, value_dim = 0;
  int64_t window = 0;  // 0: no limit
  double scale = 0;
  bool max_logit = false;  // whether the forward gives the largest s_ij of each head
  // No backward follows, and the forward need not leave lse in any order: the kernels may attend to
  // runs of the keys one by one.
  bool forward_only = false;
  int64_t q_stride = 0, k_stride = 0, v_stride = 0;  // elements from one token to the next
  // [N + 1] token offsets at which the documents start, on the host and (CUDA only) on the device.
  const int32_t *cu_seqlens_q = nullptr, *cu_seqlens_k = nullptr;
  const int32_t *device_cu_seqlens_q = nullptr, *device_cu_seqlens_k = nullptr;
  // [N] Where given (forward alone), the keys of document n are those from cu_seqlens_k[n], which
  // has N numbers then, to key_ends[n]: anywhere among the Tk. The host's numbers may be older than
  // the device's, which CUDA kernels read when they run.
  const int32_t *key_ends = nullptr, *device_key_ends = nullptr;

  int64_t KeyEnd(int64_t n) const {
    return key_ends != nullptr ? key_ends[n] : cu_seqlens_k[n + 1];
  }
};

template <typename Io>
struct AttentionFwdParams {
  using Acc = AccOf<Io>;
  AttentionShape shape;
  const Io* q = nullptr;  // [Tq, H, D]
  const Io* k = nullptr;  // [Tk, HK, D]
  const Io* v = nullptr;  // [Tk, HK, DV]
  Io* o = nullptr;        // [Tq, H, DV]
  // Tq H elements, for the backward of the same shape only: [Tq, H], but where cuDNN serves the
  // shape (kernels/attention/attention_plan.h) [N, H, S].
  Acc* lse = nullptr;
  Acc* max_logit = nullptr;  // [H] with shape.max_logit; -infinity without a query
  StreamHandle stream = nullptr;
};

template <typename Io>
struct AttentionBwdParams {
  using Acc = AccOf<Io>;
  AttentionShape shape;
  int64_t dv_stride = 0;     // elements from one key to the next
  const Io* q = nullptr;     // [Tq, H, D]
  const Io* k = nullptr;     // [Tk, HK, D]
  const Io* v = nullptr;     // [Tk, HK, DV]
  const Io* o = nullptr;     // [Tq, H, DV]
  const Acc* lse = nullptr;  // as the forward wrote it
  const Io* d_o = nullptr;   // [Tq, H, DV]
  Io* dq = nullptr;          // [Tq, H, D]
  Io* dk = nullptr;          // [Tk, HK, D]
  Io* dv = nullptr;          // [Tk, HK, DV]
  StreamHandle stream = nullptr;
};

template <typename Io>
void AttentionFwd(CpuTag, const AttentionFwdParams<Io>& p);
template <typename Io>
void AttentionBwd(CpuTag, const AttentionBwdParams<Io>& p);
template <typename Io>
void AttentionFwd(CudaTag, const AttentionFwdParams<Io>& p);
template <typename Io>
void AttentionBwd(CudaTag, const AttentionBwdParams<Io>& p);
template <typename Io>
void AttentionFwd(MetaTag, const AttentionFwdParams<Io>& p);
template <typename Io>
void AttentionBwd(MetaTag, const AttentionBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_ATTENTION_ATTENTION_H_
