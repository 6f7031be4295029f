// Decoding of multi-head latent attention in its absorbed form (arXiv 2405.04434, 2.1.2): the
// matrix that would make keys and values of the cached latent vectors goes into queries and
// outputs, so that every head attends to the same short rows and the cache is read once.
//
//   a[i, h] = q[i, h, : P] W_k[h]                                   in the latent space
//   s_ij = scale (a[i, h] . c_j + q[i, h, P :] . r_j)               j <= i + Tk - T
//   o[i, h] = W_v[h] sum_j softmax(s_i)_j c_j
//
// One document: T queries, the last ones of Tk keys. Or, with ranges of keys, T documents of one
// query each, whose keys lie anywhere among the Tk: query i sees the keys of its range. H heads; L
// dims of the latent vector c and R of r, one row [c | r] a token; P dims of a head's own key part,
// V of its values. W [H P + H V, L]: the rows W_k[h] [P, L] of all heads, then W_v[h] [V, L].
// Scores, softmax and sums in Acc; bf16 rounds a and the softmax's exponentials. Every sum has a
// fixed order on one kind of device.
#ifndef WYVERN_KERNELS_ATTENTION_LATENT_ATTENTION_H_
#define WYVERN_KERNELS_ATTENTION_LATENT_ATTENTION_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

// The largest L and R that the CUDA kernels serve; the CPU has no limit.
inline constexpr int64_t kMaxLatentRank = 512, kMaxLatentSharedDim = 128;

template <typename Io>
struct LatentAttentionParams {
  int64_t num_queries = 0, num_keys = 0, num_heads = 0;
  int64_t own_dim = 0, shared_dim = 0, value_dim = 0, rank = 0;
  double scale = 0;
  int64_t q_stride = 0;        // elements from one token to the next
  const Io* q = nullptr;       // [T, H, P + R]
  const Io* latent = nullptr;  // [Tk, L + R]
  const Io* weight = nullptr;  // [H P + H V, L]
  // [T] each, memory of the device, read when the kernels run; null: one document.
  const int32_t *key_begins = nullptr, *key_ends = nullptr;
  Io* o = nullptr;  // [T, H, V]
  StreamHandle stream = nullptr;
};

template <typename Io>
void LatentAttentionFwd(CpuTag, const LatentAttentionParams<Io>& p);
template <typename Io>
void LatentAttentionFwd(CudaTag, const LatentAttentionParams<Io>& p);
template <typename Io>
void LatentAttentionFwd(MetaTag, const LatentAttentionParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_ATTENTION_LATENT_ATTENTION_H_
