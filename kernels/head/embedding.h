// Rows of a table.
//
//   y[t] = weight[ids[t]]         d_weight[v] = sum over t with ids[t] = v of dy[t], in token order
//
// T tokens, V rows, D elements each. An id outside [0, V) is a caller's fault that touches no
// foreign memory: the CPU stops; on the GPU its y is NaN, which the check for finite losses finds,
// and its dy is left out.
#ifndef WYVERN_KERNELS_HEAD_EMBEDDING_H_
#define WYVERN_KERNELS_HEAD_EMBEDDING_H_

#include "kernels/runtime/device.h"
#include "kernels/runtime/device_tags.h"
#include "kernels/runtime/dtype.h"

namespace wyvern {

template <typename Io>
struct EmbeddingFwdParams {
  int64_t num_tokens = 0, num_ids = 0, dim = 0;
  const int32_t* ids = nullptr;  // [T]
  const Io* weight = nullptr;    // [V, D]
  Io* y = nullptr;               // [T, D]
  StreamHandle stream = nullptr;
};

template <typename Io>
struct EmbeddingBwdParams {
  using Acc = AccOf<Io>;
  int64_t num_tokens = 0, num_ids = 0, dim = 0;
  int64_t padding_id = -1;       // gets no gradient; -1: none
  const int32_t* ids = nullptr;  // [T]
  const Io* dy = nullptr;        // [T, D]
  // Exactly one of these. Each row's sum is formed in Acc and rounded once.
  Acc* d_weight_into = nullptr;  // [V, D], added to
  Io* d_weight = nullptr;        // [V, D], written
  StreamHandle stream = nullptr;
};

template <typename Io>
void EmbeddingFwd(CpuTag, const EmbeddingFwdParams<Io>& p);
template <typename Io>
void EmbeddingBwd(CpuTag, const EmbeddingBwdParams<Io>& p);
template <typename Io>
void EmbeddingFwd(CudaTag, const EmbeddingFwdParams<Io>& p);
template <typename Io>
void EmbeddingBwd(CudaTag, const EmbeddingBwdParams<Io>& p);
template <typename Io>
void EmbeddingFwd(MetaTag, const EmbeddingFwdParams<Io>& p);
template <typename Io>
void EmbeddingBwd(MetaTag, const EmbeddingBwdParams<Io>& p);

}  // namespace wyvern

#endif  // WYVERN_KERNELS_HEAD_EMBEDDING_H_
